"""The user's own terraform CLI configuration, in HCL or JSON, as one HCL text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from iacq.errors import Unavailable

_LABELLED = ("credentials", "credentials_helper", "host")


def read(environ: Mapping[str, str], program: Path) -> str:
    """Return what terraform would read if iacq did not give it a file of its own; "" if there is nothing.

    TF_CLI_CONFIG_FILE if that file exists; else `~/.terraformrc` (for a program named tofu `~/.tofurc`, if there is
    one) and, as terraform does, `~/.terraform.d/*.tfrc` with what `terraform login` keeps there. Raises Unavailable
    for a file that cannot be read.
    """
    return "\n".join(_text(file) for file in files(environ, program))


def files(environ: Mapping[str, str], program: Path) -> list[Path]:
    """Return the files that `read` puts together, in order."""
    named = environ.get("TF_CLI_CONFIG_FILE")
    if named and Path(named).is_file():
        return [Path(named)]
    home = home_directory(environ)
    if home is None:
        return []
    directory = home / ".terraform.d"
    of_tofu = home / ".tofurc"
    main = of_tofu if program.name == "tofu" and of_tofu.is_file() else home / ".terraformrc"
    parts = [main, *sorted(directory.glob("*.tfrc")), *sorted(directory.glob("*.tfrc.json"))]
    return [part for part in parts if part.is_file()]


def home_directory(environ: Mapping[str, str]) -> Path | None:
    """Return the home directory that terraform would see."""
    home = environ.get("HOME")
    return Path(home) if home else None


def _text(path: Path) -> str:
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        raise Unavailable(
            f"terraform's CLI configuration {path} cannot be read: {error.strerror}",
            hint="make it readable, or set TF_CLI_CONFIG_FILE to another file",
        ) from error
    if not text.lstrip().startswith("{"):
        return text
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unavailable(
            f"terraform's CLI configuration {path} is not valid JSON", hint="correct it, or remove it"
        ) from error
    return "\n".join(_from_json(document))


def _from_json(document: Mapping[str, Any]) -> Iterator[str]:
    for name, value in document.items():
        if name in _LABELLED:
            for entry in _objects(value):
                yield from (_block(f"{name} {json.dumps(label)}", body) for label, body in entry.items())
        elif name == "provider_installation":
            methods = (
                _block(method, body)
                for entry in _objects(value)
                for method, bodies in entry.items()
                for body in _objects(bodies)
            )
            yield "provider_installation {\n" + "\n".join(methods) + "\n}"
        else:
            yield f"{name} = {_value(value)}"


def _block(head: str, body: Any) -> str:
    lines = [f"{json.dumps(key)} = {_value(value)}" for key, value in body.items()] if isinstance(body, dict) else []
    return "\n".join([f"{head} {{", *lines, "}"])


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{\n" + "\n".join(f"{json.dumps(key)} = {_value(entry)}" for key, entry in value.items()) + "\n}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    for entry in value if isinstance(value, list) else [value]:
        if isinstance(entry, dict):
            yield entry
