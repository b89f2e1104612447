"""Flower: `python -P -m workers.flower`. Where it listens, and who may see it, is said by settings."""

from __future__ import annotations

import signal
import sys

from iacq import bootstrap, log
from iacq.errors import IacqError
from iacq.settings import load


def main() -> None:
    """Serve until SIGTERM or ^C."""
    settings = load()
    log.set_up(settings.log_format)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        bootstrap.serve_flower(settings)
    except IacqError as error:
        sys.exit(f"Error: {error.message} ({error.hint})")
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
