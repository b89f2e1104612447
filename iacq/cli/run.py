"""`iacq run`: all commands about one run under one name."""

from __future__ import annotations

import click

from iacq.cli import run_list, run_logs, run_show, run_steps, runs
from iacq.cli.command import Group


@click.group(cls=Group)
def run() -> None:
    """All commands about one run."""


for _command in (
    run_list.list_runs,
    run_show.show,
    run_logs.logs,
    run_steps.confirm,
    run_steps.discard,
    run_steps.cancel,
    runs.retry,
    run_steps.resolve,
):
    run.add_command(_command)
