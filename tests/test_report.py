"""A run's lines: where nobody reads them the run goes on."""

import io
import math
import os
import subprocess
import sys

from rich.console import Console

from rlkit.report import Report

PROGRAM = """
import sys
from rlkit.report import Report
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
    metrics |= {f"time/{name}": 1.0 for name in ("sample", "score", "update", "sync", "step")}
    Report(Console(file=out, width=200)).step("grpo", 1, 2, metrics, ["a", "b"])
    assert "acc 0.50 | a 0.25 b - |" in out.getvalue()
