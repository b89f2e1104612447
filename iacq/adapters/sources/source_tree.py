"""A configuration that lies in a directory, wherever it came from: looked at, checked and packed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from iacq.adapters.sources import archives, ignore_file
from iacq.domain import configuration, state_file
from iacq.domain.source import SourceLocation
from iacq.errors import InvalidInput
from iacq.ports import PackedSource, SourceFacts

_TERRAFORM_SUFFIXES = (".tf", ".tf.json", ".tofu", ".tofu.json")
_NEVER = frozenset({".git", ".terraform", "errored.tfstate", ".terraform.tfstate.lock.info"})


def look(root: Path, subdir: str | None = None) -> SourceFacts:
    """Read the root module, in `subdir` of the directory `root`.

    Raises InvalidInput as `pack` does, and for a state that cannot be read.
    """
    _check_directory(root)
    module = _module(root, subdir)
    _check_configuration(root, module, lambda _path, _is_directory: False)
    try:
        files = {item.name: item.read_text(errors="replace") for item in module.iterdir() if _is_configuration(item)}
    except OSError as error:
        raise InvalidInput(f"{error.filename} cannot be read: {error.strerror}", hint="make it readable") from error
    foreign = foreign_state(module)
    return SourceFacts(configuration=configuration.read(files), state=foreign.data if foreign else None)


def pack(root: Path, subdir: str | None = None, *, limit: int) -> PackedSource:
    """Pack the directory `root` as a tar.gz of at most `limit` bytes, and say what its root module says.

    Left out: what `is_never_packed` says, and what its .terraformignore matches. Raises InvalidInput: no
    directory, no configuration in `subdir`, unreadable, too large, a link that leads outside.
    """
    facts = look(root, subdir)
    ignored = ignore_file.read(root)

    def exclude(path: PurePosixPath, is_directory: bool) -> bool:
        return is_never_packed(path) or ignored.matches(path, is_directory)

    _check_configuration(root, _module(root, subdir), exclude)
    return PackedSource(data=archives.pack(root, exclude=exclude, limit=limit), facts=facts)


@contextlib.contextmanager
def shown_as(location: SourceLocation, root: Path) -> Iterator[None]:
    """Let an error name the source as its user knows it, and not `root`, where it lies at the moment."""
    try:
        yield
    except InvalidInput as error:
        message = error.message.replace(str(root), location.at).replace("the archive", location.at, 1)
        raise InvalidInput(message, field=error.field or location.field, hint=error.hint, code=error.code) from error


def is_never_packed(path: PurePosixPath) -> bool:
    """Tell whether a path stays where it is, whatever .terraformignore says; at the root and anywhere below.

    `.git` and `.terraform` belong to this machine. State files hold secrets in clear, and iacq keeps the
    state: a module's forgotten one is as foreign as the root's, and a stale `errored.tfstate` would pass for
    evidence of an apply.
    """
    return path.name in _NEVER or path.name.startswith("terraform.tfstate")


@dataclass(frozen=True, kw_only=True)
class ForeignState:
    """A state that lies beside the configuration and that iacq does not manage yet."""

    path: Path
    serial: int
    lineage: str
    resources: int  # count, data sources included
    data: bytes = field(repr=False)  # the file; holds secrets


def foreign_state(module: Path) -> ForeignState | None:
    """Return the terraform.tfstate in the directory `module`, if it has a lineage or resources.

    Raises InvalidInput if there is one that cannot be read: whether it matters is then for a person to say.
    """
    path = module / "terraform.tfstate"
    try:
        data = path.read_bytes()
        state = state_file.read(data)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, InvalidInput) as error:
        why = (error.strerror or str(error)) if isinstance(error, OSError) else error.message
        raise InvalidInput(
            f"{path} cannot be read: {why}", hint="repair it, or move it away if nothing depends on it"
        ) from error
    if state is None or not (state.resources or state.lineage):
        return None
    return ForeignState(
        path=path, serial=state.serial, lineage=state.lineage, resources=len(state.resources), data=data
    )


def _check_directory(root: Path) -> None:
    if not root.is_dir():
        what = "is not a directory" if os.path.lexists(root) else "does not exist"
        raise InvalidInput(f"{root} {what}", hint="give the directory that holds the workspace's .tf files")


def _module(root: Path, subdir: str | None) -> Path:
    """Return the directory of the root module. It is no link: `../modules` means the same however one gets there."""
    if subdir is None:
        return root
    module = root / subdir
    if not module.is_dir() or module.resolve() != root.resolve() / subdir:
        what = "is a link or lies behind one" if module.is_dir() else "is not a directory"
        raise InvalidInput(
            f"{subdir} {what} in {root}", field="--subdir", hint="give the directory of the root module inside it"
        )
    return module


def _check_configuration(root: Path, module: Path, exclude: archives.Exclude) -> None:
    try:
        items = sorted(module.iterdir())
    except OSError as error:
        raise InvalidInput(f"{module} cannot be read: {error.strerror or error}", hint="make it readable") from error
    found = [item.relative_to(root) for item in items if _is_configuration(item)]
    if not found:
        only = items[0].name if len(items) == 1 and items[0].is_dir() else None
        raise InvalidInput(
            f"{module} holds no terraform configuration (no .tf, .tf.json or .tofu file)",
            hint=f"--subdir {(module / only).relative_to(root)} may be what you mean"
            if only
            else "give the directory of the root module itself (--subdir, if it lies deeper)",
        )
    if all(_excluded(PurePosixPath(path), exclude) for path in found):
        names = ", ".join(map(str, found[:3]))
        raise InvalidInput(
            f"{module} holds no terraform configuration: {ignore_file.NAME} leaves out {names}",
            hint=f"correct {ignore_file.NAME}",
        )


def _excluded(path: PurePosixPath, exclude: archives.Exclude) -> bool:
    return exclude(path, False) or any(exclude(parent, True) for parent in path.parents if parent.name)


def _is_configuration(item: Path) -> bool:
    # terraform, too, ignores hidden files and what editors leave behind.
    return item.name.endswith(_TERRAFORM_SUFFIXES) and not item.name.startswith(".") and item.is_file()
