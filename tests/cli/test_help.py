"""Help, and what it must not cost."""

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from iacq.cli import cli


def commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from commands(found, *path, name)
        else:
            yield (*path, name), found


ALL = dict(commands(cli))


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_has_help_with_an_example_and_json(iacq, words):
    result = iacq(None, *words, "--help")
    assert result.exit_code == 0
    assert "--json" in result.stdout
    example = result.stdout.split("Example:")[1].strip()
    assert example.startswith("iacq ")
    assert result.stdout == iacq(None, *words, "-h").stdout


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_the_example_names_a_command_that_exists(words):
    example = ALL[words].example.split()  # type: ignore[attr-defined]
    assert any(tuple(example[1 : 1 + length]) in ALL for length in (1, 2))


def test_commands_of_the_contract_exist():
    wanted = """demo up doctor plan apply destroy drift runs show logs confirm discard cancel queue output pods slots
    metrics flower settings run list|run show|run logs|run confirm|run discard|run cancel|run retry|run resolve|
    workspace create|workspace list|workspace show|workspace update|workspace delete|workspace lock|workspace unlock|
    pool create|pool list|pool show|pool update|pool roll|pool delete|scale|
    pod list|pod drain|pod delete|slot list|
    freeze add|freeze list|freeze remove|freeze preview|freeze now|freeze lift|freeze bypass|
    state list|state show|state pull|state push|state unlock|db upgrade|db check|db reencrypt|
    worker agent|worker control|worker beat|worker pods"""
    single, *double = wanted.split("|")
    *alone, first, second = single.split()
    names = {(name,) for name in alone} | {(first, second)} | {tuple(name.split()) for name in double}
    assert names == set(ALL)


def test_help_lists_commands_and_exit_codes(iacq):
    text = iacq(None, "--help").stdout
    assert "Workspaces:" in text
    assert "130 ^C" in text
    assert iacq(None, "--version").stdout == "iacq 0.1.0\n"


def test_help_imports_neither_database_nor_celery():
    code = """
import sys
from iacq.cli import cli
try:
    cli.main(["--help"])
except SystemExit:
    pass
heavy = {"sqlalchemy", "celery", "kombu", "redis", "alembic", "cryptography", "iacq.client", "flower", "tornado",
    "prometheus_client"} & set(sys.modules)
sys.exit(f"imported: {heavy}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
