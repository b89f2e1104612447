"""Run the command line in this process, against a fake client or the real one."""

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from iacq.cli import cli
from iacq.cli.app import App
from tests.cli.fake_client import FakeClient

Iacq = Callable[..., Result]


@pytest.fixture
def iacq() -> Iacq:
    """Call `iacq(client, *words)`; terminal: a person can be asked, whose answers are `typed`."""

    def call(
        client: FakeClient | None,
        *words: str,
        terminal: bool = False,
        typed: str = "",
        env: dict[str, str] | None = None,
    ) -> Result:
        app = App(is_terminal=lambda: terminal)
        if client is not None:
            app.connect = lambda _settings: client  # type: ignore[assignment, return-value]
        result = CliRunner(env=env).invoke(cli, list(words), obj=app, input=typed)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return call
