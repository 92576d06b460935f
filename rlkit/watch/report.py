"""Console output of a run: the current activity, one line per step, and the table at the end."""

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
"""Kinds of events that every run has; the last line does not list them."""


Item = TypeVar("Item")


class FailSafeConsole(Console):
    """A console that stops printing after an error, such as a closed pipe (`| head`) or a full disk.

    The run then continues without console output.
    """

    def print(self, *objects: Any, **options: Any) -> None:
        """See rich's Console."""
        try:
            super().print(*objects, **options)
        except OSError:
            self.stop_printing()

    def on_broken_pipe(self) -> None:
        """See rich's Console."""
        self.stop_printing()

    def stop_printing(self) -> None:
        """Discards all further output.

        Redirects stdout to /dev/null, because Python would raise again when it flushes its buffers at exit.
        """
        self.quiet = True
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _ReportHandler(logging.Handler):
    """Prints log records as lines of a report."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        self._report.line(record.getMessage())


class Report:
    """Prints the progress of a run. On a terminal, a live line below shows the current activity."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or FailSafeConsole(soft_wrap=True, highlight=False, file=sys.stdout)
        self._began: dict[str, tuple[float, int]] = {}
        self._activities = Activities(self.console, self.line)

    def forward_cluster_logs(self) -> None:
        """Prints what `rlkit.cluster` logs about long waits."""
        waits = logging.getLogger("rlkit.waiting")
        waits.handlers, waits.propagate = [_ReportHandler(self)], False
        waits.setLevel(logging.INFO)

    def line(self, text: str) -> None:
        """Prints one line without wrapping it."""
        self.console.print(text, markup=False)
        self._activities.line_printed()

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Shows an activity during the block and prints its duration at the end."""
        if not self.console.is_interactive:
            self.line(f"{what} ...")
        with self._activities.shown(what) as activity:
            yield
        self.line(f"{what} took {activity.seconds:.1f} s")

    def clear_live_line(self) -> None:
        """Removes the live line and shows the cursor. For an exit that skips the end of `waiting`."""
        if self.console.is_interactive:
            print("\r\x1b[2K\x1b[?25h", end="", file=self.console.file, flush=True)

    def during(self, what: str) -> AbstractContextManager[Activity]:
        """Shows an activity during the block, without a line at its start and end."""
        return self._activities.shown(what)

    def update_activity(self, what: str) -> None:
        """Replaces the text of the current activity."""
        self._activities.update(what)

    def counted(self, items: Iterable[Item], total: int, unit: str) -> Iterator[Item]:
        """Yields the items and shows their count with the current activity."""
        for done, item in enumerate(items, start=1):
            self._activities.count(done, total, unit)
            yield item

    def step(self, stage: str, step: int, steps: int, metrics: Mapping[str, float], parts: Sequence[str]) -> None:
        """Prints the line of an RL step."""
        scores = " ".join(f"{name} {_mean(metrics[f'reward/{name}'])}" for name in parts)
        times = " ".join(f"{p} {metrics[f'time/{p}']:.1f}" for p in ("sample", "score", "update", "sync", "canary"))
        rate = metrics["samples/tokens"] / metrics["time/step"] if metrics["time/step"] else math.nan
        self.line(
            f"{stage} {step:>{len(str(steps))}}/{steps}  reward {metrics['reward/total']:.3f}  "
            f"acc {_mean(metrics['accuracy'])} | {scores} | {rate:,.0f} tokens/s | {times} s"
            f"{self._eta(stage, step, steps)}"
        )

    def sft_step(self, stage: str, metrics: Mapping[str, float]) -> None:
        """Prints the line of an SFT step, for about twenty steps per stage."""
        step, steps = int(metrics["step"]), int(metrics["steps"])
        self.update_activity(f"{stage}: step {min(step + 1, steps)} of {steps}")
        eta = self._eta(stage, step, steps)  # at every step, because the first call starts its clock
        if step == steps or step % max(1, steps // 20) == 0:
            self.line(f"{stage} {step:>{len(str(steps))}}/{steps}  loss {metrics['learner/loss']:.3f}{eta}")

    def evaluated(self, what: str, result: Evaluated) -> None:
        """Prints the line of an evaluation."""
        greedy = f", greedy {_share(result.greedy)}" if result.greedy is not None else ""
        self.line(f"held-out {what}: sampled {_share(result.sampled)}{greedy}, n = {result.sampled.n}")

    def table(self, before: Evaluated, after: Evaluated, before_name: str) -> None:
        """Prints the table of before and after: accuracies with intervals, and the mean of each reward part."""
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
        """Prints the last line, and before it the number of unusual events."""
        unusual = [f"{kind} {count}" for kind, count in events.items() if kind not in ORDINARY]
        if unusual:
            self.line(f"events: {', '.join(unusual)}; see {run_dir / 'events.jsonl'} for details")
        self.line(f"done in {seconds:.0f} s: the model is in {run_dir / 'model'}")

    def _eta(self, stage: str, step: int, steps: int) -> str:
        now = time.monotonic()
        began, first = self._began.setdefault(stage, (now, step))
        if step in (first, steps):
            return ""
        left = (now - began) / (step - first) * (steps - step)
        return f" | {int(left) // 60}:{int(left) % 60:02d} to go"


def _mean(value: float) -> str:
    """A mean, or a dash if it is NaN: the part applies to no sample of the step."""
    return "-" if math.isnan(value) else f"{value:.2f}"


def _share(share: Share) -> str:
    return f"{100 * share.value:.1f}% [{100 * share.low:.1f}, {100 * share.high:.1f}]"


def _pair(before: Share, after: Share) -> tuple[str, str, str]:
    return _share(before), _share(after), f"{100 * (after.value - before.value):+.1f} points"


def _plain(before: float, after: float) -> tuple[str, str, str]:
    return f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}"
