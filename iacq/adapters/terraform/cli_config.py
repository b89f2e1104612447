"""Terraform's CLI configuration for one phase: the user's, with providers from iacq's mirror.

Terraform asks every method of a `provider_installation` block for versions, the registry too: a mirror in
front of it saves no request. Where the mirror has everything, it stands alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from iacq.adapters.providers import packages
from iacq.adapters.terraform import user_config
from iacq.domain import hcl
from iacq.domain.hcl import Block
from iacq.domain.provider_lock import Installation
from iacq.settings import Settings

_REPLACED = (
    "plugin_cache_dir",  # parallel inits of one cache destroy each other's files; the mirror does its work
    "plugin_cache_may_break_dependency_lock_file",
    "disable_checkpoint",
    "disable_checkpoint_signature",
)
_OVER_NETWORK = ("direct", "network_mirror")
_SYSTEM_DIRECTORIES = "/usr/local/share:/usr/share"  # XDG_DATA_DIRS where it is not set


def write(
    path: Path,
    installation: Installation,
    *,
    mirror: Path,
    settings: Settings,
    host_environ: Mapping[str, str],
    program: Path,
    tree: Path,
) -> Path:
    """Write the configuration to `path`, readable by this user only; returns `path`.

    mirror: `ProviderMirror.packages`, an existing directory; program: terraform; tree: where it will run.
    Raises Unavailable if the user's file cannot be read.
    """
    user = user_config.read(host_environ, program)
    source = sources(user, settings.provider_source, implied_mirrors(host_environ, tree))
    text = render(user, installation, mirror=mirror, source=source)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        os.fchmod(handle, 0o600)
        file.write(text)
    return path


def render(user: str, installation: Installation, *, mirror: Path, source: Sequence[str]) -> str:
    """Merge the user's configuration with ours. `source`: methods to install from beside the mirror."""
    kept = [
        statement.text
        for statement in hcl.statements(user)
        if not (isinstance(statement, Block) and statement.type == "provider_installation")
        and not (isinstance(statement, hcl.Attribute) and statement.name in _REPLACED)
    ]
    methods = [method.text for method in _user_methods(user) if method.type == "dev_overrides"]
    if installation is not Installation.SOURCE_ONLY:
        methods.append(_method("filesystem_mirror", path=json.dumps(str(mirror))))
    if installation is not Installation.MIRROR_ONLY:
        methods += source
    return "\n".join(["disable_checkpoint = true", *kept, "provider_installation {", *methods, "}", ""])


def sources(user: str, provider_source: Path | None, implied: Iterable[Path]) -> list[str]:
    """Return the installation methods that are not iacq's mirror, in order.

    First what the setting names, then the user's own methods; without those, as terraform has it, the
    directories that it searches by itself, then the registry. What a directory holds is not looked for over
    the network. A directory that is not there holds nothing.
    """
    held = list(packages.addresses(provider_source)) if provider_source else []
    methods = [_directory(provider_source, held)] if provider_source and held else []
    own = [method for method in _user_methods(user) if method.type != "dev_overrides"]
    if any(hcl.blocks(user, "provider_installation")):
        return methods + [_without(method, held) for method in own]
    for directory in implied:
        found = packages.addresses(directory)
        if found:
            methods.append(_directory(directory, found))
            held += found
    return [*methods, _method("direct", exclude=_list(held)) if held else _method("direct")]


def implied_mirrors(environ: Mapping[str, str], tree: Path) -> list[Path]:
    """Return the directories that terraform searches if no `provider_installation` is configured."""
    directories = [tree / "terraform.d" / "plugins"]
    home = user_config.home_directory(environ)
    if home is not None:
        data = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")
        directories += [home / ".terraform.d" / "plugins", data / "terraform" / "plugins"]
    shared = environ.get("XDG_DATA_DIRS") or _SYSTEM_DIRECTORIES
    directories += [Path(entry) / "terraform" / "plugins" for entry in shared.split(":") if entry]
    return [directory.absolute() for directory in directories if directory.is_dir()]


def _user_methods(user: str) -> Iterator[Block]:
    for block in hcl.blocks(user, "provider_installation"):
        yield from hcl.blocks(block.body)


def _without(method: Block, held: Sequence[str]) -> str:
    """Return a method of the user that does not go to the network for what a directory holds."""
    if method.type not in _OVER_NETWORK or not held:
        return method.text
    values = hcl.attributes(method.body)
    exclude = [*hcl.strings(values.pop("exclude", "")), *held]
    return _method(method.type, **values, exclude=_list(exclude))


def _directory(path: Path, held: Sequence[str]) -> str:
    return _method("filesystem_mirror", path=json.dumps(str(path)), include=_list(held))


def _method(kind: str, **values: str) -> str:
    return "\n".join([f"{kind} {{", *(f"  {name} = {value}" for name, value in values.items()), "}"])


def _list(values: Iterable[str]) -> str:
    return json.dumps(list(dict.fromkeys(values)))
