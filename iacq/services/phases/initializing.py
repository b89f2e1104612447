"""`terraform init`, for a plan and for a cold apply."""

from __future__ import annotations

import shutil
from pathlib import Path

from iacq.domain import terraform_commands
from iacq.domain.slot import Closed
from iacq.errors import PhaseFailed
from iacq.services.phases import job
from iacq.services.phases.context import PhaseContext
from iacq.store import slots


def initialize(ctx: PhaseContext, *, readonly_lock: bool = False) -> None:
    """Run init, from the mirror if it has everything, else from where providers come from.

    readonly_lock: the lock file is the plan's and must not change. Raises PhaseFailed with terraform's own error.
    """
    with ctx.worker.workshop.using_providers():
        _initialize(ctx, readonly_lock=readonly_lock)


def _initialize(ctx: PhaseContext, *, readonly_lock: bool) -> None:
    workshop, terraform = ctx.worker.workshop, ctx.terraform
    as_json = terraform_commands.has_init_json(str(terraform["version"]))
    arguments = terraform_commands.init(as_json=as_json, readonly_lock=readonly_lock)
    way = workshop.init(ctx.directory, Path(terraform["path"]), readonly_lock=readonly_lock)
    while True:
        ctx.log.write(f"Providers: {way.label}")
        outcome = job.run(ctx, f"init_{way.name}", arguments)
        job.raise_if_stopped(outcome)
        if outcome.returncode == 0:
            workshop.settle_init(ctx.directory)
            return
        error = outcome.progress.error()
        again = workshop.init_after(ctx.directory, way, [error])
        if again is None:
            raise PhaseFailed(error or f"terraform init ended with {outcome.returncode}", code="init")
        way = again


def require_free_space(ctx: PhaseContext) -> None:
    """Do not begin below the floor: a disk that runs full under terraform loses state. Raises NoRoom.

    The slot gets no work until the pod's housekeeping node finds that there is room again.
    """
    settings, place = ctx.core.settings, ctx.worker.place
    free = shutil.disk_usage(ctx.worker.jobs.parent).free
    if free >= settings.disk_floor:
        return
    needed = f"{settings.disk_floor // 2**20} MiB are needed (IACQ_DISK_FLOOR)"
    ctx.log.write(f"✗ Only {free // 2**20} MiB are free in pod {place.pod_name}, {needed}: the run goes elsewhere")
    ctx.persist(
        lambda: ctx.core.database.run(slots.close, place.pod_name, place.slot_id, place.agent_id, Closed.DISK_FULL)
    )
    raise job.NoRoom
