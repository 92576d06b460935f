"""What a person sees of a run: what it is doing, a line a step, and the table at the end."""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

from rlkit.watch.activity import Activities, Activity
from rlkit.watch.evaluated import Evaluated, Share

ORDINARY = ("checkpoint", "sandbox")
"""Events of every run."""


Item = TypeVar("Item")


class Quieting(Console):
    """Falls silent where its reader has gone (`| head`) or its disk is full: a run is worth more than its lines."""

    def print(self, *objects: Any, **options: Any) -> None:
        """See rich's Console."""
        try:
            super().print(*objects, **options)
        except OSError:
            self.fall_silent()

    def on_broken_pipe(self) -> None:
        """See rich's Console."""
        self.fall_silent()

    def fall_silent(self) -> None:
        """Prints no more; what is left in the output's buffers goes nowhere, or it would raise once more at the end."""
        self.quiet = True
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Lines(logging.Handler):
    """Log records as lines of a report."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        self._report.line(record.getMessage())


class Report:
    """On a terminal a live line under the others says what goes on; elsewhere there are plain lines only."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Quieting(soft_wrap=True, highlight=False, file=sys.stdout)
        self._began: dict[str, tuple[float, int]] = {}
        self._activities = Activities(self.console, self.line)

    def hear(self) -> None:
        """Prints what `rlkit.cluster.calls` says of long waits."""
        waits = logging.getLogger("rlkit.waiting")
        waits.handlers, waits.propagate = [_Lines(self)], False
        waits.setLevel(logging.INFO)

    def line(self, text: str) -> None:
        """One line, never folded."""
        self.console.print(text, markup=False)
        self._activities.spoke()

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Names a phase of a run, shows that it goes on, and says at its end how long it took."""
        if not self.console.is_interactive:
            self.line(f"{what} ...")
        with self._activities.shown(what) as activity:
            yield
        self.line(f"{what} took {activity.seconds:.1f} s")

    def clear_live_line(self) -> None:
        """Before the process ends without leaving `waiting`: no half of a line stays, and the cursor is shown."""
        if self.console.is_interactive:
            print("\r\x1b[2K\x1b[?25h", end="", file=self.console.file, flush=True)

    def during(self, what: str) -> AbstractContextManager[Activity]:
        """Shows what goes on inside the block, as `waiting` does but without a line at its start and end."""
        return self._activities.shown(what)

    def at(self, what: str) -> None:
        """What `during` shows is now this."""
        self._activities.at(what)

    def counted(self, items: Iterable[Item], total: int, unit: str) -> Iterator[Item]:
        """The items as they come, their number shown with what goes on."""
        for done, item in enumerate(items, start=1):
            self._activities.count(done, total, unit)
            yield item

    def step(self, stage: str, step: int, steps: int, metrics: Mapping[str, float], parts: Sequence[str]) -> None:
        """The line of an RL step."""
        scores = " ".join(f"{name} {_mean(metrics[f'reward/{name}'])}" for name in parts)
        times = " ".join(f"{p} {metrics[f'time/{p}']:.1f}" for p in ("sample", "score", "update", "sync", "canary"))
        rate = metrics["samples/tokens"] / metrics["time/step"] if metrics["time/step"] else math.nan
        self.line(
            f"{stage} {step:>{len(str(steps))}}/{steps}  reward {metrics['reward/total']:.3f}  "
            f"acc {_mean(metrics['accuracy'])} | {scores} | {rate:,.0f} tokens/s | {times} s"
            f"{self._eta(stage, step, steps)}"
        )

    def sft_step(self, stage: str, metrics: Mapping[str, float]) -> None:
        """The line of an SFT step; about twenty in a stage."""
        step, steps = int(metrics["step"]), int(metrics["steps"])
        self.at(f"{stage}: step {min(step + 1, steps)} of {steps}")
        eta = self._eta(stage, step, steps)  # from the first step on, also where it has no line
        if step == steps or step % max(1, steps // 20) == 0:
            self.line(f"{stage} {step:>{len(str(steps))}}/{steps}  loss {metrics['learner/loss']:.3f}{eta}")

    def evaluated(self, what: str, result: Evaluated) -> None:
        """The line of an evaluation."""
        greedy = f", greedy {_share(result.greedy)}" if result.greedy is not None else ""
        self.line(f"held-out {what}: sampled {_share(result.sampled)}{greedy}, n = {result.sampled.n}")

    def table(self, before: Evaluated, after: Evaluated, before_name: str) -> None:
        """Before and after: accuracy with its interval, then the mean of each reward part."""
        table = Table(title="Held-out tasks (95% intervals)")
        for heading in ("", before_name, "after", "change"):
            table.add_column(heading, justify="left" if not heading else "right")
        table.add_row("accuracy, sampled", *_pair(before.sampled, after.sampled))
        if before.greedy is not None and after.greedy is not None:
            table.add_row("accuracy, greedy", *_pair(before.greedy, after.greedy))
        table.add_row("reward", *_plain(before.reward, after.reward))
        for name, value in after.parts.items():
            table.add_row(f"  {name}", *_plain(before.parts.get(name, math.nan), value))
        self.console.print(table)

    def done(self, run_dir: Path, seconds: float, events: Mapping[str, int]) -> None:
        """The last line, and before it what happened on the way that is no part of every run."""
        happened = [f"{kind} {count}" for kind, count in events.items() if kind not in ORDINARY]
        if happened:
            self.line(f"on the way: {', '.join(happened)}; {run_dir / 'events.jsonl'} says when and why")
        self.line(f"done in {seconds:.0f} s: the model is in {run_dir / 'model'}")

    def _eta(self, stage: str, step: int, steps: int) -> str:
        now = time.monotonic()
        began, first = self._began.setdefault(stage, (now, step))
        if step in (first, steps):
            return ""
        left = (now - began) / (step - first) * (steps - step)
        return f" | {int(left) // 60}:{int(left) % 60:02d} to go"


def _mean(value: float) -> str:
    """A mean, or a dash where there was nothing to take it of: a part that applies to no sample of the step."""
    return "-" if math.isnan(value) else f"{value:.2f}"


def _share(share: Share) -> str:
    return f"{100 * share.value:.1f}% [{100 * share.low:.1f}, {100 * share.high:.1f}]"


def _pair(before: Share, after: Share) -> tuple[str, str, str]:
    return _share(before), _share(after), f"{100 * (after.value - before.value):+.1f} points"


def _plain(before: float, after: float) -> tuple[str, str, str]:
    return f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}"
