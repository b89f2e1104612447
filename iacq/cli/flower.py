"""`iacq flower`: the pages of Flower, for people who know Celery."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from iacq.cli.app import App
from iacq.cli.becoming import become
from iacq.cli.command import Command, pass_app
from iacq.settings import Settings, split_endpoint


@click.command(cls=Command, example="iacq flower --address 0.0.0.0 --basic-auth-file people.txt")
@click.option("--address", metavar="HOST", help="Where to listen [default: that of IACQ_FLOWER_ADDRESS, 127.0.0.1].")
@click.option(
    "--port", type=click.IntRange(1, 65535), metavar="N", help="[default: that of IACQ_FLOWER_ADDRESS, 5555]."
)
@click.option(
    "--basic-auth-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Who may see it: user:password, one a line. Without, only this machine may.",
)
@pass_app
def flower(app: App, address: str | None, port: int | None, basic_auth_file: Path | None) -> None:
    """Run Flower on iacq's broker: slots, their queues, and the phases that they ran, read-only.

    It shows what happened since it was started. With --json it logs JSON.
    """
    from iacq import bootstrap

    settings = _chosen(app.settings, address, port, basic_auth_file)
    bootstrap.flower_options(settings)  # what is wrong with them is said here
    given = {"IACQ_FLOWER_ADDRESS": settings.flower_address}
    if settings.flower_basic_auth is not None:
        given["IACQ_FLOWER_BASIC_AUTH"] = settings.flower_basic_auth
    become(app, "workers.flower", **given)


def _chosen(settings: Settings, address: str | None, port: int | None, basic_auth_file: Path | None) -> Settings:
    host, number = split_endpoint(settings.flower_address)
    host = address or host
    shown = f"[{host}]" if ":" in host else host
    auth = f"@{basic_auth_file.absolute()}" if basic_auth_file else settings.flower_basic_auth
    return dataclasses.replace(settings, flower_address=f"{shown}:{port or number}", flower_basic_auth=auth)
