"""What git is called with, and what of a repository it leaves: files as they were committed, and nothing that runs."""

import os
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from iacq.adapters.sources.git_repository import GitRepository
from iacq.domain import git_errors
from iacq.domain.source import SourceKind, SourceLocation
from iacq.errors import InvalidInput, Unavailable
from iacq.ports import FetchedSource, GitCommands
from iacq.settings import Settings
from tests.repositories import Repository

LIMIT = 2**20
SETTINGS = Settings(git_protocols=("file",), max_source=LIMIT)
HOST = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}


def at(url: str, ref: str | None = None) -> SourceLocation:
    return SourceLocation(kind=SourceKind.GIT, at=url, ref=ref)


def prepared(directory: Path, location: SourceLocation, **workspace: str) -> GitCommands:
    directory.mkdir()
    return GitRepository(SETTINGS, HOST).prepare(directory, location, workspace)


def run(commands: GitCommands) -> subprocess.CompletedProcess[str]:
    """Run what was prepared until something fails."""
    for _, argv in commands.steps:
        done = subprocess.run(
            argv,
            check=False,
            cwd=commands.directory,
            env=commands.environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            break
    return done


def fetched(directory: Path, location: SourceLocation, **workspace: str) -> FetchedSource:
    done = run(prepared(directory, location, **workspace))
    assert done.returncode == 0, done.stderr
    return GitRepository(SETTINGS, HOST).take(directory, location, limit=LIMIT)


def files(source: FetchedSource) -> dict[str, str]:
    with tarfile.open(fileobj=BytesIO(source.packed.data)) as tar:
        return {m.name: tar.extractfile(m).read().decode() for m in tar if m.isreg()}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "network")


def test_files_are_as_they_were_committed(repository, tmp_path):
    """Attributes of the repository, filters and hooks of the pod's own configuration change nothing and run nothing."""
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\ncat\n")
    trap.chmod(0o755)
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("reference-transaction", "post-checkout", "post-merge", "pre-auto-gc"):
        (hooks / name).symlink_to(trap)
    (tmp_path / "config").write_text(
        f"[core]\n hooksPath = {hooks}\n fsmonitor = {trap}\n autocrlf = true\n"
        f" attributesFile = {tmp_path}/attributes\n"
        f'[filter "trap"]\n smudge = {trap}\n required = true\n[init]\n templateDir = {tmp_path}\n'
        f"[tar]\n umask = 0777\n[fetch]\n recurseSubmodules = true\n"
    )
    (tmp_path / "attributes").write_text("*.md filter=trap\n")
    (repository.directory / "run.sh").write_text("#!/bin/sh\n")
    (repository.directory / "run.sh").chmod(0o755)
    written = {
        "main.tf": "# $Format:%H$ $Id$\n",
        ".gitattributes": "*.tf export-subst ident eol=crlf\ndocs export-ignore\n*.txt filter=trap\n",
        "docs/main.md": "x\n",
        "a.txt": "x\n",
        ".gitmodules": '[submodule "m"]\n path = m\n url = ext::sh -c touch% ran\n',
    }
    commit = repository.commit(written)
    source = fetched(tmp_path / "fetch", at(repository.url), GIT_CONFIG_GLOBAL=str(tmp_path / "config"))
    assert source.commit == commit
    assert files(source) == {**written, "run.sh": "#!/bin/sh\n"}
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "fetch").exists()
    with tarfile.open(fileobj=BytesIO(source.packed.data)) as tar:
        assert (tar.getmember("run.sh").mode, tar.getmember("main.tf").mode) == (0o755, 0o644)


def test_only_the_commit_is_fetched(repository, tmp_path):
    repository.commit({"main.tf": "# old", "old": "x"})
    commit = repository.commit({"main.tf": "# new"})
    commands = prepared(tmp_path / "fetch", at(repository.url, commit))
    assert run(commands).returncode == 0
    counted = subprocess.run(
        ["git", "--git-dir", tmp_path / "fetch" / "repository.git", "rev-list", "--count", "FETCH_HEAD"],
        check=True,
        capture_output=True,
    )
    assert counted.stdout.strip() == b"1"


def test_a_repository_beyond_the_limit_ends_early(repository, tmp_path):
    (repository.directory / "blob").write_bytes(os.urandom(2 * LIMIT))
    repository.commit({"main.tf": ""})
    directory = tmp_path / "fetch"
    directory.mkdir()
    adapter = GitRepository(SETTINGS, HOST)
    adapter._limit = LIMIT
    done = run(adapter.prepare(directory, at(repository.url), {}))
    assert done.returncode != 0
    assert "is too large" in git_errors.explain(at(repository.url), done.stderr, token=None).message
    assert sum(file.stat().st_size for file in directory.rglob("*") if file.is_file()) < 1.2 * LIMIT


def test_neither_the_pods_token_nor_another_repository_gets_in(repository, tmp_path):
    repository.commit({"main.tf": ""})
    host = {**HOST, "GIT_TOKEN": "of the pod", "GIT_ASKPASS": "/pod/askpass", "GIT_TRACE_CURL": "1", "GIT_DIR": "/x"}
    (tmp_path / "fetch").mkdir()
    commands = GitRepository(SETTINGS, host).prepare(tmp_path / "fetch", at(repository.url), {"GIT_DIR": "/y"})
    assert commands.environment["GIT_ASKPASS"] == "/pod/askpass"
    assert not {"GIT_TOKEN", "GIT_DIR", "GIT_TRACE_CURL"} & set(commands.environment)
    assert commands.environment["GIT_TERMINAL_PROMPT"] == "0"
    assert commands.environment["GIT_ALLOW_PROTOCOL"] == "file"
    for _, argv in commands.steps:
        assert "--upload-pack" not in " ".join(argv)
    fetch = commands.steps[1][1]
    assert fetch[-3:] == ("--", repository.url, "HEAD")


def test_the_token_is_given_for_its_host_only(tmp_path):
    settings = Settings(git_protocols=("https",))
    (tmp_path / "fetch").mkdir()
    location = at("https://git.example.org:8443/x.git")
    commands = GitRepository(settings, HOST).prepare(tmp_path / "fetch", location, {"GIT_TOKEN": "hush"})
    assert "credential.helper=" in commands.steps[1][1]
    assert not any("hush" in word for _, argv in commands.steps for word in argv)
    assert "hush" not in repr(commands)

    def ask(prompt: str) -> str:
        program = commands.environment["GIT_ASKPASS"]
        done = subprocess.run([program, prompt], check=False, env=commands.environment, capture_output=True, text=True)
        return done.stdout

    assert ask("Username for 'https://git.example.org:8443': ") == "x-access-token\n"
    assert ask("Password for 'https://x-access-token@git.example.org:8443': ") == "hush\n"
    for other in (
        "https://x@evil.org",
        "http://x@git.example.org:8443",
        "https://x@git.example.org",
        "https://x@git.example.org:8443.evil.org",
        "https://x@evil.org/@git.example.org:8443/",
    ):
        assert ask(f"Password for '{other}': ") == "", other


def test_what_the_slot_does_not_fetch(repository, tmp_path):
    with pytest.raises(InvalidInput, match="not fetched by ssh"):
        prepared(tmp_path / "fetch", at("git@host:x"))
    (tmp_path / "none").mkdir()
    with pytest.raises(Unavailable, match="no git"):
        GitRepository(SETTINGS, {"PATH": "/nonexistent"}).prepare(tmp_path / "none", at(repository.url), {})


def test_a_transport_that_git_was_led_to_is_refused_by_git_itself(repository, tmp_path):
    repository.commit({"main.tf": ""})
    rewritten = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "url.ext::sh -c id .insteadOf",
        "GIT_CONFIG_VALUE_0": "file:",
    }
    done = run(prepared(tmp_path / "fetch", at(repository.url), **rewritten))
    assert done.returncode != 0
    assert "leads to a transport" in git_errors.explain(at(repository.url), done.stderr, token=None).message


@pytest.mark.parametrize(
    ("said", "field", "words"),
    [
        ("fatal: couldn't find remote ref nope", "--ref", "has no nope"),
        ("error: Server does not allow request for unadvertised object 00", "--ref", "has no nope"),
        ("fatal: Authentication failed for 'https://h/x'", "--git", "asks for credentials"),
        ("git@h: Permission denied (publickey).\nfatal: Could not read from remote", "--git", "asks for credentials"),
        ("fatal: could not read Username for 'https://h': terminal prompts disabled", "--git", "asks for credentials"),
        ("remote: Repository not found.\nfatal: repository 'https://h/x' not found", "--git", "no git repository"),
        ("fatal: unable to access 'https://h/x/': Could not resolve host: h", "--git", "does not answer"),
        ("Host key verification failed.\nfatal: Could not read from remote repository.", "--git", "is not known"),
        ("", "--git", "git says: nothing"),
        ("fatal: something new", "--git", "fatal: something new"),
    ],
)
def test_what_git_says_is_explained_without_secrets(said, field, words):
    leak = said + "\nfatal: https://bob:hunter2@h/x tok-123"
    explained = git_errors.explain(at("https://h/x", "nope"), leak if said else said, token="tok-123")
    assert words in explained.message
    assert explained.field == field
    assert explained.hint
    assert "hunter2" not in explained.message
    assert "tok-123" not in explained.message
