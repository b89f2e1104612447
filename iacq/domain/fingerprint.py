"""What must not have changed between a plan and its apply, beside the plan. JSON, kept with the run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Fingerprint = Mapping[str, Any]

_KEYS = ("lock_sha256", "terraform", "providers", "path", "options", "state")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def make(
    *,
    lock_sha256: str | None,
    terraform: Mapping[str, Any],
    providers: Sequence[Mapping[str, Any]],
    path: str,
    options: str,
    state: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Put a fingerprint together.

    lock_sha256: of .terraform.lock.hcl; None if there is none. terraform: path, version, stat (device, inode,
    size, mtime_ns, ctime_ns) and sha256. providers: each address, version, stat (of its binary) and h1.
    sha256 and h1 may be left out of what an apply finds: they decide only where stat differs. path: the run's
    canonical directory. options: SHA-256 of the run's inputs (options, variables, source). state: serial and
    lineage, both None before the first state; None if the configuration's own backend keeps it.
    """
    return {
        "lock_sha256": lock_sha256,
        "terraform": dict(terraform),
        "providers": [dict(provider) for provider in providers],
        "path": path,
        "options": options,
        "state": None if state is None else dict(state),
    }


@dataclass(frozen=True, kw_only=True)
class Check:
    """One comparison."""

    name: str
    passed: bool
    line: str  # for the run's log


def passed(name: str, line: str) -> Check:
    """Note that something is as it was."""
    return Check(name=name, passed=True, line=f"✓ {line}")


def differs(name: str, line: str) -> Check:
    """Note that something is not."""
    return Check(name=name, passed=False, line=f"✗ {line}")


def hot_checks(before: Fingerprint | None, now: Fingerprint | None) -> Iterator[Check]:
    """Compare for an apply in the directory of its plan, without init. Big files by stat, else by content."""
    for check in (_complete, _lock_file, _hot_terraform, _hot_providers, _path, _options, _state):
        yield check(mapping(before), mapping(now))


def warm_checks(before: Fingerprint | None, now: Fingerprint | None) -> Iterator[Check]:
    """Compare for an apply without init in another directory than its plan's: programs by their content.

    Where terraform lies may differ, since pods may.
    """
    for check in (_complete, _lock_file, _warm_terraform, _warm_providers, _path, _options, _state):
        yield check(mapping(before), mapping(now))


def cold_checks(before: Fingerprint | None, now: Fingerprint | None) -> Iterator[Check]:
    """Compare for an apply after init: what would make terraform refuse the plan, or fail half-way.

    The same version of terraform with another SHA-256 passes, with a line that says so: the plan names the
    version it needs, the lock file pins the providers, and builds differ between platforms and images.
    Whoever can swap a pod's binary owns the pod anyway.
    """
    for check in (_cold_terraform, _lock_file, _cold_providers, _path, _state):
        yield check(mapping(before), mapping(now))


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping whatever came: what was recorded may be missing or broken."""
    return value if isinstance(value, Mapping) else {}


def is_sha256(value: Any) -> bool:
    """Tell whether hashing worked: 64 hex digits."""
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def short(value: Any) -> str:
    """Show the beginning of a hash, or `none`."""
    return str(value).removeprefix("h1:")[:12] if value else "none"


def shown(value: Any) -> str:
    """Show a value, or `unknown`."""
    return "unknown" if value is None or value == "" else str(value)


def _complete(before: Fingerprint, now: Fingerprint) -> Check:
    for fingerprint, whose in ((before, "the plan"), (now, "this place")):
        missing = [key for key in _KEYS if key not in fingerprint]
        if missing:
            return differs("fingerprint", f"Fingerprint of {whose} lacks {', '.join(missing)}")
    return passed("fingerprint", "Fingerprint recorded")


def _lock_file(before: Fingerprint, now: Fingerprint) -> Check:
    planned, found = before.get("lock_sha256"), now.get("lock_sha256")
    if planned == found and (planned is None or is_sha256(planned)):
        return passed("lock_file", f"Same lock file ({short(planned)})")
    return differs("lock_file", f"Lock file differs: planned {short(planned)}, found {short(found)}")


def _hot_terraform(before: Fingerprint, now: Fingerprint) -> Check:
    planned, found = mapping(before.get("terraform")), mapping(now.get("terraform"))
    for key in ("version", "path"):
        if not planned.get(key) or planned.get(key) != found.get(key):
            both = f"planned {shown(planned.get(key))}, found {shown(found.get(key))}"
            return differs("terraform", f"terraform {key} differs: {both}")
    if _same_file(planned, found, "sha256"):
        return passed("terraform", f"Same terraform ({found['version']}, {found['path']})")
    return differs("terraform", f"terraform differs: {found['path']} changed: {_both(planned, found, 'sha256')}")


def _hot_providers(before: Fingerprint, now: Fingerprint) -> Check:
    for address, planned, found in _pairs(before, now):
        if not planned.get("version") or planned.get("version") != found.get("version"):
            return _other_version(address, planned, found)
        if not _same_file(planned, found, "h1"):
            return differs("providers", f"Provider {address} differs: changed: {_both(planned, found, 'h1')}")
    return passed("providers", f"Same providers ({len(providers_of(now))})")


def _warm_terraform(before: Fingerprint, now: Fingerprint) -> Check:
    planned, found = mapping(before.get("terraform")), mapping(now.get("terraform"))
    if not planned.get("version") or planned.get("version") != found.get("version"):
        both = f"planned {shown(planned.get('version'))}, found {shown(found.get('version'))}"
        return differs("terraform", f"terraform version differs: {both}")
    if is_sha256(planned.get("sha256")) and planned.get("sha256") == found.get("sha256"):
        return passed("terraform", f"Same terraform ({found['version']}, sha256 {short(found['sha256'])})")
    return differs("terraform", f"terraform differs: another build: {_both(planned, found, 'sha256')}")


def _warm_providers(before: Fingerprint, now: Fingerprint) -> Check:
    for address, planned, found in _pairs(before, now):
        if not planned.get("version") or planned.get("version") != found.get("version"):
            return _other_version(address, planned, found)
        if not planned.get("h1") or planned.get("h1") != found.get("h1"):
            return differs("providers", f"Provider {address} differs: {_both(planned, found, 'h1')}")
    return passed("providers", f"Same providers, by their content ({len(providers_of(now))})")


def _cold_terraform(before: Fingerprint, now: Fingerprint) -> Check:
    planned, found = mapping(before.get("terraform")), mapping(now.get("terraform"))
    version = found.get("version")
    if not version or planned.get("version") != version:
        both = f"planned {shown(planned.get('version'))}, found {shown(version)}"
        return differs("terraform", f"terraform version differs: {both}")
    if _same_file(planned, found, "sha256"):
        return passed("terraform", f"Same terraform ({version})")
    return passed("terraform", f"Same terraform version ({version}), another build: {_both(planned, found, 'sha256')}")


def _cold_providers(before: Fingerprint, now: Fingerprint) -> Check:
    # Contents are for init to check, against the lock file; before it there is nothing to compare.
    if not providers_of(now):
        return passed("providers", "Providers are left to init and the lock file")
    for address, planned, found in _pairs(before, now):
        if planned.get("version") != found.get("version"):
            return _other_version(address, planned, found)
    return passed("providers", f"Same provider versions ({len(providers_of(now))})")


def _other_version(address: str, planned: Mapping[str, Any], found: Mapping[str, Any]) -> Check:
    both = f"planned {shown(planned.get('version'))}, found {shown(found.get('version'))}"
    return differs("providers", f"Provider {address} differs: {both}")


def _path(before: Fingerprint, now: Fingerprint) -> Check:
    planned, found = before.get("path"), now.get("path")
    if planned and planned == found:
        return passed("path", f"Same path ({found})")
    # Elsewhere, a configuration that uses path.cwd fails half-way through its apply.
    return differs("path", f"Path differs: planned in {shown(planned)}, this is {shown(found)}")


def _options(before: Fingerprint, now: Fingerprint) -> Check:
    planned, found = before.get("options"), now.get("options")
    if planned and planned == found:
        return passed("options", "Same options")
    return differs("options", f"Options differ: planned {short(planned)}, found {short(found)}")


def _state(before: Fingerprint, now: Fingerprint) -> Check:
    planned, found = before.get("state"), now.get("state")
    if planned is None and found is None:
        return passed("state", "State is kept by the configuration's own backend")
    if planned == found:
        return passed("state", f"Same state ({_state_shown(found)})")
    return differs("state", f"State differs: planned from {_state_shown(planned)}, found {_state_shown(found)}")


def _state_shown(state: Any) -> str:
    serial, lineage = mapping(state).get("serial"), mapping(state).get("lineage")
    return "none" if serial is None else f"serial {serial}, lineage {shown(lineage)}"


def _same_file(planned: Mapping[str, Any], found: Mapping[str, Any], content: str) -> bool:
    """Compare by stat, and by content where that differs and both contents are known."""
    before, now = planned.get("stat"), found.get("stat")
    # A tuple became a list on its way through JSON.
    if isinstance(before, list | tuple) and isinstance(now, list | tuple) and before and list(before) == list(now):
        return True
    return bool(planned.get(content)) and planned.get(content) == found.get(content)


def _both(planned: Mapping[str, Any], found: Mapping[str, Any], content: str) -> str:
    if planned.get(content) and found.get(content):
        return f"planned {content} {short(planned[content])}, found {short(found[content])}"
    return f"planned stat {shown(planned.get('stat'))}, found {shown(found.get('stat'))}"


def _pairs(before: Fingerprint, now: Fingerprint) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    planned, found = providers_of(before), providers_of(now)
    for address in sorted(planned.keys() | found.keys()):
        yield address, planned.get(address, {}), found.get(address, {})


def providers_of(fingerprint: Fingerprint) -> dict[str, Mapping[str, Any]]:
    """Return the providers by address."""
    given = fingerprint.get("providers")
    entries = given if isinstance(given, list | tuple) else ()
    return {str(mapping(entry).get("address")): mapping(entry) for entry in entries}
