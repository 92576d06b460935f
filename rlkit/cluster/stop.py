"""Ctrl-C and SIGTERM: stop at the next point where everything kept is whole."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """Turns SIGINT and SIGTERM into one KeyboardInterrupt, put off while a step is being finished.

    A second signal is not put off.
    """

    def __init__(self, on_wait: Callable[[], None]) -> None:
        self.tell = on_wait
        """Says that a stop was asked for and what it waits for."""
        self._deferring = False
        self.asked = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handles the signals inside the block (main thread only), and as before after it.

        Where one came, none is heard after the block: the command only has to say so and to give its exit code.
        """
        before = {number: signal.getsignal(number) for number in SIGNALS}
        self.take()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_IGN if self.asked else handler)

    def take(self) -> None:
        """Takes the signals (again: `ray.init` puts a handler of its own on SIGTERM)."""
        for number in SIGNALS:
            signal.signal(number, self._handle)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Puts the first signal off to the end of the block."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
        if self.asked:
            raise KeyboardInterrupt

    @contextmanager
    def ignored(self) -> Iterator[None]:
        """Hears no signal inside the block.

        What ends Ray takes half a second; half done it would cost the exit code. Ray itself puts SIGTERM back to its
        default on the way: for that moment it ends the command, which has saved by then.
        """
        self._ignore()
        try:
            yield
        finally:
            self.take()

    def _ignore(self) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        first, self.asked = not self.asked, True
        if first and self._deferring:
            self.tell()
            return
        raise KeyboardInterrupt
