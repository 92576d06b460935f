"""What a run is doing right now, shown while it goes on: a live line on a terminal, elsewhere a line now and then."""

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
"""Where there is no terminal: seconds without any line after which one says what goes on."""
GROWTH = 0.05
"""Share of the time that an activity has taken, which is the longest silence of a long one: hours need fewer lines."""

FRAMES = "|/-\\"
"""Of the live line, by turns."""


@dataclass
class Activity:
    """Something that takes a while."""

    what: str
    """Such as "starting Ray"."""
    began: float = field(default_factory=time.monotonic)
    """On the monotonic clock."""
    count: str = ""
    """How much of it is done, in words."""

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self.began

    def __str__(self) -> str:
        return f"{self.what}{self.count}, {self.seconds:.0f} s so far"


class Activities:
    """The activities that are going on; the one that began last is shown.

    Args:
        console: Where.
        say: Prints a line there.
    """

    def __init__(self, console: Console, say: Callable[[str], None]) -> None:
        self._console = console
        self._say = say
        self._going_on: list[Activity] = []
        self._spoke_at = time.monotonic()

    def spoke(self) -> None:
        """A line was printed: the silence begins anew."""
        self._spoke_at = time.monotonic()

    def at(self, what: str) -> None:
        """The activity that is shown is now this, which begins now."""
        if self._going_on:
            now = self._going_on[-1]
            now.what, now.began, now.count = what, time.monotonic(), ""

    def count(self, done: int, total: int, unit: str) -> None:
        """So much of the activity that is shown is done."""
        if self._going_on:
            self._going_on[-1].count = f": {done} of {total} {unit}"

    @contextmanager
    def shown(self, what: str) -> Iterator[Activity]:
        """Shows an activity inside the block."""
        outermost, activity = not self._going_on, Activity(what)
        self._going_on.append(activity)
        try:
            with self._display() if outermost else nullcontext():
                yield activity
        finally:
            self._going_on.remove(activity)

    def _display(self) -> AbstractContextManager[object]:
        if not self._console.is_interactive:
            return self._lines()
        return Live(get_renderable=self._live, console=self._console, transient=True)

    def _live(self) -> Text:
        """The time first: on a narrow terminal the rest is cut."""
        text = Text(no_wrap=True, overflow="ellipsis")
        for activity in self._going_on[-1:]:
            turn = FRAMES[int(4 * activity.seconds) % len(FRAMES)]
            text.append(f"{turn} {activity.seconds:.0f} s  {activity.what}{activity.count}")
        return text

    @contextmanager
    def _lines(self) -> Iterator[None]:
        over = threading.Event()
        self.spoke()
        threading.Thread(target=self._break_silence, args=(over,), daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def _break_silence(self, over: threading.Event) -> None:
        while not over.wait(SILENCE_S / 20):
            for activity in self._going_on[-1:]:
                silent = time.monotonic() - self._spoke_at
                if silent >= max(SILENCE_S, GROWTH * activity.seconds):
                    self._say(str(activity))
