"""Every error that iacq raises on purpose.

    IacqError
    ├── InvalidInput          2  what the caller gave cannot be used
    ├── NotFound              3  no such workspace, run, pod
    ├── Conflict              4  the present state forbids it
    ├── Unavailable           5  the database, the broker or a program is missing
    ├── WaitTimeout           1  a bounded wait ended first
    └── PhaseFailed           1  a step of a plan or apply failed; becomes the run's error

The number is the exit code of the command line. The docstring of a class is its default message.
Foreign exceptions are translated where they enter: database errors in `store.session`, broker errors in
`adapters.dispatcher`, files and programs in their adapters.
"""

from __future__ import annotations


class IacqError(Exception):
    """Something went wrong."""

    exit_code = 1
    default_code = "error"

    def __init__(
        self, message: str = "", *, field: str | None = None, hint: str | None = None, code: str | None = None
    ) -> None:
        """Build an error for a reader.

        message: what was wrong, and where; field: the input it is about, as the user knows it (`--var`,
        `workspace`); hint: what to do about it; code: a stable word for programs.
        """
        self.message = message or (type(self).__doc__ or "").split("\n")[0]
        self.field = field
        self.hint = hint
        self.code = code or self.default_code
        super().__init__(self.message)


class InvalidInput(IacqError):  # noqa: N818 - an error is named for what it says
    """The input cannot be used."""

    exit_code = 2
    default_code = "invalid_input"


class NotFound(IacqError):  # noqa: N818 - see InvalidInput
    """It does not exist."""

    exit_code = 3
    default_code = "not_found"


class Conflict(IacqError):  # noqa: N818 - see InvalidInput
    """The present state forbids this."""

    exit_code = 4
    default_code = "conflict"


class Unavailable(IacqError):  # noqa: N818 - see InvalidInput
    """A part of the system does not answer."""

    exit_code = 5
    default_code = "unavailable"


class WaitTimeout(IacqError):  # noqa: N818 - see InvalidInput
    """The run did not get there in time."""

    default_code = "wait_timeout"


class PhaseFailed(IacqError):  # noqa: N818 - see InvalidInput
    """A step of the phase failed."""

    default_code = "failed"
