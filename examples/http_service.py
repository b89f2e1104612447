"""A web service in front of iacq: `uvicorn http_service:app`, with iacq's settings in the environment.

The endpoints are plain functions, which FastAPI runs in threads: one client serves them all.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel

from iacq.client import Client
from iacq.errors import Conflict, IacqError, InvalidInput, NotFound, Unavailable

client = Client.from_env()
STATUS_CODES = {InvalidInput: 422, NotFound: 404, Conflict: 409, Unavailable: 503}


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Close the client with the service."""
    with client:
        yield


app = FastAPI(title="infrastructure", lifespan=lifespan)


@app.exception_handler(IacqError)
def refuse(_: Request, error: IacqError) -> JSONResponse:
    """Answer with what was wrong."""
    content = {"code": error.code, "field": error.field, "message": error.message, "hint": error.hint}
    return JSONResponse(content, status_code=STATUS_CODES.get(type(error), 500))


class Change(BaseModel):
    """What is asked for."""

    variables: dict[str, Any] = {}
    message: str | None = None


class Confirmation(BaseModel):
    """A plan that somebody read."""

    plan_hash: str
    comment: str | None = None


@app.post("/workspaces/{workspace}/runs", status_code=202)
def plan(
    workspace: str, change: Change, idempotency_key: Annotated[str, Header()], user: Annotated[str, Header()]
) -> dict[str, Any]:
    """Plan a change; the same key gives the same run."""
    run = client.enqueue(
        workspace,
        "plan_and_apply",
        variables=change.variables,
        message=change.message,
        idempotency_key=idempotency_key,
        by=user,
    )
    return client.to_json(run)


@app.get("/runs/{run_id}")
def look(run_id: int) -> dict[str, Any]:
    """Say where a run is."""
    return client.to_json(client.get(run_id))


@app.get("/runs/{run_id}/plan")
def read_plan(run_id: int) -> dict[str, Any]:
    """Return the plan as terraform's JSON."""
    return client.plan_json(run_id)


@app.post("/runs/{run_id}/confirm")
def confirm(run_id: int, confirmation: Confirmation, user: Annotated[str, Header()]) -> dict[str, Any]:
    """Apply the plan with this hash; a repeat is fine."""
    run = client.confirm(run_id, plan_hash=confirmation.plan_hash, comment=confirmation.comment, by=user)
    return client.to_json(run)


@app.get("/runs/{run_id}/logs")
def logs(run_id: int) -> StreamingResponse:
    """Stream the log: to the end, or until the plan waits for its confirmation."""
    client.get(run_id)  # one that is not there is refused before the stream begins

    def lines() -> Iterator[str]:
        phase = "plan" if client.get(run_id).confirmed_at is None else None
        for line in client.logs(run_id, phase=phase, follow=True):
            yield line.text + "\n"

    return StreamingResponse(lines(), media_type="text/plain")
