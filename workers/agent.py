"""A pod's agent: `python -P -m workers.agent --pod-name NAME --pool POOL --slots N [--managed]`.

It makes its keepers before it imports the application, so that they stay small and hold no keys; then it forks one
process per slot and one for housekeeping.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import re
import signal
import sys

from iacq import settings as settings_module
from iacq.domain.slot import DEFAULT_SLOTS
from iacq.keeper.agent import ProcessTree
from iacq.settings import Settings

_SHARED = (
    "celery.app.amqp",
    "celery.apps.worker",
    "celery.concurrency.thread",
    "iacq.adapters.messaging.dispatcher",
    "iacq.adapters.keeper_client",
    "iacq.adapters.terraform.workshop",
    "kombu.transport.redis",
    "redis",
)
"""What every child needs: imported before the fork, its memory is shared and a new child is ready sooner."""

_POD_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def main() -> None:
    """Run the pod until SIGTERM."""
    # Until the agent listens: as the first process of a container it would not hear what it has no handler for, and it
    # may wait for the database before it listens.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    given = _arguments()
    settings = settings_module.load()
    tree = ProcessTree(settings.work_root / "pods" / given.pod_name, given.slots)
    sys.exit(_run(settings, tree, given))


def _run(settings: Settings, tree: ProcessTree, given: argparse.Namespace) -> int:
    from iacq import bootstrap, log
    from iacq.store.pods import Registration
    from workers import housekeeping, slot

    for module in _SHARED:
        importlib.import_module(module)
    log.set_up(settings.log_format)
    _check_keys(settings)
    bootstrap.hold_pod_directory(settings, given.pod_name)
    pod = Registration(
        pod_name=given.pod_name,
        agent_id=f"{given.pod_name[:37]}-{os.urandom(6).hex()}",
        pool=given.pool,
        slots=given.slots,
        managed=given.managed,
    )
    children = {"housekeeping": lambda context: housekeeping.run(settings, pod, context)}
    for number in range(1, given.slots + 1):
        children[f"slot-{number}"] = lambda context: slot.run(settings, pod, context)
    return tree.run(children, settings.stop_grace)


def _check_keys(settings: Settings) -> None:
    """End here with wrong keys. A database that is away is waited for: the housekeeping node looks again."""
    from iacq import bootstrap
    from iacq.errors import InvalidInput, Unavailable

    try:
        with contextlib.suppress(Unavailable):
            bootstrap.check_keys(settings)
    except InvalidInput as error:
        sys.exit(f"Error: {error.message} ({error.hint})")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="workers.agent", description=__doc__)
    parser.add_argument("--pod-name", default=os.environ.get("POD_NAME"))
    parser.add_argument("--pool", default=os.environ.get("POOL_ID", "default"))
    parser.add_argument("--slots", type=int, default=DEFAULT_SLOTS)
    parser.add_argument("--managed", action="store_true", help="iacq asked for this pod; else it is started by hand")
    given = parser.parse_args()
    if not given.pod_name or given.pod_name == "iacq" or not _POD_NAME.fullmatch(given.pod_name):
        parser.error("--pod-name (or POD_NAME) must be a DNS label: a-z, 0-9 and '-', at most 63, and not `iacq`")
    if given.slots < 1:
        parser.error("--slots is at least 1")
    return given


if __name__ == "__main__":
    main()
