"""What git says when a repository cannot be fetched, in words that name the option and the fix."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from iacq.domain import source
from iacq.domain.source import SourceLocation

_MOST = 500
"""Characters of git's own words."""
_CREDENTIALS = (
    "give a token as --secret-env GIT_TOKEN (and --env GIT_USERNAME, where the host wants a certain one), "
    "or give the pod a credential helper or an ssh agent"
)


@dataclass(frozen=True, kw_only=True)
class Explained:
    """An error for people."""

    field: str
    message: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class _Case:
    said: re.Pattern[str]
    field: str
    message: Callable[[SourceLocation], str]
    hint: str


def _case(said: str, field: str, message: Callable[[SourceLocation], str], hint: str) -> _Case:
    return _Case(said=re.compile(said, re.IGNORECASE), field=field, message=message, hint=hint)


_CASES = (
    _case(
        r"couldn't find remote ref|not our ref|unadvertised object|invalid refspec",
        "--ref",
        lambda location: f"{location.at} has no {location.ref or 'default branch'}",
        "give a branch, a tag, or a full commit id that a branch or tag leads to",
    ),
    _case(
        r"not a valid object name|not a tree object|not a commit",
        "--ref",
        lambda location: f"{location.ref} of {location.at} does not lead to a commit",
        "give a branch, a tag, or a full commit id",
    ),
    _case(
        r"file too large|signal 25",
        "--git",
        lambda location: f"{location.at} is too large",
        "raise IACQ_MAX_SOURCE, or keep large files out of the repository",
    ),
    _case(
        r"authentication failed|could not read (username|password)|permission denied|returned error: 40[13]"
        r"|access denied|terminal prompts disabled",
        "--git",
        lambda location: f"{location.at} asks for credentials, or refuses those that it was given",
        _CREDENTIALS,
    ),
    _case(
        r"host key verification failed",
        "--git",
        lambda location: f"the key of the host of {location.at} is not known on this pod",
        "add it to the pod's known_hosts",
    ),
    _case(
        r"transport '.*' not allowed",
        "--git",
        lambda location: f"{location.at} leads to a transport that is not allowed",
        "use another url, or change IACQ_GIT_PROTOCOLS",
    ),
    _case(
        r"not found|does not appear to be a git repository|does not exist|no such file|not a git repository",
        "--git",
        lambda location: f"there is no git repository {location.at}, or it shows itself to nobody without credentials",
        f"check the url; {_CREDENTIALS}",
    ),
    _case(
        r"could not resolve|failed to connect|connection (refused|timed out|reset)|couldn't connect|no route"
        r"|operation too slow|unable to access",
        "--git",
        lambda location: f"the host of {location.at} does not answer",
        "check the url, the network of the pod, and its proxy",
    ),
)


def explain(location: SourceLocation, said: str, *, token: str | None) -> Explained:
    """Explain what git said on its standard error. token: a secret that must not be in the answer."""
    last = hide(said, token)[-_MOST:].strip()
    for case in _CASES:
        if case.said.search(said):
            text = f"{case.message(location)}; git says: {_line(last, case.said)}"
            return Explained(field=case.field, message=text, hint=case.hint)
    return Explained(
        field="--git",
        message=f"{location.at} cannot be fetched; git says: {' '.join(last.split()) or 'nothing'}",
        hint="check url and ref with `git ls-remote`",
    )


def hide(text: str, token: str | None) -> str:
    """Take a token, and what urls hold in front of a host, out of a text."""
    return source.masked(text.replace(token, "***") if token else text)


def _line(said: str, pattern: re.Pattern[str]) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next((line for line in lines if pattern.search(line)), " ".join(lines)) or "nothing"
