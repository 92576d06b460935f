"""Real runs with a reward part that does its worst on some replies: the run goes on, or stops as the recipe says."""

import json
import re
from collections import Counter

import pytest

from tests.cluster.conftest import metrics, numbers, run_rlkit

pytestmark = pytest.mark.slow

PLUGIN = '''
import os, signal, time
from rlkit import Score

class Hostile:
    """Does its worst on the third sample of each group, or on every sample."""

    def __init__(self, act: str, always: bool = False):
        self._act, self._always = act, always

    def score(self, group):
        few = [s for s in group.samples if not (self._act == "few" and self._hit(s))]
        return [self._one(s) for s in few]

    def _hit(self, sample):
        return self._always or sample.id.endswith("#2")

    def _one(self, sample):
        return getattr(self, "_" + self._act)() if self._hit(sample) else Score(0.5)

    def _raise(self): raise KeyError("a mistake")
    def _hang(self): time.sleep(10_000)
    def _eat(self): return Score(float(len([bytearray(2**24) for _ in range(640)])))
    def _die(self): os.kill(os.getpid(), signal.SIGKILL)
    def _nan(self): return Score(float("nan"))
    def _text(self): return Score("1")

    def _flood(self):
        while True:
            print("x" * 10_000)
'''
SHORT = ["stages.0.steps=1", "stages.1.steps=2", "stages.1.prompts_per_step=2", "evaluation.holdout=0"]
SHORT += ["reward.runtime.timeout_s=4", "reward.runtime.memory_mb=512"]
PLUGIN_TRACEBACK = re.compile(
    r"Traceback \(most recent call last\):\n(?:  .*\n)*?  File .*hostile\.py., line \d+, in _raise\n(?:  .*\n)*"
    r"KeyError: 'a mistake'"
)
EXPECTED = {
    "raise": ("plugin_error", "reward part 'hostile' raised KeyError: 'a mistake'"),
    "hang": ("timeout", "reward part 'hostile' took longer than 1 s"),
    "eat": ("memory", "reward part 'hostile' took more than reward.runtime.memory_mb allows"),
    "die": ("crash", "reward part 'hostile' ended its process"),
    "flood": ("timeout", "reward part 'hostile' took longer than 1 s"),
    "nan": ("plugin_error", "reward part 'hostile' returned nan, not a finite number"),
    "text": ("plugin_error", "reward part 'hostile' returned a value of type str"),
    "few": ("plugin_error", "reward part 'hostile' returned 0 scores for 1 samples"),
}


@pytest.fixture(scope="module")
def recipe(tiny_recipe):
    """The tiny recipe with a hostile part of its own."""
    (tiny_recipe.parent / "hostile.py").write_text(PLUGIN)
    text = tiny_recipe.read_text()
    hostile = "  hostile: {plugin: ./hostile.py:Hostile, weight: 1, act: raise}\n"
    path = tiny_recipe.parent / "hostile.yaml"
    path.write_text(text.replace("stages:\n", hostile + "stages:\n"))
    return path


@pytest.mark.parametrize("act", EXPECTED)
def test_the_run_goes_on_without_the_samples_at_fault(recipe, tmp_path, act):
    done = run_rlkit("train", recipe, f"reward.hostile.act={act}", *SHORT, "--run-dir", tmp_path / "run")
    assert done.code == 0, done.err
    rows = [row for row in metrics(tmp_path / "run") if row["stage"] == "stage-1-grpo"]
    verdict, reason = EXPECTED[act]
    assert [row["samples/unscored"] for row in rows] == [2.0, 2.0]  # one of each group of four
    assert [row[f"verdicts/hostile/{verdict}"] for row in rows] == [2.0, 2.0]
    _, rollouts = numbers(tmp_path / "run")
    samples = [row for step in rollouts.values() for row in step]
    assert Counter(row["reward"] is None for row in samples) == {False: 12, True: 4}
    for row in samples:
        part = row["parts"]["hostile"]
        at_fault = row["id"].endswith("#2")
        assert (row["reward"] is None, part["value"]) == (at_fault, None if at_fault else 0.5)
        assert row["parts"]["format"]["value"] is not None
        assert not at_fault or (part["verdict"] == verdict and part["reason"].startswith(reason))


@pytest.mark.parametrize(
    ("act", "message"),
    [
        ("raise", "reward part 'hostile' failed on"),
        ("die", "reward part 'hostile' ended its process"),
        ("hang", "reward part 'hostile' took longer than"),
    ],
)
def test_a_part_that_always_fails_stops_the_run_with_its_name(recipe, tmp_path, act, message):
    words = [f"reward.hostile.act={act}", "reward.hostile.always=true", "reward.runtime.max_restarts=4", *SHORT]
    done = run_rlkit("train", recipe, *words, "evaluation.holdout=0", "--run-dir", tmp_path / "run")
    assert done.code == 1, done.err + done.out
    (line,) = done.err.strip().splitlines()
    assert message in line
    if act == "raise":
        assert line.endswith("its last traceback is in the run's run.log, and here with --debug")
        assert PLUGIN_TRACEBACK.search((tmp_path / "run" / "run.log").read_text())
        assert "Traceback" not in done.out
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "failed"
    assert not (tmp_path / "run" / "model").exists()  # stopped before the update


def test_debug_shows_the_plugins_last_traceback(recipe, tmp_path):
    done = run_rlkit("train", recipe, "reward.hostile.always=true", *SHORT, "--debug", "--run-dir", tmp_path / "run")
    assert done.code == 1
    assert PLUGIN_TRACEBACK.search(done.err)
    assert done.err.splitlines()[-1].startswith("rlkit: error: 8 of 8 samples (100%) could not be scored")


def test_times_of_every_part_are_metrics_of_every_step_and_own_actors_take_part(recipe, tmp_path):
    words = ["reward.hostile.act=die", "reward.hostile.actors.num_workers=2", "reward.hostile.actors.groups_per_call=1"]
    done = run_rlkit("train", recipe, *words, *SHORT, "--run-dir", tmp_path / "run")
    assert done.code == 0, done.err
    rows = [row for row in metrics(tmp_path / "run") if row["stage"] == "stage-1-grpo"]
    assert [row["verdicts/hostile/crash"] for row in rows] == [2.0, 2.0]
    parts = ("accuracy", "reasoning", "format", "efficiency", "digits", "hostile")
    assert all(row[f"time/reward/{part}"] > 0 for row in rows for part in parts)
