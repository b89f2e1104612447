"""The keys that everything stored is encrypted with."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import stat
from pathlib import Path

from iacq.adapters import private_directory
from iacq.errors import InvalidInput
from iacq.keeper.files import sync_directory
from iacq.settings import Settings

KEY_BYTES = 32
VARIABLE = "IACQ_ENCRYPTION_KEYS"

_NEW_KEY = "make one with `openssl rand -base64 32`"


def load(settings: Settings) -> tuple[bytes, ...]:
    """Return the keys: the first encrypts, all decrypt. From the setting, else HOME/keys, made if missing.

    Raises InvalidInput: a value that is no key (by position; never shown), or a file that others may read.
    """
    if settings.encryption_keys is not None:
        return _decode(settings.encryption_keys, where=VARIABLE, field=VARIABLE)
    path = settings.home / "keys"
    try:
        text = _text(path)
    except FileNotFoundError:
        _create(path)
        text = _made(path)
    # One key a line; `#` starts a comment.
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return _decode(tuple(line for line in lines if line), where=str(path), field="IACQ_HOME")


def _decode(texts: tuple[str, ...], *, where: str, field: str) -> tuple[bytes, ...]:
    if not texts:
        raise InvalidInput(f"{where} holds no key", field=field, hint=_NEW_KEY)
    return tuple(
        _decode_one(text, f"{where}, key {at} of {len(texts)}", field) for at, text in enumerate(texts, start=1)
    )


def _decode_one(text: str, where: str, field: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        # Not chained: a traceback must not show the value.
        raise InvalidInput(f"{where}: this is not base64", field=field, hint=_NEW_KEY) from None
    if len(key) != KEY_BYTES:
        raise InvalidInput(f"{where}: {len(key)} bytes, a key has {KEY_BYTES}", field=field, hint=_NEW_KEY)
    return key


def _text(path: Path) -> str:
    """Read the key file. Raises FileNotFoundError, InvalidInput."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read().decode("ascii", "replace")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be read: {error.strerror or error}",
            field="IACQ_HOME",
            hint=f"restore it, or set {VARIABLE}",
        ) from error
    if mode & 0o077:
        raise InvalidInput(
            f"{path} may be used by others than its owner (mode {mode:04o})",
            field="IACQ_HOME",
            hint=f"chmod 600 {path}",
        )
    return text


def _made(path: Path) -> str:
    try:
        return _text(path)
    except FileNotFoundError as error:
        hint = f"remove it, or set {VARIABLE}"
        raise InvalidInput(f"{path} is a link to nowhere", field="IACQ_HOME", hint=hint) from error


def _create(path: Path) -> None:
    """Make a key file, whole or not at all. If another process was faster, its key stays."""
    private_directory.ensure(path.parent)
    draft = path.with_name(f".keys.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        try:
            _write(draft)
            os.link(draft, path)
            sync_directory(path.parent)
        finally:
            draft.unlink(missing_ok=True)
    except FileExistsError:
        return
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be made: {error.strerror or error}",
            field="IACQ_HOME",
            hint=f"set IACQ_HOME to a directory that can be written, or set {VARIABLE}",
        ) from error


def _write(path: Path) -> None:
    key = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode("ascii")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(f"# Encrypts what iacq stores. Keep a copy: without it, states and plans are lost.\n{key}\n")
        file.flush()
        os.fsync(file.fileno())
