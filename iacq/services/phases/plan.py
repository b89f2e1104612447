"""The steps of a plan: fetch, init, plan, show, store. The directory they leave is kept for the apply."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iacq.domain import configuration, fingerprint, terraform_commands
from iacq.domain.run import Status, directory_name
from iacq.domain.source import SourceKind
from iacq.domain.terraform_commands import PLAN_FILE, Variables
from iacq.errors import PhaseFailed
from iacq.services import states
from iacq.services.enqueuing import SOURCE, VarFile
from iacq.services.phases import fetching, initializing, job
from iacq.services.phases.context import PhaseContext
from iacq.store.artifacts import Artifact

STATE_FILE = "terraform.tfstate"
LOCK_FILE = ".terraform.lock.hcl"
_SAID_BY_SHOW = frozenset({"change_summary", "outputs"})
_OVERRIDE = "iacq_override.tf"
_LOCAL_BACKEND = 'terraform {\n  backend "local" {}\n}\n'


@dataclass(kw_only=True)
class Planned:
    """What the steps find out."""

    has_changes: bool = False
    changes: dict[str, int] | None = None
    plan_hash: str | None = None
    fingerprint: dict[str, Any] | None = None
    artifacts: list[Artifact] | None = None
    plan_json: bytes = b""
    diff: bytes = b""


Step = Callable[[PhaseContext, Planned], None]


def fetch(ctx: PhaseContext, _planned: Planned) -> None:
    """Unpack the source that was packed when the run was enqueued, or fetch it now; and the managed state."""
    initializing.require_free_space(ctx)
    location = ctx.inputs.source
    name = directory_name(ctx.run.id, ctx.hold.fence)
    packed = fetching.fetch(ctx, name) if location.kind is SourceKind.GIT else ctx.load(SOURCE)
    ctx.tree = ctx.worker.workshop.unpack_source(name, name, packed, subdir=location.subdir)
    found = configuration.read(_root_files(ctx.tree.tree))
    if found.cloud:
        raise PhaseFailed("the configuration has a `cloud` block: HCP Terraform would run it elsewhere", code="cloud")
    ctx.managed = found.backend in (None, "local")
    if not ctx.managed:
        ctx.log.write(f"State: kept by the configuration's own backend ({found.backend})")
        return
    if found.backend == "local":
        # Wherever it wants its file: managed state is always at the same place of the run's directory.
        _write(ctx.tree.tree / _OVERRIDE, _LOCAL_BACKEND.encode())
    _place_state(ctx)


def _root_files(tree: Path) -> dict[str, str]:
    wanted = (item for item in tree.iterdir() if item.suffix in (".tf", ".tofu", ".json") and item.is_file())
    return {item.name: item.read_text(errors="replace") for item in wanted}


def _place_state(ctx: PhaseContext) -> None:
    present = ctx.persist(lambda: states.current(ctx.core, ctx.run.workspace))
    ctx.state = {"lineage": None, "serial": None}
    if present is None:
        ctx.log.write("State: none yet")
        return
    version, data = present
    _write(ctx.directory.tree / STATE_FILE, data)
    ctx.state = {"lineage": version.lineage, "serial": version.serial}
    ctx.log.write(f"State: version {version.version}, serial {version.serial}, {version.resources} resources")


def init(ctx: PhaseContext, _planned: Planned) -> None:
    """Initialize: providers from the mirror where it has them. Then remove the lock that the run is to remove."""
    initializing.initialize(ctx)
    if ctx.inputs.options.unlock is not None:
        _unlock(ctx, ctx.inputs.options.unlock)


def _unlock(ctx: PhaseContext, lock_id: str) -> None:
    outcome = job.run(ctx, "unlock", terraform_commands.force_unlock(lock_id))
    job.require_success(outcome, "force-unlock")


def plan(ctx: PhaseContext, planned: Planned) -> None:
    """Plan into plan.out. The exit code says whether there is anything to do."""
    inputs = ctx.inputs
    arranged = terraform_commands.plan_inputs(
        directory=ctx.directory.scratch,
        workspace=Variables(
            files=_write_var_files(ctx, "workspace", inputs.workspace_var_files),
            values={**inputs.workspace_variables, **inputs.secret_variables},
        ),
        run=Variables(files=_write_var_files(ctx, "run", inputs.run_var_files), values=inputs.run_variables),
    )
    for file, text in arranged.files.items():
        _write(file, text.encode())
    arguments = terraform_commands.plan(ctx.run.run_type, inputs.options)
    outcome = job.run(ctx, "plan", arguments, environment=arranged.environment, hidden=_SAID_BY_SHOW)
    ctx.timings["terraform"] = outcome.wall_ms
    job.raise_if_stopped(outcome)
    unknown = [name for event in outcome.progress.diagnostics if (name := terraform_commands.undeclared(event))]
    if outcome.returncode in (0, 2) and unknown:
        raise PhaseFailed(f'the configuration does not declare a variable "{unknown[0]}"', code="variable")
    if outcome.returncode not in (0, 2):
        raise PhaseFailed(
            outcome.progress.error() or f"terraform plan ended with {outcome.returncode}", code="terraform"
        )
    planned.has_changes = outcome.returncode == 2


def _write_var_files(ctx: PhaseContext, whose: str, var_files: tuple[VarFile, ...]) -> tuple[Path, ...]:
    paths = []
    for number, file in enumerate(var_files, 1):
        ending = ".tfvars.json" if file.name.endswith(".json") else ".tfvars"
        # terraform names it where something is wrong in it: people know theirs by its name.
        stem = re.sub(r"[^A-Za-z0-9_.-]", "_", Path(file.name).name.removesuffix(ending))[:60]
        path = ctx.directory.scratch / f"{whose}-{number}-{stem}{ending}"
        _write(path, file.text.encode())
        paths.append(path)
    return tuple(paths)


def show(ctx: PhaseContext, planned: Planned) -> None:
    """Read the plan back: as JSON for programs, as the diff that people read."""
    diff = ctx.directory.scratch / "diff"
    directory = job.start_program(
        ctx,
        "show",
        terraform_commands.show(str(ctx.terraform["path"]), diff),
        directory=ctx.directory.path,
        environment=job.terraform_environment(ctx),
    )
    outcome = job.follow(ctx, directory, show=False)
    job.require_success(outcome, "show")
    planned.plan_json = (directory / "out").read_bytes()
    try:
        found = json.loads(planned.plan_json)
        planned.changes = count_changes(found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PhaseFailed(f"terraform's JSON of the plan cannot be read: {error}", code="plan_json") from error
    text = diff.read_bytes().decode(errors="replace")
    planned.diff = ctx.log.masking.text(text).encode()
    ctx.log.write(text)


def count_changes(plan_json: dict[str, Any]) -> dict[str, int]:
    """Count resources to add, change and destroy; a replacement counts as both. Raises KeyError, TypeError."""
    counts = {"add": 0, "change": 0, "destroy": 0}
    for resource in plan_json.get("resource_changes") or []:
        actions = resource["change"]["actions"]
        counts["add"] += "create" in actions
        counts["change"] += "update" in actions
        counts["destroy"] += "delete" in actions
    return counts


def store(ctx: PhaseContext, planned: Planned) -> None:
    """Store the plan and all that an apply needs elsewhere. A failure to save any of it fails the run."""
    tree = ctx.directory.tree
    plan_file = (tree / PLAN_FILE).read_bytes()
    if not plan_file:
        raise PhaseFailed("terraform left an empty plan", code="plan_empty")
    planned.plan_hash = hashlib.sha256(plan_file).hexdigest()
    kept = {"plan": plan_file, "plan_json": planned.plan_json, "diff": planned.diff}
    if ctx.run.run_type.changes_state and planned.has_changes:
        planned.fingerprint = take_fingerprint(ctx)
        kept["snapshot"] = ctx.worker.workshop.snapshot(ctx.directory)
        if (tree / LOCK_FILE).exists():
            kept["lock"] = (tree / LOCK_FILE).read_bytes()
    planned.artifacts = ctx.store_all(kept)


def take_fingerprint(ctx: PhaseContext) -> dict[str, Any]:
    """Take what must be unchanged when the plan is applied."""
    workshop, tree = ctx.worker.workshop, ctx.directory
    lock = tree.tree / LOCK_FILE
    return fingerprint.make(
        lock_sha256=hashlib.sha256(lock.read_bytes()).hexdigest() if lock.exists() else None,
        terraform=ctx.terraform,
        providers=workshop.providers(tree),
        path=str(tree.path),
        options=hashlib.sha256(ctx.inputs.to_json()).hexdigest(),
        state=ctx.state,
    )


def _write(path: Path, data: bytes) -> None:
    """Write a file that only we may read: it can hold secrets."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


STEPS: tuple[tuple[str, str, Step], ...] = (
    ("fetch", "prepare", fetch),
    ("init", "init", init),
    ("plan", "", plan),  # times itself: terraform's own
    ("show", "finish", show),
    ("store", "finish", store),
)
"""Stage, the timing it counts for, what is done."""


def end_of(ctx: PhaseContext, planned: Planned) -> Status:
    """Say where a plan that succeeded leads."""
    if not ctx.run.run_type.changes_state:
        return Status.SUCCESS
    return Status.APPLY_PENDING if planned.has_changes else Status.PLANNED_AND_FINISHED
