"""Fetch a source that is a git repository: in the slot, at each plan, by commands that the keeper starts."""

from __future__ import annotations

from pathlib import Path

from iacq.domain import git_errors, terraform_events
from iacq.domain.source import SourceLocation
from iacq.errors import InvalidInput, PhaseFailed, Unavailable
from iacq.ports import FetchedSource, GitCommands
from iacq.services import states
from iacq.services.phases import job
from iacq.services.phases.context import PhaseContext
from iacq.services.phases.job import Stopped
from iacq.services.phases.lease import LeaseLost
from iacq.store.protocol import owning

_LONGEST = 15 * 60.0
"""Seconds that fetching may take in all."""
_QUIET = frozenset({terraform_events.PLAIN})


def fetch(ctx: PhaseContext, name: str) -> bytes:
    """Return what the ref of the run's source is now, packed; its commit is recorded with the run.

    name: of this claim's directory. Raises PhaseFailed(code=source) with the option that is wrong and what to do.
    """
    location = ctx.inputs.source
    directory = ctx.worker.workshop.fetch_directory(name)
    ctx.log.write(f"Fetching {location.text}")
    try:
        commands = ctx.worker.git.prepare(directory, location, ctx.workspace_environment)
        _run(ctx, location, commands)
        fetched = ctx.worker.git.take(directory, location, limit=ctx.core.settings.max_source)
        _check_state(ctx, location, fetched)
    except (InvalidInput, Unavailable) as error:
        hint = f"{error.field}: {error.hint}" if error.field and error.hint else error.hint
        raise PhaseFailed(error.message, code="source", field=error.field, hint=hint) from error
    if ctx.persist(lambda: ctx.core.database.attempt(owning.record_commit, ctx.hold, fetched.commit)) is None:
        raise LeaseLost
    ctx.log.write(f"Source: commit {fetched.commit}")
    return fetched.packed.data


def _run(ctx: PhaseContext, location: SourceLocation, commands: GitCommands) -> None:
    deadline = ctx.core.clock.monotonic() + _LONGEST
    for step, argv in commands.steps:
        directory = job.start_program(ctx, step, argv, directory=commands.directory, environment=commands.environment)
        outcome = job.follow(ctx, directory, show=False, hidden=_QUIET, name="git", deadline=deadline)
        if outcome.stopped is Stopped.TIMEOUT:
            raise PhaseFailed(
                f"fetching {location.at} took longer than {_LONGEST / 60:.0f} minutes",
                code="source",
                hint="look at its size, and at the network of the pod",
            )
        job.raise_if_stopped(outcome)
        if outcome.returncode != 0:
            raise _failed(ctx, location, directory)


def _failed(ctx: PhaseContext, location: SourceLocation, directory: Path) -> InvalidInput:
    said = (directory / "err").read_text(errors="replace")
    explained = git_errors.explain(location, said, token=ctx.workspace_environment.get("GIT_TOKEN"))
    return InvalidInput(explained.message, field=explained.field, hint=explained.hint)


def _check_state(ctx: PhaseContext, location: SourceLocation, fetched: FetchedSource) -> None:
    inputs = ctx.inputs
    ctx.persist(
        lambda: states.check_source(
            ctx.core,
            ctx.run.workspace,
            location,
            fetched.packed.facts,
            import_state=inputs.import_state,
            ignore_state=inputs.ignore_state,
        )
    )
