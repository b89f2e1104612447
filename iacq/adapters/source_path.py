"""A workspace's configuration that lies in a directory of this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from iacq.adapters import archives, ignore_file
from iacq.domain import configuration, state_file
from iacq.errors import InvalidInput
from iacq.ports import SourceFacts

FIELD = "--path"

_TERRAFORM_SUFFIXES = (".tf", ".tf.json", ".tofu", ".tofu.json")
_NEVER = frozenset({".git", ".terraform", "errored.tfstate", ".terraform.tfstate.lock.info"})


class PathSource:
    """Packs a directory; implements `ports.Source`."""

    def look(self, location: str) -> SourceFacts:
        """Read the root module. Raises InvalidInput as `pack` does, and for a state that cannot be read."""
        root = Path(location)
        try:
            _check_directory(root)
            _check_configuration(root, lambda _path, _is_directory: False)
            files = {item.name: item.read_text(errors="replace") for item in root.iterdir() if _is_configuration(item)}
        except InvalidInput as error:
            raise InvalidInput(error.message, field=FIELD, hint=error.hint, code=error.code) from error
        except OSError as error:
            raise InvalidInput(f"{error.filename} cannot be read: {error.strerror}", field=FIELD) from error
        foreign = foreign_state(location)
        return SourceFacts(configuration=configuration.read(files), state=foreign.data if foreign else None)

    def pack(self, location: str, *, limit: int) -> bytes:
        """Return the directory `location` as a tar.gz of at most `limit` bytes.

        Left out: what `is_never_packed` says, and what its .terraformignore matches. Raises InvalidInput: no
        directory, no configuration at its root, unreadable, too large, a link that leads outside.
        """
        root = Path(location)
        try:
            _check_directory(root)
            ignored = ignore_file.read(root)

            def exclude(path: PurePosixPath, is_directory: bool) -> bool:
                return is_never_packed(path) or ignored.matches(path, is_directory)

            _check_configuration(root, exclude)
            return archives.pack(root, exclude=exclude, limit=limit)
        except InvalidInput as error:
            raise InvalidInput(error.message, field=FIELD, hint=error.hint, code=error.code) from error


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


def foreign_state(location: str) -> ForeignState | None:
    """Return the terraform.tfstate in the directory `location`, if it has a lineage or resources.

    Raises InvalidInput if there is one that cannot be read: whether it matters is then for a person to say.
    """
    path = Path(location) / "terraform.tfstate"
    try:
        data = path.read_bytes()
        state = state_file.read(data)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, InvalidInput) as error:
        why = (error.strerror or str(error)) if isinstance(error, OSError) else error.message
        raise InvalidInput(
            f"{path} cannot be read: {why}",
            field=FIELD,
            hint="repair it, or move it away if nothing depends on it",
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


def _check_configuration(root: Path, exclude: archives.Exclude) -> None:
    try:
        names = sorted(item.name for item in root.iterdir() if _is_configuration(item))
    except OSError as error:
        raise InvalidInput(f"{root} cannot be read: {error.strerror or error}", hint="make it readable") from error
    if not names:
        raise InvalidInput(
            f"{root} holds no terraform configuration (no .tf, .tf.json or .tofu file)",
            hint="give the directory of the root module itself",
        )
    if all(exclude(PurePosixPath(name), False) for name in names):
        raise InvalidInput(
            f"{root} holds no terraform configuration: {ignore_file.NAME} leaves out {', '.join(names[:3])}",
            hint=f"correct {ignore_file.NAME}",
        )


def _is_configuration(item: Path) -> bool:
    # terraform, too, ignores hidden files and what editors leave behind.
    return item.name.endswith(_TERRAFORM_SUFFIXES) and not item.name.startswith(".") and item.is_file()
