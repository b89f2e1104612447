"""Fetches one commit of a git repository, without a checkout.

Three commands: a bare repository, a shallow fetch of exactly the ref, a tar of its tree. What is in the repository
never decides what runs: no hook, no filter, no submodule, no transport but those of the setting. The tar is then
judged like an archive that somebody sent, and packed like a directory.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

from iacq.adapters.sources import archive_formats, archives, source_tree, unpacking
from iacq.adapters.terraform import environment as terraform_environment
from iacq.domain import source
from iacq.domain.source import SourceLocation
from iacq.errors import InvalidInput, Unavailable
from iacq.ports import FetchedSource, GitCommands
from iacq.settings import Settings

TOKEN = "GIT_TOKEN"  # noqa: S105 - the name of a variable
USERNAME = "GIT_USERNAME"

_REPOSITORY = "repository.git"
_TAR = "source.tar"
_ASKPASS = "askpass"
_DEFAULT_USERNAME = "x-access-token"  # most hosts take any name with a token

_NOT_FOR_GIT = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_PREFIX", "GIT_EXTERNAL_DIFF", "GIT_SHALLOW_FILE", "GIT_QUARANTINE_PATH",
    "GIT_TOKEN", "GIT_USERNAME", "LANGUAGE",
)  # fmt: skip
_TRACES = ("GIT_TRACE", "GIT_CURL_VERBOSE", "GIT_TRANSFER_TRACE")  # would print what is sent

# The token goes to the workspace's own host only: git asks for the password of whatever host it was redirected to.
_ASKPASS_SCRIPT = """#!/bin/sh
case "$1" in
"Username for '$GIT_TOKEN_SCHEME://$GIT_TOKEN_HOST': ") printf '%s\\n' "$GIT_USERNAME" ;;
"Password for '$GIT_TOKEN_SCHEME://"*"@$GIT_TOKEN_HOST': ") printf '%s\\n' "$GIT_TOKEN" ;;
*) exit 1 ;;
esac
"""

# Bounds each file that git writes, in blocks of 512 bytes; a write beyond fails as one on a full disk does.
_BOUNDED = ("/bin/sh", "-c", 'trap "" XFSZ; ulimit -f "$0" && exec "$@"')
_BLOCK = 512
_VERSION_SECONDS = 10.0

# Nothing of a repository's attributes changes its files, whatever the pod's own configuration has for them.
_ATTRIBUTES = "* -export-ignore -export-subst -filter -ident -working-tree-encoding -text -eol\n"

_OPTIONS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "fetch.recurseSubmodules": "false",
    "fetch.unpackLimit": "1",  # one file, which the limit of a file bounds
    "gc.auto": "0",
    "maintenance.auto": "false",
    "credential.useHttpPath": "false",
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": "60",  # seconds without a byte
    "tar.umask": "0022",
    "protocol.allow": "never",
}


class GitRepository:
    """Implements `ports.Git`."""

    def __init__(self, settings: Settings, host_environ: Mapping[str, str]) -> None:
        """host_environ: of this machine, from which git sees what terraform may see."""
        self._settings = settings
        self._host_environ = host_environ
        self._limit = archives.unpacked_limit(settings.max_source)

    def prepare(self, directory: Path, location: SourceLocation, workspace: Mapping[str, str]) -> GitCommands:
        """Say what to run, and write what it needs."""
        location = source.checked(location, self._settings.git_protocols)
        environment = self._environment(directory, location, workspace)
        repository = directory / _REPOSITORY
        (repository / "info").mkdir(parents=True)
        (repository / "info" / "attributes").write_text(_ATTRIBUTES)
        options = {**_OPTIONS, **{f"protocol.{name}.allow": "always" for name in self._settings.git_protocols}}
        if TOKEN in environment:
            _write_askpass(directory / _ASKPASS)
            options["credential.helper"] = ""  # none is asked first, and none may keep the token
        given = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        git = (*_BOUNDED, str(self._limit // _BLOCK), _find(environment), f"--git-dir={repository}", *given)
        return GitCommands(
            steps=(
                ("git_init", (*git, "init", "--quiet", "--bare", "--template=")),
                ("git_fetch", (*git, *_FETCH, "--", location.at, location.ref or "HEAD")),
                ("git_archive", (*git, "archive", "--format=tar", f"--output={directory / _TAR}", "FETCH_HEAD")),
            ),
            directory=directory,
            environment=environment,
        )

    def take(self, directory: Path, location: SourceLocation, *, limit: int) -> FetchedSource:
        """Read what the commands left, and remove it."""
        tree = directory / "tree"
        commit = _commit(directory / _TAR)
        if commit is None:
            raise InvalidInput(
                f"{location.ref} of {location.at} does not lead to a commit",
                field="--ref",
                hint="give a branch, a tag, or a full commit id",
            )
        with source_tree.shown_as(location, tree):
            unpacking.unpack_from(archive_formats.of_tar(directory / _TAR), tree, limit_bytes=self._limit)
            packed = source_tree.pack(tree, location.subdir, limit=limit)
        shutil.rmtree(directory)
        return FetchedSource(packed=packed, commit=commit)

    def _environment(self, directory: Path, location: SourceLocation, workspace: Mapping[str, str]) -> dict[str, str]:
        seen = terraform_environment.allowed(self._settings, self._host_environ, workspace, own_backend=True)
        kept = {
            name: value for name, value in seen.items() if name not in _NOT_FOR_GIT and not name.startswith(_TRACES)
        }
        host = source.host_of(location.at)
        if workspace.get(TOKEN) and host is not None:
            kept |= {
                "GIT_ASKPASS": str(directory / _ASKPASS),
                "GIT_TOKEN_SCHEME": host[0],
                "GIT_TOKEN_HOST": host[1],
                USERNAME: workspace.get(USERNAME) or _DEFAULT_USERNAME,
                TOKEN: workspace[TOKEN],
            }
        return {
            **kept,
            "PWD": str(directory),
            "TMPDIR": str(directory),
            "LC_ALL": "C",  # `domain.git_errors` reads what it says
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": ":".join(self._settings.git_protocols),
            "GIT_NO_REPLACE_OBJECTS": "1",
        }


_FETCH = ("fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--no-auto-gc")


def find(search_path: str | None = None) -> str:
    """Return the absolute path of git. search_path: instead of PATH. Raises Unavailable."""
    found = shutil.which("git", path=search_path)
    if found is None:
        raise Unavailable("there is no git on this machine", hint="install git where the pods run", code="no_git")
    return os.path.abspath(found)


def version() -> str:
    """Return the version of git. Raises Unavailable."""
    try:
        said = subprocess.run(
            [find(), "--version"], capture_output=True, text=True, timeout=_VERSION_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"git does not work: {error}", hint="repair its installation", code="no_git") from error
    return said.stdout.strip().removeprefix("git version ")


def _find(environment: Mapping[str, str]) -> str:
    return find(environment.get("PATH"))


def _write_askpass(path: Path) -> None:
    path.write_text(_ASKPASS_SCRIPT)
    path.chmod(0o700)


def _commit(tar: Path) -> str | None:
    """Return the commit that git wrote into the head of a tar (`git get-tar-commit-id` reads the same)."""
    with tarfile.open(tar, "r:") as opened:
        return opened.pax_headers.get("comment")
