"""Messages on a stream socket: four bytes of length, then JSON; descriptors may ride along."""

from __future__ import annotations

import array
import json
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any

Message = dict[str, Any]

_LENGTH = struct.Struct("!I")
_CHUNK = 64 * 1024  # from the heap: a mapping of its own would cost more than a second read
_MOST = 64 * 1024 * 1024  # a length beyond this is garbage
_MOST_DESCRIPTORS = 4


class Closed(Exception):  # noqa: N818 - it says what happened
    """The other side is gone."""


class Connection:
    """One end of a conversation."""

    def __init__(self, end: socket.socket) -> None:
        """Take over `end`, a connected stream socket."""
        self._socket = end
        self._buffer = bytearray()
        self.descriptors: list[int] = []  # received, in order; whoever handles the message takes them

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._socket.fileno()

    def send(self, message: Mapping[str, Any], descriptors: Sequence[int] = (), *, wait: bool = True) -> None:
        """Send one message. Without `wait` a receiver that does not read counts as gone. Raises Closed."""
        text = json.dumps(message).encode()
        frame = _LENGTH.pack(len(text)) + text
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            sent = self._socket.sendmsg([frame], rights, 0 if wait else socket.MSG_DONTWAIT)
            if sent < len(frame) and not wait:
                raise Closed
            self._socket.sendall(frame[sent:])
        except OSError as error:
            raise Closed from error

    def receive(self) -> list[Message]:
        """Return the messages that are complete, without waiting. Raises Closed at the end of the stream."""
        # recv_fds of Python 3.11 ignores its flags: the descriptors would leak into terraform.
        flags = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
        room = socket.CMSG_SPACE(_MOST_DESCRIPTORS * array.array("i").itemsize)
        try:
            data, ancillary, _, _ = self._socket.recvmsg(_CHUNK, room, flags)
        except BlockingIOError:
            return []
        except OSError as error:
            raise Closed from error
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                numbers = array.array("i")
                numbers.frombytes(payload[: len(payload) - len(payload) % numbers.itemsize])
                self.descriptors.extend(numbers)
        if not data:
            raise Closed
        self._buffer += data
        return list(self._complete())

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def _complete(self) -> list[Message]:
        messages: list[Message] = []
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > _MOST:
                raise Closed
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                break
            messages.append(json.loads(self._buffer[_LENGTH.size : end]))
            del self._buffer[:end]
        return messages
