"""The slot's side of its keeper: a socket while both live, the job's files when one of them was replaced."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

from iacq import ports
from iacq.adapters.keeper_line import KeeperLine
from iacq.errors import Conflict, Unavailable
from iacq.keeper import files, signals
from iacq.keeper.wire import Message

ANSWER_SECONDS = 10.0
"""After which a keeper that does not answer is passed over: the files decide."""

_POLL_SECONDS = 0.1
_SILENT_KEEPER = 60.0
"""Seconds for which the result of a program that has ended is left to its keeper, if that lives and says nothing: a
stopped one, or one that gets no turn, writes it as soon as it goes on."""


class KeeperClient:
    """Implements `ports.Keeper`. Threads may share it.

    Once its keeper is gone it cannot start anything: the process ends after its job, and its successor gets a
    new keeper. All else works through the job's files.
    """

    def __init__(self, end: socket.socket, *, unknown_after: float = 2.0) -> None:
        """Take over `end`, connected to a keeper.

        unknown_after: seconds without keeper, process, lock and result after which an end counts as unknown; until
        then somebody may be about to write the result.
        """
        self._line = KeeperLine(end)
        self._unknown_after = unknown_after
        self._nothing_since: dict[Path, float] = {}
        self._lock = threading.Lock()

    @property
    def gone(self) -> bool:
        """Tell whether the keeper is gone."""
        return self._line.closed

    def close(self) -> None:
        """Hang up; what runs goes on. No thread may be waiting."""
        self._line.close()

    def start(self, job: ports.Job) -> bool:
        """Start it, or return False: not started, and it never will be (its word is on disk).

        True may mean "perhaps", if the keeper died meanwhile; `wait` finds out. Raises Unavailable if the
        keeper is gone (code keeper_gone, word given) or cannot write; Conflict if it is busy or the job was
        started before.
        """
        if self._line.closed:
            self._word_on_disk(job.directory, job.run_id, job.fence)
            raise Unavailable(
                "the keeper of this slot is gone",
                hint="the slot's process ends after its job and gets a new keeper",
                code=ports.KEEPER_GONE,
            )
        try:
            files.make_job_directory(job.directory)
        except OSError as error:
            raise Unavailable(f"cannot create the job directory {job.directory}: {error.strerror}") from error
        patience = max(0.0, job.not_after - time.clock_gettime(time.CLOCK_BOOTTIME)) + ANSWER_SECONDS
        answer = self._line.ask(
            "start",
            patience,
            directory=str(job.directory),
            run_id=job.run_id,
            fence=job.fence,
            phase=job.phase,
            argv=list(job.argv),
            cwd=str(job.cwd),
            environment=dict(job.environment),
            not_after=job.not_after,
        )
        if answer is None:
            return not self._word_on_disk(job.directory, job.run_id, job.fence)
        self._refuse_error(answer, job.directory)
        return bool(answer["started"])

    def wait(self, directory: Path, timeout: float) -> ports.Ended | None:
        """Wait until the job ended, at most `timeout` seconds.

        Raises EndUnknown if no process is left, there is no result, and its keeper is gone or has been silent for a
        minute; Conflict if the word was given that it never starts.
        """
        deadline = time.monotonic() + timeout
        result = self._result(directory)
        if result is None:
            answer = self._line.ask("wait", min(timeout, ANSWER_SECONDS), directory=str(directory))
            if answer is not None and answer.get("known"):
                result = self._wait_for_keeper(directory, answer, deadline)
            else:
                result = self._result(directory)  # it may have ended since the first look
        while result is None:
            self._raise_if_unknown(directory)
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            time.sleep(min(_POLL_SECONDS, left))
            result = self._result(directory)
        self._line.forget(str(directory))
        with self._lock:
            self._nothing_since.pop(directory, None)
        if result.never:
            raise Conflict(f"{directory.name} was never started")
        return ports.Ended(
            returncode=result.returncode,
            signals=result.signals,
            ended_at=result.ended_at,
            wall_ms=result.wall_ms,
        )

    def interrupt(self, directory: Path) -> None:
        """Send SIGINT to the program, at most once in its life. Raises Unavailable."""
        self._signal(directory, signals.Signal.INTERRUPT)

    def kill(self, directory: Path) -> None:
        """SIGKILL the session and all descendants. Raises Unavailable."""
        self._signal(directory, signals.Signal.KILL)

    def word(self, directory: Path, *, run_id: int, fence: int) -> bool:
        """Give the word that this job was not started and never will be; False if it was (or may have been).

        Raises Unavailable if it cannot be written.
        """
        answer = self._line.ask("word", ANSWER_SECONDS, directory=str(directory), run_id=run_id, fence=fence)
        if answer is None:
            return self._word_on_disk(directory, run_id, fence)
        self._refuse_error(answer, directory)
        return bool(answer["word"])

    def _result(self, directory: Path) -> files.Result | None:
        return files.read_result(directory)

    def _wait_for_keeper(self, directory: Path, answer: Message, deadline: float) -> files.Result | None:
        """Return what the keeper says, at once when it says it; it knows even if its disk is full."""
        said = answer.get("result")
        if said is None:
            said = self._line.until_ended(str(directory), deadline - time.monotonic())
        return self._result(directory) if said is None else files.parse_result(said)

    def _raise_if_unknown(self, directory: Path) -> None:
        now = time.monotonic()
        with self._lock:
            if files.is_alive(directory):
                self._nothing_since.pop(directory, None)
                return
            since = self._nothing_since.setdefault(directory, now)
        patience = _SILENT_KEEPER if files.has_keeper(directory) else self._unknown_after
        if now - since >= patience and self._result(directory) is None:
            raise ports.EndUnknown(f"{directory.name}: no process is left, and no result")

    def _signal(self, directory: Path, which: signals.Signal) -> None:
        answer = self._line.ask(which.value[0], ANSWER_SECONDS, directory=str(directory))
        if answer is not None and answer.get("known"):
            return
        try:
            signals.request(directory, which)
        except OSError as error:
            raise Unavailable(f"cannot ask for the end of {directory.name}: {error.strerror}") from error

    def _word_on_disk(self, directory: Path, run_id: int, fence: int) -> bool:
        """Decide without a keeper: it is whoever creates launch.json first that decides."""
        try:
            return files.give_word(directory, run_id=run_id, fence=fence)
        except OSError as error:
            raise Unavailable(f"cannot write the word for {directory.name}: {error.strerror}") from error

    def _refuse_error(self, answer: Message, directory: Path) -> None:
        if "error" not in answer:
            return
        text = f"{directory.name}: the keeper says: {answer['error']}"
        if "code" in answer:
            raise Conflict(text, code=answer["code"])
        raise Unavailable(text)
