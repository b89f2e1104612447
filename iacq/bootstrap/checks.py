"""What a run needs, looked at one by one, for `iacq doctor`."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from iacq import bootstrap
from iacq.adapters import keys
from iacq.adapters.broker import program as broker_program
from iacq.adapters.sources import git_repository
from iacq.bootstrap import schema, terraform_checks
from iacq.domain.slot import PodStatus
from iacq.errors import IacqError, Unavailable
from iacq.services import views
from iacq.services.core import Core
from iacq.settings import Settings
from iacq.store import pods, pools, workspaces

_UP = "start `iacq up` (or `iacq worker control`)"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found of one thing."""

    name: str
    ok: bool
    text: str  # what it is, or what is wrong
    hint: str | None = None  # what to do about it


_OF_TERRAFORM: Mapping[str, Callable[[Settings], str]] = {
    "terraform": terraform_checks.default,
    "versions": terraform_checks.versions,
    "environment": terraform_checks.environment,
    "cli_config": terraform_checks.cli_config,
    "providers": terraform_checks.providers,
    "ca_files": terraform_checks.ca_files,
}
"""What a machine needs that runs terraform. In a cluster it runs in the agents' image."""


def look(settings: Settings) -> Iterator[Finding]:
    """Look at everything in turn; what is wrong with one thing does not hide the next."""
    looks: dict[str, Callable[[Settings], str]] = {
        "python": _python,
        **({} if settings.pod_runtime == "kubernetes" else _OF_TERRAFORM),
        "home": _home,
        "keys": _keys,
        "disk": _disk,
        "database": _database,
        "broker": _broker,
        "control": _control,
        "pods": _pods,
        "git": _git,
        **_of_runtime(settings),
    }
    for name, find in looks.items():
        try:
            yield Finding(name=name, ok=True, text=find(settings))
        except IacqError as error:
            yield Finding(name=name, ok=False, text=error.message, hint=error.hint)


def _of_runtime(settings: Settings) -> Mapping[str, Callable[[Settings], str]]:
    """Return the looks at what runs the pods."""
    if settings.pod_runtime != "kubernetes":
        return {}
    from iacq.bootstrap import cluster_checks

    return cluster_checks.LOOKS


def _python(_settings: Settings) -> str:
    return f"{platform.python_version()}, {sys.executable}"


def _home(settings: Settings) -> str:
    try:
        found = settings.home.stat()
    except FileNotFoundError:
        return f"{settings.home} (made at the first start)"
    if found.st_uid != os.geteuid():
        raise Unavailable(f"{settings.home} belongs to another user", hint="set IACQ_HOME to a directory of your own")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise Unavailable(f"{settings.home} can be read by others", hint=f"chmod 700 {settings.home}")
    return f"{settings.home} (private)"


def _keys(settings: Settings) -> str:
    if settings.encryption_keys is None and not (settings.home / "keys").exists():
        return "none yet (made at the first start)"
    number = len(keys.load(settings))
    where = "IACQ_ENCRYPTION_KEYS" if settings.encryption_keys is not None else str(settings.home / "keys")
    schema.look_at_keys(settings)
    return f"{number} in {where}"


def _disk(settings: Settings) -> str:
    directory = next(path for path in (settings.work_root, *settings.work_root.parents) if path.exists())
    free = shutil.disk_usage(directory).free
    text = f"{free / 2**30:.1f} GiB free in {directory}"
    if free < settings.disk_floor:
        raise Unavailable(
            f"only {text}: runs do not start below {settings.disk_floor / 2**30:.1f} GiB",
            hint="make room, or set IACQ_WORK_DIR or IACQ_DISK_FLOOR",
        )
    return text


def _database(settings: Settings) -> str:
    if not schema.is_current(settings):
        raise Unavailable("it does not have the present schema", hint="`iacq db upgrade` (`iacq up` does it, too)")
    return "answers, with the present schema"


def _broker(settings: Settings) -> str:
    server: Path | None = None
    if settings.broker_url is None:
        server = broker_program.find(settings)
    try:
        bootstrap.client_core(settings).dispatcher.warm()
    except Unavailable as error:
        hint = "check that it runs and that IACQ_BROKER_URL is right" if server is None else "it starts with `iacq up`"
        raise Unavailable(error.message, hint=hint) from error
    return "answers" if server is None else f"answers (embedded, {server})"


def _control(settings: Settings) -> str:
    with _core(settings) as core:
        if not views.control_seen(core):
            raise Unavailable("no control worker gave a sign of life in the last half minute", hint=_UP)
    return "seen"


def _pods(settings: Settings) -> str:
    with _core(settings) as core:
        online = [pod.name for pod in core.database.read(pods.listed) if pod.status == PodStatus.ONLINE]
        policies = [pool.policy for pool in core.database.read(pools.listed)]
    if online:
        return f"{', '.join(online)} online"
    if settings.pod_runtime != "none" and not policies:
        raise Unavailable(
            "there is no pool, and so no pod", hint="`iacq pool create default --max 4` (`iacq up` makes one by itself)"
        )
    if settings.pod_runtime != "none" and any(policy.max_pods > policy.min_pods == 0 for policy in policies):
        return "none is online; one starts when a run needs it"
    raise Unavailable("no pod is online", hint="start `iacq up` (or `iacq worker agent`)")


def _git(settings: Settings) -> str:
    wanted = []
    if schema.is_current(settings):
        core = bootstrap.client_core(settings)
        wanted = [one.name for one in core.database.read(workspaces.listed) if one.git is not None]
    try:
        return f"{git_repository.version()}, {git_repository.find()}"
    except Unavailable as error:
        if not wanted:
            return "not installed, and no workspace needs it"
        raise Unavailable(f"{error.message}, and workspace {wanted[0]} needs it", hint=error.hint) from error


@contextlib.contextmanager
def _core(settings: Settings) -> Iterator[Core]:
    """Give what a client has, if the database is fit for questions."""
    if not schema.is_current(settings):
        raise Unavailable("not known: the database is not ready", hint="`iacq db upgrade`")
    yield bootstrap.client_core(settings)
