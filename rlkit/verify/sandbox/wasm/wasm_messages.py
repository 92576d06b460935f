"""The messages between the judge and a wasm worker, over a socket.

A message is a kind (1 byte), a length (4 bytes, big end first) and a body. To the worker: JOB (a line of JSON with
limits and standard input, then the request for the harness), FRAME for the guest, NO_MORE frames. From it: READY, or
REFUSED with the reason; FRAME of the guest, and END (how the job ended, as a line of JSON, then the guest's output).
"""

from __future__ import annotations

import socket
import time

JOB, FRAME, NO_MORE, READY, REFUSED, END = b"J", b"F", b"X", b"R", b"N", b"E"
_HEAD = 5
_CHUNK = 1 << 18
_MAX_BODY = 64 << 20


class Messages:
    """One end of the socket, with what has been read ahead."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray()

    def send(self, kind: bytes, body: bytes) -> None:
        """Sends a message.

        Raises:
            OSError: the other side is gone, or takes nothing within the socket's timeout.
        """
        self._sock.sendall(kind + len(body).to_bytes(4, "big") + body)

    def receive(self, deadline: float = float("inf")) -> tuple[bytes, bytes]:
        """(kind, body) of the next message.

        Args:
            deadline: on time.monotonic's clock.

        Raises:
            EOFError: the other side is gone.
            OSError: the deadline passed (TimeoutError), or the socket broke.
        """
        self._fill(_HEAD, deadline)
        size = int.from_bytes(self._buffer[1:_HEAD], "big")
        if size > _MAX_BODY:
            raise EOFError
        self._fill(_HEAD + size, deadline)
        kind, body = bytes(self._buffer[:1]), bytes(self._buffer[_HEAD : _HEAD + size])
        del self._buffer[: _HEAD + size]
        return kind, body

    def close(self) -> None:
        """Closes this end."""
        self._sock.close()

    def _fill(self, size: int, deadline: float) -> None:
        """Reads until so many bytes are there."""
        while len(self._buffer) < size:
            left = deadline - time.monotonic()
            self._sock.settimeout(None if left == float("inf") else max(0.001, left))
            chunk = self._sock.recv(_CHUNK)
            if not chunk:
                raise EOFError
            self._buffer += chunk
