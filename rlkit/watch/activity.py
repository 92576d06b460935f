"""Shows the current activity of a run: as a live line on a terminal, otherwise as an occasional line."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.text import Text

SILENCE_S = 20.0
"""Without a terminal: minimum seconds without any line before the current activity is printed."""
GROWTH = 0.05
"""Without a terminal: minimum interval between such lines as a share of the activity's duration so far."""

FRAMES = "|/-\\"
"""Characters of the live line's spinner."""


@dataclass
class Activity:
    """A phase of a run that may take long."""

    what: str
    """Such as "starting Ray"."""
    began: float = field(default_factory=time.monotonic)
    """Start time on the monotonic clock."""
    count: str = ""
    """Progress as text: ": 3 of 8 groups"."""

    @property
    def seconds(self) -> float:
        """Duration so far, in seconds."""
        return time.monotonic() - self.began

    def __str__(self) -> str:
        return f"{self.what}{self.count}, {self.seconds:.0f} s so far"


class Activities:
    """The current activities, which may be nested; shows the innermost one.

    Args:
        console: The console of the live line.
        print_line: Prints a line on it.
    """

    def __init__(self, console: Console, print_line: Callable[[str], None]) -> None:
        self._console = console
        self._print_line = print_line
        self._current: list[Activity] = []
        self._last_line = time.monotonic()

    def line_printed(self) -> None:
        """Restarts the interval until the next automatic line. Call it after every printed line."""
        self._last_line = time.monotonic()

    def update(self, what: str) -> None:
        """Replaces the text of the innermost activity and restarts its clock."""
        if self._current:
            activity = self._current[-1]
            activity.what, activity.began, activity.count = what, time.monotonic(), ""

    def count(self, done: int, total: int, unit: str) -> None:
        """Sets the progress of the innermost activity."""
        if self._current:
            self._current[-1].count = f": {done} of {total} {unit}"

    @contextmanager
    def shown(self, what: str) -> Iterator[Activity]:
        """Shows an activity during the block."""
        outermost, activity = not self._current, Activity(what)
        self._current.append(activity)
        try:
            with self._display() if outermost else nullcontext():
                yield activity
        finally:
            self._current.remove(activity)

    def _display(self) -> AbstractContextManager[object]:
        if not self._console.is_interactive:
            return self._lines()
        return Live(get_renderable=self._live, console=self._console, transient=True)

    def _live(self) -> Text:
        """The live line. It begins with the time, because a narrow terminal cuts the end."""
        text = Text(no_wrap=True, overflow="ellipsis")
        for activity in self._current[-1:]:
            frame = FRAMES[int(4 * activity.seconds) % len(FRAMES)]
            text.append(f"{frame} {activity.seconds:.0f} s  {activity.what}{activity.count}")
        return text

    @contextmanager
    def _lines(self) -> Iterator[None]:
        done = threading.Event()
        self.line_printed()
        threading.Thread(target=self._print_until, args=(done,), daemon=True).start()
        try:
            yield
        finally:
            done.set()

    def _print_until(self, done: threading.Event) -> None:
        """Prints the innermost activity whenever no line was printed for a while."""
        while not done.wait(SILENCE_S / 20):
            for activity in self._current[-1:]:
                silent = time.monotonic() - self._last_line
                if silent >= max(SILENCE_S, GROWTH * activity.seconds):
                    self._print_line(str(activity))
