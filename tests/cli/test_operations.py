"""docs/operations.md: what it says to type is typed."""

import re
import shlex
from pathlib import Path

import pytest
import sqlalchemy as sa

from iacq.cli.demo import copy_example

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "operations.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
RUN = [block for block in BLOCKS if not block.startswith("# elsewhere")]
ELSEWHERE = [block for block in BLOCKS if block.startswith("# elsewhere")]


def commands(block: str) -> list[list[str]]:
    """Return the words of each line, without comments."""
    lines = (shlex.split(line, comments=True) for line in block.splitlines())
    return [words for words in lines if words]


def of_iacq(words: list[str]) -> list[str] | None:
    """Return the arguments of iacq in a command, or None."""
    if words[0] == "iacq":
        return words[1:]
    return words[words.index("iacq.cli") + 1 :] if "iacq.cli" in words else None


def test_what_needs_nothing_else_is_run_as_it_is_written(iacq, tmp_path):
    copy_example(tmp_path / "network")
    prepared = (
        "db upgrade",
        "workspace create network --path network",
        "plan network --detach",
    )
    for line in prepared:
        assert iacq(None, *line.split()).exit_code == 0, line
    assert len(RUN) >= 7
    for block in RUN:
        for words in commands(block):
            arguments = of_iacq(words)
            assert arguments is not None, f"{words[0]} is not iacq's: mark the block `# elsewhere`"
            done = iacq(None, *arguments)
            assert done.exit_code == 0, (words, done.output)


@pytest.mark.parametrize("block", ELSEWHERE, ids=lambda block: block.splitlines()[0].removeprefix("# elsewhere: "))
def test_what_is_for_elsewhere_exists(iacq, block):
    """Commands of iacq with options of theirs; files of the checkout."""
    for words in commands(block):
        arguments = of_iacq(words)
        if arguments is not None:
            names = [word for word in arguments if re.fullmatch(r"[a-z]+", word)][:2]
            known = [iacq(None, *names[:number], "--help") for number in (2, 1)]
            shown = next(done for done in known if done.exit_code == 0).output
            for option in arguments:
                assert not option.startswith("--") or option in shown, words
        for name in re.findall(r"docker/[\w./-]+", " ".join(words)):
            assert (ROOT / name).exists() or name == "docker/.env", name


def test_files_and_settings_that_it_names_exist():
    from iacq import settings

    for name in re.findall(r"`((?:docker|iacq|scripts)/[\w./-]+)`", TEXT):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"\]\(([\w./]+\.md)\)", TEXT):
        assert (ROOT / "docs" / name).exists(), name
    known = {entry.variable for entry in settings.described()}
    assert set(re.findall(r"IACQ_[A-Z_]+", TEXT)) <= known


def test_an_upgrade_ends_when_nothing_older_is_heard(iacq, home):
    from iacq.store import control
    from iacq.store.session import Database

    assert iacq(None, "db", "upgrade", "--after").exit_code == 4
    assert iacq(None, "db", "upgrade").exit_code == 0
    assert "was over already" in iacq(None, "db", "upgrade", "--after").stderr, "a new database has nothing older"
    database = Database(f"sqlite:///{home}/iacq.db")
    database.run(lambda tx: tx.execute(sa.text("DELETE FROM iacq_demands")))
    assert "An upgrade is not over" in iacq(None, "db", "check").stdout
    database.run(control.beat, 0)
    refused = iacq(None, "db", "upgrade", "--after")
    assert (refused.exit_code, "still running: a control worker" in refused.stderr) == (4, True)
    database.run(lambda tx: tx.execute(sa.text("DELETE FROM iacq_heartbeats")))
    assert "speaks protocol 1" in iacq(None, "db", "upgrade", "--after").stdout
    assert "not over" not in iacq(None, "db", "check").stdout
    database.run(lambda tx: tx.execute(sa.text("UPDATE iacq_demands SET protocol = 2")))
    database.close()
    refused = iacq(None, "db", "upgrade")
    assert (refused.exit_code, "too old for its database" in refused.stderr) == (4, True)
