"""Handles Ctrl-C and SIGTERM: stops the run after the current step."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """Turns SIGINT and SIGTERM into a KeyboardInterrupt; inside `deferred`, only at the end of the block.

    A second signal is never deferred.
    """

    def __init__(self, on_wait: Callable[[], None]) -> None:
        self.report_wait = on_wait
        """Informs the user that the run will stop, and what it waits for."""
        self._deferring = False
        self.requested = False
        """Whether a signal was received."""

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handles the signals inside the block (main thread only), and restores the old handlers after it.

        If a signal was received, further ones are ignored after the block: only a message and the exit code are left.
        """
        before = {number: signal.getsignal(number) for number in SIGNALS}
        self.install_handlers()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_IGN if self.requested else handler)

    def install_handlers(self) -> None:
        """Installs the signal handlers; called again after `ray.init`, which sets its own for SIGTERM."""
        for number in SIGNALS:
            signal.signal(number, self._handle)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Defers the first signal to the end of the block."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
        if self.requested:
            raise KeyboardInterrupt

    @contextmanager
    def ignored(self) -> Iterator[None]:
        """Ignores the signals inside the block.

        Used while Ray is stopped, which takes half a second; an interrupt there would change the exit code. Ray itself
        resets SIGTERM to its default meanwhile; a SIGTERM then ends the command, which has saved everything by then.
        """
        self._ignore()
        try:
            yield
        finally:
            self.install_handlers()

    def _ignore(self) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        first, self.requested = not self.requested, True
        if first and self._deferring:
            self.report_wait()
            return
        raise KeyboardInterrupt
