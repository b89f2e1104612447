"""Sources that are git repositories: fetched in the slot at each plan, and never more than a tree of files."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from iacq.domain.run import StartTier, Status
from tests import processes
from tests.acceptance import fleet
from tests.acceptance.conftest import on_both
from tests.acceptance.system import System
from tests.acceptance.test_cold import lose_slot
from tests.acceptance.test_inputs import everything_stored
from tests.repositories import Handler, Repository, git_backend, serving
from tests.waiting import wait_until

OUTPUT = 'output "it" {{ value = "{}" }}\n'
TOKEN = "glpat-correct-horse-battery"


@pytest.fixture
def repository(tmp_path) -> Repository:
    return Repository(tmp_path / "repositories" / "network")


@on_both
def test_each_plan_fetches_what_its_ref_is_then(system: System, repository: Repository):
    """docs/failures.md 5."""
    first = repository.commit({"main.tf": OUTPUT.format("first")})
    repository.git("tag", "-a", "v1", "-m", "a tag of its own")
    second = repository.commit({"main.tf": OUTPUT.format("second")})
    system.workspace("fetched", git=repository.url)
    applied = system.apply("fetched")
    assert (applied.status, applied.error_text, applied.start_tier) == (Status.APPLIED, None, StartTier.HOT)
    assert (applied.commit, system.client.to_json(applied)["commit"]) == (second, second)
    assert f"Source: commit {second}" in system.log(applied)
    for ref, commit in (("v1", first), ("main", second), (first, first)):
        system.client.update_workspace("fetched", ref=ref)
        planned = system.plan("fetched", "plan")
        assert (planned.status, planned.error_text, planned.commit) == (Status.SUCCESS, None, commit)
    system.client.update_workspace("fetched", ref="main")
    third = repository.commit({"main.tf": OUTPUT.format("third")})
    planned = system.plan("fetched")
    repository.commit({"main.tf": OUTPUT.format("fourth")})
    system.confirm(planned)
    applied = system.wait(planned)
    assert (applied.status, applied.commit) == (Status.APPLIED, third)
    system.client.update_workspace("fetched", ref="v1")
    again = system.wait(system.client.retry(applied.id), Status.APPLY_PENDING)
    assert (again.status, again.error_text, again.commit) == (Status.APPLY_PENDING, None, first)
    assert system.client.outputs("fetched")["it"]["value"] == "third"


ROOT = """
variable "stamp" { default = "one" }
module "beside" { source = "../../modules/text" }
module "elsewhere" { source = "git::URL//text?ref=v1" }
resource "terraform_data" "made" {
  input = var.stamp
  provisioner "local-exec" { command = "cat .generated/made" }
}
output "all" { value = [module.beside.text, module.elsewhere.text, path.cwd, abspath("../../modules")] }
"""
MODULE = """
resource "terraform_data" "it" { input = "text" }
resource "terraform_data" "late" {
  input = templatefile("${path.module}/template.txt", { id = terraform_data.it.id })
}
output "text" { value = terraform_data.late.output }
"""


@pytest.mark.parametrize("tier", [StartTier.HOT, StartTier.WARM, StartTier.COLD])
def test_a_subdirectory_has_the_modules_beside_it_and_those_of_git_at_every_start(
    system: System, repository: Repository, tmp_path, tier
):
    """docs/failures.md 16: nothing is fetched again for an apply; neither repository is there any more."""
    modules = Repository(tmp_path / "repositories" / "modules")
    modules.commit({"text/main.tf": MODULE, "text/template.txt": "git ${id}\n"})
    modules.git("tag", "v1")
    repository.commit({
        "envs/prod/main.tf": ROOT.replace("URL", modules.url),
        "modules/text/main.tf": MODULE,
        "modules/text/template.txt": "beside ${id}\n",
    })  # fmt: skip
    system.workspace("sub", git=repository.url, subdir="./envs//prod")
    assert system.client.workspace("sub").subdir == "envs/prod"
    system.spy.hook('if [ "$1" = plan ]; then mkdir -p .generated; echo made at plan time > .generated/made; fi')
    run = system.plan("sub")
    assert run.status is Status.APPLY_PENDING, run.error_text
    system.spy.restore()
    if tier is StartTier.COLD:
        system.spy.change("another build")
    if tier is not StartTier.HOT:
        lose_slot(system, run)
    for gone in (modules, repository):
        gone.directory.rename(gone.directory.with_name(f"gone-{gone.directory.name}"))
    system.confirm(run)
    run = system.wait(run)
    assert (run.status, run.error_text, run.start_tier) == (Status.APPLIED, None, tier)
    assert "made at plan time" in system.log(run, "apply")
    beside, elsewhere, cwd, above = system.client.outputs("sub")["all"]["value"]
    assert (beside[:7], elsewhere[:4]) == ("beside ", "git ")
    assert cwd.endswith("/envs/prod")
    assert above == cwd.removesuffix("envs/prod") + "modules"
    assert {call.directory for call in system.spy.calls(run=run.id)} == {cwd}
    assert system.client.states("sub")[0].resources == 5


@pytest.mark.parametrize("system", ["postgresql"], indirect=True)  # a file of SQLite keeps what was overwritten
def test_the_token_reaches_its_host_and_nothing_else(system: System, repository: Repository, tmp_path):
    repository.commit({"main.tf": OUTPUT.format("private")})
    bare = tmp_path / "repositories"
    seen: list[str] = []
    elsewhere: list[str] = []

    def redirect(request: Handler) -> None:
        elsewhere.append(request.headers.get("Authorization", "none"))
        request.refuse(401, WWW_Authenticate='Basic realm="thief"')

    with (
        serving(git_backend(bare, username="bot", password=TOKEN, seen=seen)) as url,
        serving(redirect) as thief,
        serving(lambda request: request.refuse(301, Location=thief + request.path)) as moved,
        _command_lines() as lines,
    ):
        system.workspace("typed", git=f"{url}/network/.git")
        failed = system.plan("typed")
        assert (failed.status, failed.error_code) == (Status.FAILED, "source")
        assert "asks for credentials" in failed.error_text
        assert "GIT_TOKEN" in failed.error_text
        system.client.update_workspace(
            "typed", environment={"GIT_USERNAME": "bot"}, secret_environment={"GIT_TOKEN": TOKEN}
        )
        applied = system.apply("typed")
        assert (applied.status, applied.error_text) == (Status.APPLIED, None)
        system.client.update_workspace("typed", git=f"{moved}/network/.git")
        stolen = system.plan("typed")
        assert (stolen.status, stolen.error_code) == (Status.FAILED, "source")
    assert len(set(seen)) == 1
    assert set(elsewhere) == {"none"}
    assert any("fetch" in line and url in line for line in lines), "git was never seen"
    assert not any(TOKEN in line for line in lines)
    for run in (failed, applied, stolen):
        assert TOKEN not in system.log(run) + str(system.row(run)) + str(system.client.to_json(run))
    assert TOKEN.encode() not in everything_stored(system)


@contextlib.contextmanager
def _command_lines() -> Iterator[set[str]]:
    """Collect the command lines of every process, as anybody on this machine can see them."""
    lines: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.002):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    lines.add(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield lines
    finally:
        over.set()
        thread.join()


STATE = '{"version": 4, "serial": 7, "lineage": "abc", "resources": []}'
UNUSABLE = [
    ({"ref": "nope"}, "has no nope", "--ref"),
    ({"ref": "0" * 40}, "has no 000000", "--ref"),
    ({"ref": "blob"}, "does not lead to a commit", "--ref"),
    ({"subdir": "envs/none"}, "envs/none is not a directory", "--subdir"),
    ({"subdir": "linked"}, "linked is a link", "--subdir"),
    ({"subdir": "empty"}, "holds no terraform configuration", "--git"),
    ({"git": "file:///nowhere/at/all"}, "there is no git repository", "--git"),
    ({"git": "http://127.0.0.1:1/x.git"}, "does not answer", "--git"),
    ({"ref": "outside"}, "which leads outside", "--git"),
    ({"ref": "state"}, "holds a terraform.tfstate, and workspace broken has no state yet", "--git"),
    ({"ref": "cloud"}, "`cloud` block", "--git"),
    ({"ref": "big"}, "packs to more than 1 MiB", "--git"),
]


def test_what_cannot_be_used_fails_with_the_option_and_the_fix(system: System, repository: Repository):
    repository.commit({"main.tf": OUTPUT.format("it"), "envs/prod/main.tf": "", "empty/none": ""})
    (repository.directory / "linked").symlink_to("envs/prod")
    repository.commit({})
    repository.git("tag", "blob", repository.git("rev-parse", "HEAD:main.tf"))
    for branch, files in {
        "state": {"terraform.tfstate": STATE},
        "cloud": {"cloud.tf": "terraform {\n  cloud {}\n}"},
        "big": {"blob": "".join(f"{number * 7919 % 1000003:x}" for number in range(700_000))},
        "outside": {"modules/x": ""},
    }.items():
        repository.git("checkout", "--quiet", "-b", branch, "main")
        repository.commit(files)
    (repository.directory / "modules" / "out").symlink_to("../../etc/passwd")
    repository.commit({})
    repository.git("checkout", "--quiet", "main")
    system.workspace("broken", git=repository.url)
    for fields, said, field in UNUSABLE:
        system.client.update_workspace("broken", **{"git": repository.url, "ref": None, "subdir": None, **fields})
        run = system.plan("broken")
        assert (run.status, run.error_code, run.tries) == (Status.FAILED, "source", 1), fields
        assert said in run.error_text
        assert f"({field}: " in run.error_text
        assert "Traceback" not in system.log(run)
        assert system.spy.commands(run.id) == []
    system.client.update_workspace("broken", ref="main")
    assert system.plan("broken", "plan").status is Status.SUCCESS


def test_a_state_in_a_repository_is_ignored_or_taken_over(system: System, repository: Repository):
    repository.commit({"main.tf": OUTPUT.format("it"), "terraform.tfstate": STATE})
    system.workspace("stateful", git=repository.url)
    assert system.plan("stateful", "plan", ignore_state=True).status is Status.SUCCESS
    assert not system.client.states("stateful")
    assert system.plan("stateful", "plan", import_state=True).status is Status.SUCCESS
    assert system.client.states("stateful")[0].serial == 7
    assert system.apply("stateful").status is Status.APPLIED


def test_fetching_obeys_a_cancel_and_ends_with_its_slot(system: System):
    started, go_on = threading.Event(), threading.Event()

    def hang(_request: Handler) -> None:
        started.set()
        go_on.wait(120)

    with serving(hang) as url:
        try:
            system.workspace("hanging", git=f"{url}/x.git")
            run = system.client.enqueue("hanging", "plan")
            assert started.wait(60)
            system.client.cancel(run.id)
            run = system.wait(run)
            assert run.status is Status.CANCELLED
            assert "Interrupting git (cancelled)" in system.log(run)
            wait_until(lambda: not _fetching(url), 5, "git has ended")

            started.clear()
            run = system.client.enqueue("hanging", "plan")
            assert started.wait(60)
            git = system.fleet().launch(run.id, "git_fetch")
            assert git.running
            fleet.kill(system.fleet().slot(system.client.get(run.id).slot_id))
            wait_until(lambda: not git.running, 10, "the git of the dead slot has ended")
            system.until(run, lambda found: found.tries == 2, "it is tried again")
            system.client.cancel(run.id)
            assert system.wait(run).status is Status.CANCELLED
        finally:
            go_on.set()
    wait_until(lambda: not _fetching(url), 5, "no git is left")


def _fetching(url: str) -> list[processes.Process]:
    return [found for found in processes.everything() if url in found.command]
