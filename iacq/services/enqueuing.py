"""Enqueue a run: everything that decides what it will do is frozen here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy.exc import IntegrityError

from iacq import log
from iacq.domain import fields
from iacq.domain import workspace as workspaces_domain
from iacq.domain.masking import Masking
from iacq.domain.run import Run, RunOptions, RunType, Status
from iacq.domain.source import SourceKind, SourceLocation
from iacq.domain.transitions import Cause
from iacq.domain.workspace import Workspace
from iacq.domain.workspace_secrets import WorkspaceSecrets
from iacq.errors import Conflict, IacqError, InvalidInput
from iacq.messages import DISPATCH
from iacq.services import states, workspace_secrets
from iacq.services.core import Core, store_artifact, store_artifacts
from iacq.store import artifacts, queue, runs, workspaces
from iacq.store.artifacts import Artifact
from iacq.store.protocol import waiting
from iacq.store.runs import NewRun
from iacq.store.session import Transaction

logger = log.get(__name__)

_LARGE = 64 * 1024
"""Bytes of a source from which on sealing and writing it takes longer than another transaction."""
SOURCE = "source"
INPUTS = "inputs"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a caller asks for."""

    workspace: str
    run_type: RunType
    by: str
    variables: Mapping[str, Any] = field(default_factory=dict)  # text means what `-var` means; else a JSON value
    var_files: tuple[str, ...] = ()  # paths, read now
    options: RunOptions = field(default_factory=RunOptions)
    priority: int = 0  # -100..100
    idempotency_key: str | None = None
    message: str | None = None
    auto_apply: bool | None = None  # None: the workspace's policy
    supersede: bool = False  # discard older unconfirmed plans of the workspace
    import_state: bool = False  # take the terraform.tfstate in the source as the workspace's state
    ignore_state: bool = False
    retry_of: int | None = None  # the ended run that this one asks for again


@dataclass(frozen=True, kw_only=True)
class VarFile:
    """A variable file as it was when the run was enqueued."""

    name: str  # keeps its ending: .tfvars or .tfvars.json
    text: str


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Everything beside the source that decides what a run does; stored encrypted with the run."""

    workspace_var_files: tuple[VarFile, ...]
    workspace_variables: Mapping[str, Any]
    secret_variables: Mapping[str, str] = field(repr=False)  # of the workspace; not part of workspace_variables
    run_var_files: tuple[VarFile, ...]
    run_variables: Mapping[str, Any]
    environment: Mapping[str, str]  # in clear; the secret one is read by each phase
    options: RunOptions
    terraform_version: str | None  # exact; None: the default of the machine that runs it
    source: SourceLocation  # of git: fetched by each plan; else it is packed, and stored with the run
    import_state: bool  # what to do with a terraform.tfstate that git brings
    ignore_state: bool

    def secret_values(self) -> Iterator[str]:
        """Yield what nobody may read in logs: secret variables, also where a variable of the run replaces one."""
        yield from self.secret_variables.values()
        for name, value in self.run_variables.items():
            if name in self.secret_variables:
                yield value if isinstance(value, str) else json.dumps(value)

    def masking(self, secrets: WorkspaceSecrets) -> Masking:
        """Return what hides the secrets of this run; secrets: those of its workspace now."""
        return Masking([*self.secret_values(), *secrets.environment.values(), *secrets.variables.values()])

    def to_json(self) -> bytes:
        """Write as stable JSON; its hash is part of the plan's fingerprint."""
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Inputs:
        """Read what `to_json` wrote."""
        found = json.loads(data)
        options = found["options"]
        return cls(
            workspace_var_files=tuple(VarFile(**file) for file in found["workspace_var_files"]),
            workspace_variables=found["workspace_variables"],
            secret_variables=found["secret_variables"],
            run_var_files=tuple(VarFile(**file) for file in found["run_var_files"]),
            run_variables=found["run_variables"],
            environment=found["environment"],
            options=RunOptions(
                targets=tuple(options["targets"]),
                replacements=tuple(options["replacements"]),
                refresh=options["refresh"],
                parallelism=options["parallelism"],
                unlock=options["unlock"],
            ),
            terraform_version=found["terraform_version"],
            source=SourceLocation(**{**found["source"], "kind": SourceKind(found["source"]["kind"])}),
            import_state=found["import_state"],
            ignore_state=found["ignore_state"],
        )


def enqueue(core: Core, request: Request) -> Run:
    """Store a run and ring the control worker; returns the run.

    The same idempotency key gives the same run. Raises InvalidInput, NotFound, or Conflict for a key that was used for
    something else.
    """
    check_request(request)
    workspace = core.database.read(workspaces.get, request.workspace)
    inputs = _freeze(core, workspace, request)
    digest = request_digest(request, inputs)
    existing = _existing(core, request, digest)
    if existing is not None:
        return existing
    return enqueue_frozen(core, workspace, request, inputs, digest)


def enqueue_frozen(core: Core, workspace: Workspace, request: Request, inputs: Inputs, digest: str) -> Run:
    """Pack the source as it is now, store a run with these inputs, and ring the control worker; returns the run.

    digest: what the idempotency key, if there is one, stands for. Raises InvalidInput, NotFound, Conflict.
    """
    inputs = replace(
        inputs, source=workspace.source, import_state=request.import_state, ignore_state=request.ignore_state
    )
    packed = _pack(core, request, inputs.source)
    early = _store_early(core, workspace.name, packed)
    try:
        with core.database.transaction() as tx:
            run = _store(core, tx, workspace, request, inputs, digest, packed, early)
    except (IntegrityError, IacqError) as error:
        if early is not None:
            core.artifacts.delete(early.artifact.key)
        if not isinstance(error, IntegrityError):
            raise
        raced = _existing(core, request, digest)
        if raced is None:
            raise
        return raced
    logger.info("enqueued %s", run.run_type, extra=log.ids(run=run.id, workspace=run.workspace))
    if request.supersede:
        _supersede(core, run)
    core.ring_control(DISPATCH)
    return run


def _pack(core: Core, request: Request, location: SourceLocation) -> bytes | None:
    """Pack what this machine has; None: it is fetched in the slot, where git and its credentials are."""
    if location.kind is SourceKind.GIT:
        return None
    packed = core.source.pack(location, limit=core.settings.max_source)
    states.check_source(
        core,
        request.workspace,
        location,
        packed.facts,
        import_state=request.import_state,
        ignore_state=request.ignore_state,
    )
    return packed.data


@dataclass(frozen=True, kw_only=True)
class _Early:
    """A source that is stored, and the number of the run that it is for."""

    run_id: int
    artifact: Artifact


def _store_early(core: Core, workspace: str, packed: bytes | None) -> _Early | None:
    """Seal and store a large source before the run is: SQLite has one writer, and an apply must not wait for that.

    None: it is stored with the run. Whoever is killed before the run is stored leaves a file that nothing names.
    """
    if packed is None or len(packed) < _LARGE:
        return None
    run_id = core.database.run(runs.reserve_id)
    if run_id is None:
        return None
    return _Early(run_id=run_id, artifact=store_artifact(core, workspace, run_id, SOURCE, packed, version=0))


def _store(
    core: Core,
    tx: Transaction,
    workspace: Workspace,
    request: Request,
    inputs: Inputs,
    digest: str,
    packed: bytes | None,
    early: _Early | None,
) -> Run:
    auto_apply = workspace.auto_apply if request.auto_apply is None else request.auto_apply
    pool = workspaces.hold(tx, workspace.name).pool
    run = runs.insert(
        tx,
        NewRun(
            workspace=workspace.name,
            run_type=request.run_type,
            pool=pool,
            priority=request.priority,
            auto_apply=auto_apply and request.run_type.changes_state,
            message=request.message,
            requested_by=request.by,
            idempotency_key=request.idempotency_key,
            request_digest=digest,
            retry_of=request.retry_of,
        ),
        run_id=early.run_id if early else None,
    )
    kept = {INPUTS: inputs.to_json()}
    if packed is not None and early is None:
        kept[SOURCE] = packed
    stored = [early.artifact] if early else []
    stored += store_artifacts(core, run.workspace, run.id, kept, version=0)
    artifacts.record(tx, run.id, stored)
    return run


def check_request(request: Request) -> None:
    """Raise InvalidInput that names what cannot be asked for."""
    workspaces_domain.check_name(request.workspace)
    if not -100 <= request.priority <= 100:
        raise InvalidInput("priority is -100 to 100, higher first", field="--priority")
    if request.options.parallelism is not None and request.options.parallelism < 1:
        raise InvalidInput("parallelism is at least 1", field="--parallelism")
    if request.idempotency_key is not None and not 1 <= len(request.idempotency_key) <= 200:
        raise InvalidInput("an idempotency key has 1 to 200 characters", field="--key")
    if request.import_state and request.ignore_state:
        raise InvalidInput("give one of --import-state and --ignore-state", field="--import-state")
    check_variables(request.variables, field="--var")


def check_variables(variables: Mapping[str, Any], *, field: str) -> None:
    """Raise InvalidInput for a variable name that terraform would not take, or a value that is no JSON."""
    for name, value in variables.items():
        if not name.isidentifier() and not name.replace("-", "_").isidentifier():
            raise InvalidInput(f"{name!a} is not the name of a variable", field=field)
        if not fields.is_json(value):
            raise InvalidInput(f"the value of {name} is neither text nor JSON", field=field)


def _freeze(core: Core, workspace: Workspace, request: Request) -> Inputs:
    sealed = core.database.read(workspaces.secrets_of, workspace.name)
    secrets = workspace_secrets.unseal(core, workspace.name, sealed)
    return Inputs(
        workspace_var_files=tuple(_read_var_file(file) for file in workspace.var_files),
        workspace_variables=workspace.variables,
        secret_variables=secrets.variables,
        run_var_files=tuple(_read_var_file(file) for file in request.var_files),
        run_variables=dict(request.variables),
        environment=dict(workspace.environment),
        options=request.options,
        terraform_version=workspace.terraform_version,
        source=workspace.source,
        import_state=request.import_state,
        ignore_state=request.ignore_state,
    )


def _read_var_file(name: str) -> VarFile:
    try:
        text = Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidInput(f"variable file {name} cannot be read: {reason}", field="--var-file") from error
    return VarFile(name=Path(name).name, text=text)


def request_digest(request: Request, inputs: Inputs) -> str:
    """Return the SHA-256 of what is asked for: the same key must ask for the same."""
    asked = {
        "type": request.run_type,
        "var_files": [asdict(file) for file in inputs.run_var_files],
        "variables": dict(request.variables),
        "options": asdict(request.options),
        "auto_apply": request.auto_apply,
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _existing(core: Core, request: Request, digest: str) -> Run | None:
    if request.idempotency_key is None:
        return None
    found = core.database.read(runs.by_key, request.workspace, request.idempotency_key)
    if found is None:
        return None
    run, known = found
    if known != digest:
        raise Conflict(
            f"the key {request.idempotency_key!a} was used for run {run.id}, which asked for something else",
            field="--key",
            hint="use a new key for a new request",
        )
    return run


def _supersede(core: Core, run: Run) -> None:
    """Discard the older plan of the workspace that waits for a confirmation."""
    older = core.database.read(queue.active_of, run.workspace)
    if older is not None and older.status is Status.APPLY_PENDING and older.id < run.id:
        core.database.attempt(waiting.discard, older, by=run.requested_by, cause=Cause.SUPERSEDED)


def has_artifact(core: Core, run: Run, kind: str) -> bool:
    """Tell whether a run has a stored artifact of this kind."""
    return core.database.read(artifacts.find, run.id, kind) is not None
