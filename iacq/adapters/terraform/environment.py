"""The environment of terraform: what may pass of this process's, the workspace's own, and what iacq sets."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path

from iacq.errors import InvalidInput
from iacq.settings import Settings


class Decision(StrEnum):
    """What happens to a variable."""

    KEEP = "keep"
    DROP = "drop"
    REFUSE = "refuse"


FORBIDDEN = ("IACQ_*", "CELERY_*", "FLOWER_*", "POSTGRES*", "PG*")
"""Never in terraform's environment, from wherever: they name and open iacq's own services."""

OWNED = (
    "PWD", "TMPDIR", "TF_IN_AUTOMATION", "TF_INPUT", "CHECKPOINT_DISABLE", "TF_CLI_CONFIG_FILE",
    "TF_CLI_ARGS*",  # carries the variables of a run; a user's `-lock=false` would end up in every apply
    "TF_DATA_DIR",  # a directory elsewhere would be shared by slots, and missing in the snapshot
    "TF_PLUGIN_CACHE_*",  # parallel inits of one cache destroy each other's files
)  # fmt: skip
"""iacq decides these: dropped from the host's, refused from a workspace's."""

HOST_ONLY_EXPLICIT = (
    "TF_WORKSPACE",  # one shell's choice must not move every workspace's state
    "TF_LOG*",  # writes secrets into the logs of every run
    "TF_REATTACH_PROVIDERS",
    # Git sets these in hooks: `git clone` of a module would then work on the wrong repository.
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_PREFIX",
    "GIT_NAMESPACE", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
)  # fmt: skip
"""Pass from the host only if the setting names them exactly; a workspace may set them."""

ALLOWED = (
    "PATH", "HOME", "LANG", "SSH_AUTH_SOCK", "SSL_CERT_*",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
    "http_proxy", "https_proxy", "no_proxy", "all_proxy",
    "GIT_*", "AWS_*", "GOOGLE_*", "ARM_*", "AZURE_*", "KUBE*", "TF_TOKEN_*",
)  # fmt: skip
"""Pass from the host by default."""


@functools.cache  # asked for every variable at each start of terraform, and the answer never changes
def decide_host(name: str, added: tuple[str, ...] = ()) -> Decision:
    """Decide about a variable of this process; `added`: what the setting adds, `*` at the end: a prefix."""
    if _matches(name, FORBIDDEN) or _matches(name, OWNED):
        return Decision.DROP
    if _matches(name, HOST_ONLY_EXPLICIT):
        return Decision.KEEP if name in added else Decision.DROP
    return Decision.KEEP if _matches(name, ALLOWED) or _matches(name, added) else Decision.DROP


def decide_workspace(name: str, *, own_backend: bool) -> Decision:
    """Decide about a variable that a workspace sets."""
    if _matches(name, FORBIDDEN) or _matches(name, OWNED):
        return Decision.REFUSE
    if name == "TF_WORKSPACE" and not own_backend:
        return Decision.REFUSE  # terraform would keep the state in another file than the one that iacq saves
    return Decision.KEEP


def allowed(
    settings: Settings, host_environ: Mapping[str, str], workspace_env: Mapping[str, str], *, own_backend: bool
) -> dict[str, str]:
    """Return what a program of a run may see of this process's environment, and the workspace's own.

    own_backend: the configuration keeps its state in a backend of its own, so that TF_WORKSPACE is safe.
    Raises InvalidInput that names the workspace's variable.
    """
    environment = {
        name: value
        for name, value in host_environ.items()
        if decide_host(name, settings.terraform_env) is Decision.KEEP
    }
    for name, value in workspace_env.items():
        _check(name, value, own_backend=own_backend)
        environment[name] = value
    return environment


def build(
    settings: Settings,
    host_environ: Mapping[str, str],
    workspace_env: Mapping[str, str],
    *,
    cwd: Path,
    temporary: Path,
    cli_config: Path,
    own_backend: bool = False,
) -> dict[str, str]:
    """Return the complete environment of one terraform command; raises as `allowed` does."""
    return {
        **allowed(settings, host_environ, workspace_env, own_backend=own_backend),
        "PWD": str(cwd),
        "TMPDIR": str(temporary),
        "TF_IN_AUTOMATION": "1",
        "TF_INPUT": "0",
        "CHECKPOINT_DISABLE": "1",
        "TF_CLI_CONFIG_FILE": str(cli_config),
    }


def _check(name: str, value: str, *, own_backend: bool) -> None:
    """Raise InvalidInput unless a workspace may set this. The message never holds the value."""
    if not name or "=" in name or "\0" in name + value:
        raise InvalidInput(
            f"environment variable {name!a} cannot be set",
            field=name,
            hint="a name has no '=', and neither name nor value holds a NUL character",
        )
    if decide_workspace(name, own_backend=own_backend) is Decision.REFUSE:
        raise InvalidInput(f"a workspace cannot set the environment variable {name}", field=name, hint=_hint(name))


def _hint(name: str) -> str:
    if name.startswith("TF_CLI_ARGS"):
        return "use the options of the run (targets, parallelism, variables) instead"
    if name == "TF_WORKSPACE":
        return "iacq keeps this workspace's state; make one iacq workspace for each terraform workspace"
    if _matches(name, OWNED):
        return "iacq sets it itself; remove it from the workspace"
    return f"names like {', '.join(FORBIDDEN)} belong to iacq's own services; use another name"


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern for pattern in patterns)
