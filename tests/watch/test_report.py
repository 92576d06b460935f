"""A run's lines: they say what goes on; where nobody reads them the run goes on."""

import contextlib
import io
import itertools
import math
import os
import re
import subprocess
import sys
import threading

import pytest
from rich.console import Console

from rlkit.watch import activity
from rlkit.watch.activity import Activities
from rlkit.watch.report import Report

PROGRAM = """
import sys
from rlkit.watch.report import Report
report = Report()
sys.stdin.readline()  # until nobody reads
for number in range(3):
    report.line(f"line {number} " + "x" * 100_000)
with report.waiting("something"):
    print("went on", file=sys.stderr)
"""


def run(stdout, **keys):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=stdout, stderr=subprocess.PIPE, text=True, **keys
    )


def test_a_reader_that_goes_away_does_not_end_the_run():
    program = run(subprocess.PIPE)
    assert program.stdout is not None
    program.stdout.close()
    _, err = program.communicate("\n", timeout=60)
    assert (program.returncode, err) == (0, "went on\n")


def test_a_log_without_room_does_not_end_the_run():
    with open(os.open("/dev/full", os.O_WRONLY), "w") as full:
        for setting in ({}, {"PYTHONUNBUFFERED": "1"}):
            environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
            program = run(full, env=environ | setting)
            _, err = program.communicate("\n", timeout=60)
            assert (program.returncode, err) == (0, "went on\n")


def test_a_part_that_applies_to_no_sample_of_a_step_has_a_dash():
    out = io.StringIO()
    metrics = {"reward/total": 0.5, "accuracy": 0.5, "reward/a": 0.25, "reward/b": math.nan, "samples/tokens": 10.0}
    metrics |= {f"time/{name}": 1.0 for name in ("sample", "score", "update", "sync", "canary", "step")}
    Report(Console(file=out, width=200)).step("grpo", 1, 2, metrics, ["a", "b"])
    assert "acc 0.50 | a 0.25 b - |" in out.getvalue()


class WaitableOutput(io.StringIO):
    """An output that can be waited for."""

    def __init__(self):
        super().__init__()
        self._written = threading.Condition()

    def write(self, text):
        with self._written:
            self._written.notify_all()
            return super().write(text)

    def wait_for(self, pattern):
        """Until something like this has been printed."""
        with self._written:
            assert self._written.wait_for(lambda: re.search(pattern, self.getvalue()), timeout=20), self.getvalue()


def test_a_phase_prints_its_start_its_progress_and_its_duration(monkeypatch):
    monkeypatch.setattr(activity, "SILENCE_S", 0.01)
    out = WaitableOutput()
    report = Report(Console(file=out))
    with report.waiting("starting Ray"):
        assert out.getvalue() == "starting Ray ...\n"
        out.wait_for(r"starting Ray, \d+ s so far\n")
    assert re.search(r"starting Ray took \d+\.\d s\n$", out.getvalue())


def test_a_phase_that_fails_or_is_stopped_prints_no_duration():
    out = io.StringIO()
    report = Report(Console(file=out))
    with contextlib.suppress(KeyboardInterrupt), report.waiting("starting Ray"):
        raise KeyboardInterrupt
    assert out.getvalue() == "starting Ray ...\n"


def test_lines_delay_automatic_ones_and_a_long_activity_prints_fewer(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(activity.time, "monotonic", lambda: clock[0])
    printed = []
    shown = Activities(Console(file=io.StringIO()), printed.append)

    class Ticks:
        """Stands in for the event that ends the thread: an hour passes, a second at each poll."""

        def wait(self, seconds):
            clock[0] += 1.0
            if clock[0] < 60:
                shown.line_printed()  # lines of the steps
            return clock[0] > 3600

    shown._current.append(activity.Activity("the stage", began=0.0))
    shown._print_line = lambda text: (printed.append(int(clock[0])), shown.line_printed())
    shown._print_until(Ticks())
    assert printed[0] == 79
    pauses = [b - a for a, b in itertools.pairwise(printed)]
    assert pauses[0] == 20
    assert pauses == sorted(pauses)
    assert 100 < pauses[-1] < 200


def test_on_a_terminal_one_live_line_shows_what_goes_on_how_far_it_is_and_the_time():
    out = WaitableOutput()
    report = Report(Console(file=out, force_terminal=True, width=60, highlight=False))
    with report.during("stage-1-grpo: step 1 of 9"):
        with report.waiting("evaluating on 8 held-out tasks"):
            for _ in report.counted(range(3), 8, "groups"):
                pass
            out.wait_for(r"[|/\\-] \d+ s  evaluating on 8 held-out tasks: 3 of 8 groups")
        out.wait_for(r"evaluating on 8 held-out tasks took")
        report.update_activity("stage-1-grpo: step 2 of 9 " + "x" * 99)
        out.wait_for(r" \d+ s  stage-1-grpo: step 2 of 9 x+…")
        report.line("a line of its own")
    shown = out.getvalue()
    assert "a line of its own" in shown
    assert "\x1b[?25h" in shown, "the cursor is back"


@pytest.mark.parametrize("how", [{}, {"force_terminal": True, "_environ": {"TERM": "dumb"}}])
def test_without_a_live_terminal_there_are_plain_lines_only(how):
    out = io.StringIO()
    report = Report(Console(file=out, **how))
    with report.waiting("starting Ray"), report.during("nothing"):
        report.update_activity("something")
    assert re.fullmatch(r"starting Ray \.\.\.\nstarting Ray took \d+\.\d s\n", out.getvalue())
