"""A container is a program of this machine below a shim, with the environment that its pod says."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SHIM = Path(__file__).with_name("shim.py")
_REFERENCE = re.compile(r"\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")
_SHOWN = 2048

Object = dict[str, Any]


class ConfigError(Exception):
    """The container cannot be made as its pod says."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """What an image brings."""

    entrypoint: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    paper: bool = False  # its containers are no processes, and run until their pods go


PAPER = Image(paper=True)


class Container:
    """A program that runs, or has ended."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], directory: Path, log: Path) -> None:
        """Start it. Raises OSError."""
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        with log.open("ab") as output:
            self._shim = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_SHIM), *argv],
                env=dict(environment),
                cwd=directory,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                bufsize=0,
            )

    @property
    def pid(self) -> int:
        """The shim: everything of the container descends from it."""
        return self._shim.pid

    def ended(self) -> int | None:
        """Return its exit code once nothing of it is alive; None while something is."""
        return self._shim.poll()

    def order(self, letter: str) -> None:
        """Tell the shim (see there)."""
        assert self._shim.stdin is not None
        try:
            self._shim.stdin.write(letter.encode())
        except BrokenPipeError:
            return

    def forget(self) -> None:
        assert self._shim.stdin is not None
        self._shim.stdin.close()

    def last_words(self) -> str:
        return self.log.read_bytes()[-_SHOWN:].decode(errors="replace")


@dataclass(frozen=True, kw_only=True)
class References:
    """What pods of a namespace can refer to."""

    secrets: Mapping[str, Mapping[str, str]]
    config_maps: Mapping[str, Mapping[str, str]]


def command(spec: Object, image: Image, environment: Mapping[str, str]) -> list[str]:
    """Return the arguments of a container; its program is looked up in its PATH. Raises ConfigError."""
    said = [*(spec.get("command") or image.entrypoint), *(spec.get("args") or [])]
    argv = [_expand(word, environment) for word in said]
    found = shutil.which(argv[0], path=environment.get("PATH", os.defpath))
    if found is None:
        raise ConfigError(f'exec: "{argv[0]}": executable file not found in $PATH')
    return [found, *argv[1:]]


def environment(
    pod: Object, spec: Object, image: Image, refer: References, mounts: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment of a container. Raises ConfigError.

    mounts: where on this machine is what the container sees at a path: values that begin with one are rewritten.
    """
    made: dict[str, str] = {}
    for source in spec.get("envFrom") or []:
        for kind, there in (("secretRef", refer.secrets), ("configMapRef", refer.config_maps)):
            if kind in source:
                found = _find(there, source[kind], kind)
                made |= {source.get("prefix", "") + name: value for name, value in found.items()}
    for one in spec.get("env") or []:
        value = _value(pod, one, refer)
        if value is not None:
            made[one["name"]] = _expand(value, made)
    return {**image.environment, **{name: _rewrite(value, mounts) for name, value in made.items()}}


def secret(refer: References, name: str) -> Mapping[str, str]:
    """Return the content of a Secret. Raises ConfigError."""
    return _find(refer.secrets, {"name": name}, "secretRef")


def _value(pod: Object, one: Object, refer: References) -> str | None:
    source = one.get("valueFrom")
    if source is None:
        return one.get("value") or ""
    if "fieldRef" in source:
        return _field(pod, source["fieldRef"]["fieldPath"])
    for kind, there in (("secretKeyRef", refer.secrets), ("configMapKeyRef", refer.config_maps)):
        if kind in source:
            wanted = source[kind]
            found = _find(there, wanted, kind)
            if wanted["key"] not in found and not wanted.get("optional"):
                raise ConfigError(f"couldn't find key {wanted['key']} in {_NAMED[kind]} {_place(pod, wanted)}")
            return found.get(wanted["key"])
    raise ConfigError(f"no value for {one['name']}")


_NAMED = {"secretKeyRef": "Secret", "secretRef": "secret", "configMapKeyRef": "ConfigMap", "configMapRef": "configmap"}


def _find(there: Mapping[str, Mapping[str, str]], wanted: Object, kind: str) -> Mapping[str, str]:
    if wanted["name"] in there:
        return there[wanted["name"]]
    if wanted.get("optional"):
        return {}
    raise ConfigError(f'{_NAMED[kind].lower()} "{wanted["name"]}" not found')


def _place(pod: Object, wanted: Object) -> str:
    return f"{pod['metadata']['namespace']}/{wanted['name']}"


def _field(pod: Object, path: str) -> str:
    if found := re.fullmatch(r"metadata\.(labels|annotations)\['(.*)'\]", path):
        return str((pod["metadata"].get(found[1]) or {}).get(found[2], ""))
    if path in ("status.podIP", "status.hostIP"):
        return "127.0.0.1"
    value: Any = pod
    for part in path.split("."):
        value = value.get(part, "")
    return str(value)


def _expand(text: str, environment: Mapping[str, str]) -> str:
    return _REFERENCE.sub(lambda found: environment.get(found[1], found[0]), text)


def _rewrite(value: str, mounts: Mapping[str, str]) -> str:
    for path in sorted(mounts, key=len, reverse=True):
        if value == path or value.startswith(f"{path}/"):
            return mounts[path] + value[len(path) :]
    return value
