"""Where a workspace's configuration comes from, and what may be written as that.

A url and a ref end up as arguments of git: nothing in them may become an option, another transport, or a place
where a password is stored and shown.
"""

from __future__ import annotations

import enum
import re
import urllib.parse
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from iacq.errors import InvalidInput

_LONGEST_URL = 2000
_LONGEST_REF = 250
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")
_HOST = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_SHORT = re.compile(r"(?:([^@/:]+)@)?([^@/:]+):([^:].*)")  # USER@HOST:PATH, as ssh has it
_SECRET = re.compile(r"(://)[^/@\s]*@")
_NOT_IN_REF = frozenset(" ~^:?*[\\")
_URL_HINT = "write https://HOST/PATH, ssh://USER@HOST/PATH or USER@HOST:PATH"
_REF_HINT = "give a branch, a tag, or a full commit id"
_USER_HINT = (
    "write the url without it, and give the token as --secret-env GIT_TOKEN (and --env GIT_USERNAME, "
    "where the host wants a certain one)"
)


class SourceKind(enum.StrEnum):
    """Who reads it, and when."""

    PATH = "path"  # a directory of the machine that enqueues, packed then
    ARCHIVE = "archive"  # a file of that machine, read then
    GIT = "git"  # fetched in the slot, at each plan


@dataclass(frozen=True, kw_only=True)
class SourceLocation:
    """One source."""

    kind: SourceKind
    at: str  # absolute directory, absolute file, or url
    ref: str | None = None  # of git; None: the repository's default branch
    subdir: str | None = None  # of the root module, relative, with `/`; None: the root

    @property
    def field(self) -> str:
        """The option that gives it."""
        return f"--{self.kind}"

    @property
    def text(self) -> str:
        """Write it for people, on one line."""
        ref = f" at {self.ref}" if self.ref else ""
        return self.at + ref + (f", in {self.subdir}" if self.subdir else "")


def checked(source: SourceLocation, protocols: Collection[str]) -> SourceLocation:
    """Return a source that can be used, its subdirectory in its shortest form.

    protocols: of git, that are allowed. Raises InvalidInput that names the option, and never shows a password.
    """
    if source.kind is SourceKind.GIT:
        _check_url(source.at, protocols)
    elif source.ref is not None:
        raise InvalidInput("only a git repository has a ref", field="--ref", hint=f"leave it out with {source.field}")
    if source.ref is not None:
        _check_ref(source.ref)
    return replace(source, subdir=_checked_subdir(source.subdir))


def host_of(url: str) -> tuple[str, str] | None:
    """Return scheme and host (with its port) of an http url that passed `checked`; None for another one."""
    scheme, _, rest = url.partition("://")
    return (scheme, rest.partition("/")[0]) if scheme in ("http", "https") else None


def masked(text: str) -> str:
    """Hide user names and passwords in the urls of a text that somebody else wrote."""
    return _SECRET.sub(r"\1***@", text)


def _check_url(url: str, protocols: Collection[str]) -> None:
    if not url or len(url) > _LONGEST_URL or any(char.isspace() or not char.isprintable() for char in url):
        raise _bad_url("the url is empty, too long, or holds spaces or control characters")
    scheme = _SCHEME.match(url)
    if scheme:
        protocol = scheme[1]
        _check_authority(url, protocol)
    elif "::" in url:
        raise _bad_url("the url names a program to fetch with")
    elif "://" in url:
        raise _bad_url("this is not the url of a repository")
    else:
        protocol = "ssh"
        _check_short(url)
    if protocol not in protocols:
        allowed = ", ".join(protocols) or "none"
        raise _bad_url(
            f"git repositories are not fetched by {protocol} here",
            hint=f"use another url, or change IACQ_GIT_PROTOCOLS (now: {allowed})",
        )


def _check_authority(url: str, protocol: str) -> None:
    rest = url.partition("://")[2]
    authority, slash, path = rest.partition("/")
    user, at, host = authority.rpartition("@")
    if at and (protocol != "ssh" or ":" in user):
        raise _bad_url("the url holds a user name or a password, which would be stored and shown", hint=_USER_HINT)
    if "?" in rest or "#" in rest:
        raise _bad_url("the url has a query or a fragment", hint="give --ref and --subdir instead")
    if protocol == "file":
        correct = not authority and bool(path)
    else:
        correct = bool(_HOST.fullmatch(host)) and (not at or bool(_USER.fullmatch(user))) and bool(slash and path)
    if not correct or urllib.parse.unquote(path).startswith("-"):
        shown = ascii(url) if "@" not in path else "this"  # a password with a `/` in it would end up in the path
        raise _bad_url(f"{shown} is not the url of a repository")


def _check_short(url: str) -> None:
    short = _SHORT.fullmatch(url)
    if url.startswith(("/", ".", "~")):
        raise _bad_url(f"{url!a} is a path, not a url", hint="--path packs a directory; file:///… clones a repository")
    user, host, path = short.groups() if short else (None, "", "")
    if not _HOST.fullmatch(host) or (user is not None and not _USER.fullmatch(user)) or path.startswith("-"):
        raise _bad_url(f"{url!a} is not the url of a repository")


def _bad_url(message: str, hint: str = _URL_HINT) -> InvalidInput:
    return InvalidInput(message, field="--git", hint=hint)


def _check_ref(ref: str) -> None:
    """Take what `git check-ref-format` takes: anything else could be a refspec or an option."""
    parts = ref.split("/")
    wrong = (
        len(ref) > _LONGEST_REF
        or ref.startswith(("-", "+"))
        or ref == "@"
        or ".." in ref
        or "@{" in ref
        or any(char in _NOT_IN_REF or char.isspace() or not char.isprintable() for char in ref)
        or any(not part or part.startswith(".") or part.endswith((".", ".lock")) for part in parts)
    )
    if wrong:
        raise InvalidInput(f"{ref[:80]!a} cannot be a git ref", field="--ref", hint=_REF_HINT)


def _checked_subdir(subdir: str | None) -> str | None:
    if subdir is None:
        return None
    parts = [part for part in PurePosixPath(subdir).parts if part != "."]
    own = {".git", ".terraform"} & set(parts)
    if subdir.startswith("/") or ".." in parts or own or not subdir.isprintable() or len(subdir) > 1000:
        raise InvalidInput(
            f"{subdir[:80]!a} cannot be the directory of the root module",
            field="--subdir",
            hint="give a directory inside the source, relative to its root, as in envs/prod",
        )
    return "/".join(parts) or None
