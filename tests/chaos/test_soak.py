"""The soak tells growth from noise, and runs."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.soak import fit

SOAK = Path(__file__).parents[1] / "bench" / "soak.py"


def readings(growth_a_step, seed, noise=5.0, steps=200):
    """Two readings a step of 2000 +- noise; every twentieth lacks a process of 600, as after a kill."""
    choice = random.Random(seed)
    for i in range(2 * steps):
        missing = 600.0 if i % 20 < 2 else 0.0
        yield i / 2, 2000 + growth_a_step * i / 2 + choice.gauss(0, noise) - missing


def test_growth_of_two_percent_is_seen_and_its_size_told():
    for seed in range(20):
        line = fit(list(readings(0.2, seed)))
        assert line.grows
        assert line.slope == pytest.approx(0.2, abs=0.03)
        assert line.growth == pytest.approx(40, abs=6)


def test_what_does_not_grow_is_not_said_to():
    assert not any(fit(list(readings(0.0, seed, noise=20.0))).grows for seed in range(20))
    assert not fit([(float(step), 7.0) for step in range(200)]).grows


@pytest.mark.slow
def test_a_short_soak_ends_with_every_step_and_its_line():
    words = ["--steps", "30", "--every", "10", "--tail", "20"]
    done = subprocess.run([sys.executable, str(SOAK), *words], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    line = json.loads(done.stdout.strip().splitlines()[-1])
    assert line["benchmark"] == "soak"
    assert line["steps"] == 30
    assert sum(line["killed"].values()) > 0
    assert line["ours"] > 0
    assert "no growth" in done.stdout or "grows" in done.stdout
