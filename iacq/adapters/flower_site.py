"""Flower on iacq's broker: read-only, without what may be secret, and closed to strangers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iacq import messages
from iacq.adapters import listening
from iacq.errors import InvalidInput
from iacq.settings import Settings, split_endpoint

if TYPE_CHECKING:
    from celery import Celery

_ADDRESS, _AUTH = "IACQ_FLOWER_ADDRESS", "IACQ_FLOWER_BASIC_AUTH"
_OFFLINE_FOR = 600
"""Seconds after which a worker that went away is forgotten, its metrics too."""
_TASKS = 20_000
"""Tasks that are kept in memory."""


def options(settings: Settings) -> dict[str, Any]:
    """Return Flower's options. Raises InvalidInput if it would be open to strangers."""
    address, port = split_endpoint(settings.flower_address)
    people = _people(settings.flower_basic_auth)
    if not people and not listening.is_loopback(settings.flower_address):
        raise InvalidInput(
            f"Flower on {settings.flower_address} would show every run to whoever can reach it",
            field=_ADDRESS,
            hint=f"say who may see it with {_AUTH}=user:password (or --basic-auth-file), or listen on 127.0.0.1",
        )
    return {
        "address": address,
        "port": port,
        "basic_auth": people,
        "read_only": True,  # a worker's shutdown, or a revoked message, would go around the protocol
        "enable_events": False,  # they are on; Flower would ask every worker again every few seconds
        "tasks_columns": "name,kwargs,state,received,runtime,worker,uuid",
        "format_task": format_task,
        "purge_offline_workers": _OFFLINE_FOR,
        "max_tasks": _TASKS,
    }


def _people(given: str | None) -> list[str]:
    """Read `user:password,…`, or a file of them. Raises InvalidInput, which names no password."""
    if given is None:
        return []
    source, words = _AUTH, given.split(",")
    if given.startswith("@"):
        source = given[1:]
        try:
            words = Path(source).expanduser().read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise InvalidInput(f"{source} cannot be read: {reason}", field=_AUTH) from error
    people = [word.strip() for word in words if word.strip()]
    if not people or not all(name and password for name, _, password in (word.partition(":") for word in people)):
        raise InvalidInput(
            f"{source}: who may see Flower is written user:password",
            field=_AUTH,
            hint="separate several by commas; in a file, write one a line",
        )
    return people


def format_task(task: Any) -> Any:
    """Show of a task's arguments what people may see (Flower gives a copy)."""
    task.args, task.kwargs = "", messages.presentable(task.kwargs)
    return task


def serve(app: Celery, chosen: dict[str, Any]) -> None:
    """Serve until SIGTERM or ^C. Raises Unavailable if nothing can listen there."""
    from flower import urls
    from flower.app import Flower
    from flower.options import default_options
    from tornado.ioloop import IOLoop

    # Flower's options are global to the process: its pages read some of them there.
    for name, value in chosen.items():
        setattr(default_options, name, value)
    for name in ("tornado.access", "flower.inspector"):  # who asked for what, and workers that do not answer yet
        logging.getLogger(name).setLevel(logging.ERROR)
    loop = IOLoop.current()
    site = Flower(
        capp=app,
        options=default_options,
        io_loop=loop,
        events=_quiet_events(app, loop, chosen["max_tasks"]),
        **urls.settings,
    )
    site.inspector = _quiet_inspector(app, loop)
    site.add_handlers(".*", [("/metrics", _private_metrics()), ("/broker", _broker_page())])
    try:
        site.start_http_server()
    except OSError as error:
        endpoint = f"{chosen['address']}:{chosen['port']}"
        raise listening.unavailable(endpoint, error, field=_ADDRESS) from error
    try:
        site.start()
    finally:
        site.stop()


def _quiet_events(app: Celery, loop: Any, max_tasks: int) -> Any:
    from flower.events import Events

    class QuietEvents(Events):  # type: ignore[misc] # Flower has no types
        """Forgets arguments before they are kept: Flower's search would find what its pages hide."""

        def on_event(self, event: dict[str, Any]) -> None:
            for name in {"args", "kwargs"} & event.keys():
                event[name] = messages.presentable(event[name])
            super().on_event(event)

    return QuietEvents(app, loop, enable_events=False, max_tasks_in_memory=max_tasks)


def _quiet_inspector(app: Celery, loop: Any) -> Any:
    from flower.inspector import Inspector
    from flower.options import default_options
    from kombu.utils.url import maybe_sanitize_url

    class QuietInspector(Inspector):  # type: ignore[misc] # Flower has no types
        """Hides the password that a worker tells with the address of its broker, if that is a socket."""

        def _on_update(self, workername: str, method: str, response: Any) -> None:
            if method == "stats":
                broker = response.get("consumer", response).get("broker", {})
                broker["hostname"] = maybe_sanitize_url(broker.get("hostname"))
            super()._on_update(workername, method, response)

    return QuietInspector(loop, app, default_options.inspect_timeout / 1000)


def _private_metrics() -> Any:
    from flower.views.monitor import Metrics
    from tornado import web

    class PrivateMetrics(Metrics):  # type: ignore[misc] # Flower has no types
        """Flower's metrics name tasks and workers; Flower itself gives them to anybody."""

        @web.authenticated
        async def get(self) -> None:
            await super().get()

    return PrivateMetrics


def _broker_page() -> Any:
    from flower.views.broker import BrokerView

    class BrokerPage(BrokerView):  # type: ignore[misc] # Flower has no types
        """Shows the queues of all workers that were heard; Flower's own page only of those that it inspected."""

        def get_active_queue_names(self) -> list[str]:
            nodes = self.application.events.state.workers
            return sorted({messages.queue_of_node(node) for node in nodes} | {messages.CONTROL_QUEUE})

    return BrokerPage
