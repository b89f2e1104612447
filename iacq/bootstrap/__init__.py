"""The only place that names adapters: builds what each kind of process needs."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iacq import log
from iacq import settings as settings_module
from iacq.adapters import keys
from iacq.adapters.artifacts_files import FileArtifacts
from iacq.adapters.clock import SystemClock
from iacq.adapters.messaging.dispatcher import CeleryDispatcher
from iacq.adapters.sealer import AesGcmSealer
from iacq.adapters.sources.local_source import LocalSource
from iacq.adapters.terraform.versions import InstalledVersions
from iacq.errors import Unavailable
from iacq.ports import ArtifactStore
from iacq.services import key_check
from iacq.services.core import Core
from iacq.settings import Settings
from iacq.store.session import Database

if TYPE_CHECKING:
    from kombu.connection import Connection

    from iacq.adapters.messaging.celery_app import WorkerApp
    from iacq.domain.slot import Place
    from iacq.services.phases.context import SlotWorker
    from iacq.services.room import PodRoom
    from iacq.store.pods import Registration

logger = log.get(__name__)


def client_core(settings: Settings | None = None) -> Core:
    """Build what a client needs; it opens nothing yet."""
    settings = settings or settings_module.load()
    return _core(settings, pool_size=5)


def worker_app(settings: Settings) -> WorkerApp:
    """Build the Celery application of a pod's worker."""
    from iacq.adapters.messaging.celery_app import make_worker_app

    return make_worker_app(settings)


def control_app(settings: Settings) -> WorkerApp:
    """Build the Celery application of a control worker: it answers calls."""
    from iacq.adapters.messaging.celery_app import make_control_app

    return make_control_app(settings)


def worker_node(app: WorkerApp, name: str, queue: str, *, threads: int = 1) -> Any:
    """Build the Celery node `name` that consumes one queue; `start` works until it is told to stop."""
    from iacq.adapters.messaging.celery_app import make_node

    return make_node(app, name, queue, threads=threads)


def flower_options(settings: Settings) -> dict[str, Any]:
    """Return Flower's options. Raises InvalidInput if it would be open to strangers."""
    from iacq.adapters import flower_site

    return flower_site.options(settings)


def serve_flower(settings: Settings) -> None:
    """Serve Flower until the process is stopped. Raises InvalidInput, Unavailable."""
    from iacq.adapters import flower_site

    flower_site.serve(worker_app(settings), flower_site.options(settings))


def worker_core(settings: Settings, *, pool_size: int) -> Core:
    """Build what a worker needs. It rings with a client's short time-outs: nothing in it may wait for the broker."""
    return _core(settings, pool_size=pool_size)


def check_keys(settings: Settings) -> None:
    """Compare the keys that are here with those of the database; nothing stays open.

    Raises InvalidInput(code=wrong_key), Unavailable.
    """
    core = worker_core(settings, pool_size=1)
    with contextlib.closing(core.database):
        key_check.require(core.database, core.sealer)


def _client_connection(settings: Settings) -> Connection:
    from iacq.adapters.broker import connection as broker_connection

    return broker_connection.of_client(settings)


def _core(settings: Settings, *, pool_size: int) -> Core:
    database = Database(settings.sqlalchemy_url, pool_size=pool_size, patience=settings.database_timeout)
    return Core(
        settings=settings,
        database=database,
        dispatcher=CeleryDispatcher(lambda: _client_connection(settings)),
        artifacts=_artifacts(settings, database),
        sealer=AesGcmSealer(keys.load(settings)),
        clock=SystemClock(),
        source=LocalSource(settings),
        terraforms=InstalledVersions(settings),
    )


def _artifacts(settings: Settings, database: Database) -> ArtifactStore:
    if database.is_sqlite:
        return FileArtifacts(settings.home / "artifacts")
    from iacq.store.blobs import DatabaseArtifacts

    return DatabaseArtifacts(database)


def slot_worker(settings: Settings, place: Place, keeper: socket.socket) -> SlotWorker:
    """Build one slot's process. Phase, log and lease each use a database connection while it is busy."""
    from iacq.adapters.keeper_client import KeeperClient
    from iacq.adapters.sources.git_repository import GitRepository
    from iacq.adapters.terraform.workshop import SlotWorkshop
    from iacq.services.phases.context import SlotWorker

    environ = dict(os.environ)  # decoded once: each command reads all of it
    workshop = SlotWorkshop(settings, place.pod_name, place.slot_id, environ)
    return SlotWorker(
        core=worker_core(settings, pool_size=3),
        place=place,
        keeper=KeeperClient(keeper),
        workshop=workshop,
        git=GitRepository(settings, environ),
        jobs=workshop.jobs,
    )


def pod_cleaner(core: Core, pod: Registration) -> tuple[Callable[[], None], PodRoom]:
    """Build the job that removes directories of this pod which no run needs, and what keeps room for runs in it."""
    from iacq.adapters.local_pods import directories as pod_directories
    from iacq.adapters.providers import usage
    from iacq.adapters.providers.mirror import ProviderMirror
    from iacq.adapters.terraform.workshop import SlotWorkshop, slots_directory
    from iacq.services import cleaning, room

    settings = core.settings
    workshops = {
        slot_id: SlotWorkshop(settings, pod.pod_name, slot_id, os.environ) for slot_id in range(1, pod.slots + 1)
    }
    root, mirror = slots_directory(settings, pod.pod_name), ProviderMirror(root=settings.mirror)
    pod_room = room.PodRoom(core, pod, workshops, lambda: room.free_space(root))

    def clean() -> None:
        removed = cleaning.remove_work_dirs(core, pod, workshops, root)
        removed += pod_directories.remove_others(settings.work_root, core.database.read(cleaning.needed_pods))
        usage.remove_unused(mirror, _run_directories(settings), unused_for=settings.provider_keep)
        removed += pod_room.make()
        pod_room.tend()
        logger.info("%d work directories removed", removed, extra=log.ids(pod=pod.pod_name))

    return clean, pod_room


def _run_directories(settings: Settings) -> Iterator[Path]:
    """Yield the directories of runs of all pods of this machine."""
    return (settings.work_root / "pods").glob("*/slot-*/*-*")


def hold_pod_directory(settings: Settings, pod_name: str) -> None:
    """Keep others from removing the directory of this pod for as long as this process or a child of it lives."""
    from iacq.adapters.local_pods import directories as pod_directories

    pod_directories.hold(settings.work_root, pod_name)


def warm_quietly(core: Core) -> None:
    """Connect to the broker now; if it is away, the first ring will say so."""
    with contextlib.suppress(Unavailable):
        core.dispatcher.warm()
