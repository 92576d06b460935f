"""Frames between a job and its judge through a piece of memory that both have mapped. Standard library only.

A job must hold no descriptor but standard input, output and error, because a program that tries every number could
otherwise read frames or write its own. So the judge sends the memory's descriptor along with the job, and the job's
process maps the memory and closes the descriptor before the program runs.

The two sides take turns and the judge begins, with the request: message 1 is the judge's, 2 the job's, 3 the judge's.
The memory holds a header of 32-bit words (number of the last message, its length, most bytes of a job's message) and
the message. A program can find this memory and write to it, as to all memory of its process; it can then lie about its
own results only. The judge reads the length once, copies the message once, and counts messages by itself.
"""

from __future__ import annotations

import ctypes
import fcntl
import os

from rlkit.verify.sandbox import kernel

TOO_LARGE = 0xFFFFFFFF
"""In place of a length: the message was longer than it may be."""
_HEADER = 64
_NUMBER, _LENGTH, _MOST = 0, 4, 8
_SLACK = 1 << 16
"""Extra bytes: a judge's message may repeat a job's values in a slightly longer spelling."""
_FOREVER_S = 3600.0
"""One wait of a job for the judge; it waits again until the judge ends it."""


class Mailbox:
    """The memory, as one side sees it."""

    def __init__(self, descriptor: int) -> None:
        """Maps the memory; the descriptor may be closed then. Raises OSError."""
        self.size = os.fstat(descriptor).st_size
        self._address = kernel.map_shared(descriptor, self.size)

    def close(self) -> None:
        """Unmaps it. Safe to call twice."""
        if self._address:
            kernel.unmap(self._address, self.size)
            self._address = 0

    @property
    def most(self) -> int:
        """Bytes that a job's message may have."""
        return self._word(_MOST).value

    @property
    def number(self) -> int:
        """The number of the last message."""
        return self._word(_NUMBER).value

    def read(self) -> bytes | None:
        """The last message; None if it is longer than allowed."""
        length = self._word(_LENGTH).value
        return ctypes.string_at(self._address + _HEADER, length) if length <= self.size - _HEADER else None

    def write(self, number: int, message: bytes, most: int | None = None) -> bool:
        """Replaces the last message and wakes the other side; returns whether the message fits.

        Args:
            most: bytes that it may have; None: as many as there is room for.
        """
        room = self.size - _HEADER
        fits = len(message) <= (room if most is None else min(room, most))
        if fits:
            ctypes.memmove(self._address + _HEADER, message, len(message))
        self._word(_LENGTH).value = len(message) if fits else TOO_LARGE
        # Written after the message: each ctypes call passes Python's lock, which keeps the order of writes.
        self._word(_NUMBER).value = number
        kernel.futex_wake(self._address + _NUMBER)
        return fits

    def wait(self, number: int, seconds: float = _FOREVER_S) -> None:
        """Waits until the last message's number differs from `number`, or the time is over; may return early."""
        kernel.futex_wait(self._address + _NUMBER, number, seconds)

    def _word(self, offset: int) -> ctypes.c_uint32:
        return ctypes.c_uint32.from_address(self._address + offset)


def open_mailbox(request: bytes, most: int) -> int:
    """A descriptor of new memory that holds the request as message 1. Raises OSError.

    Args:
        most: bytes that a message of the job may have.
    """
    descriptor = os.memfd_create("mailbox", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, _HEADER + max(len(request), most + _SLACK))
        # Nobody who has a descriptor can shrink the memory while the other side reads it.
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        head = b"".join(word.to_bytes(4, "little") for word in (1, len(request), most)).ljust(_HEADER, b"\0")
        os.pwrite(descriptor, head, 0)
        left, at = memoryview(request), _HEADER
        while left:
            written = os.pwrite(descriptor, left, at)
            left, at = left[written:], at + written
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class JobChannel:
    """The job's side, as the harness uses it."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._number = 0

    def send(self, frame: bytes) -> None:
        """Sends one frame; one that is too large ends the job, and the judge sees why."""
        self._mailbox.write(self._number + 1, frame, self._mailbox.most)

    def receive(self) -> bytes | None:
        """The judge's next frame: waits for it, if need be until the judge ends this process."""
        while (number := self._mailbox.number) <= self._number or number % 2 == 0:
            self._mailbox.wait(number)
        self._number = number
        return self._mailbox.read()
