"""One run that is killed again and again and continued by the same command."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.notify import Notify
from tests.chaos.phases import AIMS, WORK, half_written, phase_of, rl_step
from tests.chaos.tree import Titles, Tree, titles_of

LOOK_S = 0.002
"""Longest time between two looks at a run."""


@dataclass(frozen=True)
class Kill:
    """What was seen when a run was killed."""

    aim: str
    """The phase that the kill was meant for."""
    phase: str
    """The phase that it hit."""
    step: int
    """RL steps in metrics.jsonl at that moment."""
    alive_s: float
    """From the command to the kill."""
    resumed_s: float | None
    """From the command to the first work of an actor; None: killed before."""
    num_processes: int
    """That were killed."""


@dataclass
class Victim:
    """A run and the command that starts and continues it."""

    words: Sequence[str]
    run_dir: Path
    rng: random.Random
    lengths: dict[str, float] = field(default_factory=dict)
    """Measured length of a phase, in seconds."""
    starts: int = 0
    resumed_s: float | None = None
    """Of the start that is going on or was last."""
    left: dict[Path, int] = field(default_factory=dict)
    """What was half written when it began."""
    dying: list[tuple[Tree, list[int]]] = field(default_factory=list)
    """Starts whose command alone was killed, with what it left to end by itself."""

    def kill_in(
        self, aim: str, *, after_steps: int = 0, only_driver: bool = False, timeout_s: float = 300
    ) -> Kill | int:
        """Starts the command and kills it in a phase, once so many more RL steps are done.

        Returns:
            What was killed; or the exit code where the command ended before.
        """
        tree = self._start()
        notify = Notify(self.run_dir)
        try:
            began = self._await_phase(tree, notify, aim, after_steps, timeout_s)
            if not began:
                return self._end(tree)
            if self.rng.random() < 0.75:  # else at once: what is over in microseconds has to be hit too
                _spin_until(time.monotonic() + self.rng.uniform(0, self.lengths.get(aim, AIMS[aim].spread_s)))
            return self._kill_driver(tree, aim) if only_driver else self._kill(tree, aim)
        finally:
            notify.close()
            if tree.ended() is None:
                tree.kill(tree.freeze())

    def finish(self, *, measure: bool = False, timeout_s: float = 300) -> int:
        """Starts the command and lets it end; the exit code.

        Args:
            measure: Also measure how long the phases last that actors' titles tell.
            timeout_s: Longest wait.
        """
        tree = self._start()
        try:
            if measure:
                self.lengths |= self._measure(tree, time.monotonic() + timeout_s)
            else:
                tree.root.wait(timeout=timeout_s)
            return self._end(tree)
        finally:
            if tree.ended() is None:
                tree.kill(tree.freeze())

    def _measure(self, tree: Tree, deadline: float) -> dict[str, float]:
        titles, spans = Titles(tree), _Spans()
        while tree.ended() is None:
            assert time.monotonic() < deadline, tree.log.read_text()
            at = titles.now()
            spans.add([name for name, aim in AIMS.items() if aim.titles and aim.begins(self.run_dir, (), at)])
            time.sleep(LOOK_S)
        return spans.medians()

    def output(self) -> str:
        """What the last start printed."""
        return self._log.read_text()

    @property
    def _log(self) -> Path:
        return self.run_dir.with_name(f"{self.run_dir.name}-start-{self.starts}.log")

    def _start(self) -> Tree:
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.starts, self.resumed_s, self.left = self.starts + 1, None, half_written(self.run_dir)
        return Tree(self.words, self._log)

    def _note_work(self, tree: Tree, titles: set[str]) -> None:
        if self.resumed_s is None and titles & WORK:
            self.resumed_s = time.monotonic() - tree.began

    def _await_phase(self, tree: Tree, notify: Notify, name: str, after_steps: int, timeout_s: float) -> bool:
        """Waits for the phase; False: the command ended before."""
        if name == "start":
            return True
        aim, titles, deadline = AIMS[name], Titles(tree), time.monotonic() + timeout_s
        first = rl_step(self.run_dir) + after_steps
        due = after_steps == 0
        look_s = LOOK_S if aim.titles else 10 * LOOK_S  # the kernel tells of files at once
        while tree.ended() is None:
            assert time.monotonic() < deadline, tree.log.read_text()
            happened = [str(change) for change in notify.wait(look_s)]
            due = due or ("written metrics.jsonl" in happened and rl_step(self.run_dir) >= first)
            if aim.files and due and aim.begins(self.run_dir, happened, ()):
                return True
            at = titles.now()
            self._note_work(tree, at)
            if aim.titles and due and aim.begins(self.run_dir, (), at):
                return True
        return False

    def _kill(self, tree: Tree, aim: str) -> Kill | int:
        pids = tree.freeze()
        if tree.ended() is not None:
            return self._end(tree)
        kill = self._seen(tree, aim, pids)
        tree.kill(pids)
        self._await_dying()
        return kill

    def _kill_driver(self, tree: Tree, aim: str) -> Kill | int:
        """The command alone; whoever comes next finds its actors still dying."""
        tree.freeze_root()
        pids = tree.pids()
        if not pids:
            return self._end(tree)
        kill = self._seen(tree, aim, pids)
        tree.kill_root()
        self._await_dying()
        self.dying.append((tree, pids))
        return kill

    def _seen(self, tree: Tree, aim: str, pids: list[int]) -> Kill:
        has_worked = self.resumed_s is not None
        phase = phase_of(self.run_dir, titles_of(pids), has_worked=has_worked, left=self.left)
        alive_s = time.monotonic() - tree.began
        return Kill(aim, phase, rl_step(self.run_dir), alive_s, self.resumed_s, len(pids))

    def _await_dying(self) -> None:
        """What an earlier kill of the command alone left must have ended by itself."""
        while self.dying:
            tree, pids = self.dying.pop()
            tree.await_end(pids)

    def _end(self, tree: Tree) -> int:
        """After an end of its own nothing may be left either."""
        code = tree.root.wait()
        tree.await_end([])
        self._await_dying()
        return code


class _Spans:
    """How long each of several phases lasted at a time."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._spells: dict[str, list[float]] = {}

    def add(self, on: Collection[str]) -> None:
        """Notes which phases are on now."""
        now = time.monotonic()
        for name in [name for name in self._since if name not in on]:
            self._spells.setdefault(name, []).append(now - self._since.pop(name))
        self._since = {name: self._since.get(name, now) for name in on}

    def medians(self) -> dict[str, float]:
        """The median spell of each that has ended, in seconds; the first one of a kind is often far longer."""
        return {name: statistics.median(spells) for name, spells in self._spells.items()}


def _spin_until(moment: float) -> None:
    """Waits by looking at the clock where little is left: a sleep is late by more than a short phase lasts."""
    if (left := moment - time.monotonic()) > 0.005:
        time.sleep(left - 0.003)
    while time.monotonic() < moment:
        pass
