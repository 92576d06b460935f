"""Figures of a step and of an evaluation, against numbers worked out by hand; the stop signal."""

import json
import os
import signal
from dataclasses import replace

import pytest

from rlkit.cluster.stop import StopSignal
from rlkit.records import Sample, Score, ScoredGroup, Task
from rlkit.stages.online.evaluate import effective_number, share_right, wilson_interval
from rlkit.watch.metrics import reward_metrics, sandbox_tiers
from rlkit.watch.runlog import RunLog

TASK = Task("t", "math", "p", "1")


def group(*values, finish="stop"):
    samples = tuple(Sample(f"s{i}", "r", 10 * (i + 1), finish) for i in range(len(values)))
    scores = tuple(Score(v, "" if v is None else ("correct" if v else "wrong")) for v in values)
    return ScoredGroup(TASK, samples, {"accuracy": scores}, {"accuracy": 1.0}, values)


def test_a_steps_figures():
    found = reward_metrics([group(1.0, 0.0), group(None, 1.0, finish="length")])
    assert found["reward/total"] == pytest.approx(2 / 3)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert (found["samples"], found["samples/unscored"], found["samples/cut_at_max_tokens"]) == (4, 1, 0.5)
    assert found["samples/tokens"] == 60
    assert (found["verdicts/accuracy/correct"], found["verdicts/accuracy/wrong"]) == (2, 1)


def test_a_part_counts_where_it_applies():
    scores = (Score(1.0), Score.not_applicable("no code"), Score(None, "timeout", "too slow"), Score(0.5))
    samples = tuple(Sample(f"s{i}", "r", 10) for i in range(4))
    found = reward_metrics([ScoredGroup(TASK, samples, {"style": scores}, {"style": 1.0}, (1.0, None, None, 0.5))])
    assert (found["reward/style"], found["reward/style_std"], found["failed/style"]) == (0.75, 0.25, 1)
    assert found["verdicts/style/not_applicable"] == 1


def test_the_time_of_a_part_is_what_all_groups_took():
    groups = [replace(group(1.0), seconds={"accuracy": 0.5}), replace(group(0.0), seconds={"accuracy": 0.25})]
    assert reward_metrics(groups)["time/reward/accuracy"] == 0.75


def test_wilsons_interval():
    assert wilson_interval(0.5, 100) == (pytest.approx(0.4038, abs=1e-4), pytest.approx(0.5962, abs=1e-4))
    assert wilson_interval(1.0, 10) == (pytest.approx(0.7225, abs=1e-4), 1.0)


def test_a_share_counts_tasks_not_samples():
    share = share_right([group(1.0, 0.0), group(1.0, 1.0), group(None, 0.0)])
    assert (share.value, share.n) == (pytest.approx(0.5), 3)
    assert share.low < 0.5 < share.high
    assert share_right([group(None)]).n == 0


def test_an_interval_never_claims_more_than_the_replies_nor_less_than_the_tasks():
    assert effective_number([1, 0, 1, 0], 8) == 4  # replies to one task told the same
    assert effective_number([0.5, 0.5, 0.5, 1], 8) == 8
    assert effective_number([0.5, 0.5], 8) == 8
    assert effective_number([1.0, 1.0], 8) == 2
    for groups in ([group(1.0, 1.0)] * 4, [group(0.0, 0.0)] * 4, [group(1.0, 0.0)], [group(1.0, 0.0)] * 4):
        share = share_right(groups)
        assert share.low <= share.value <= share.high
        assert share.high - share.low > 0.4
    several, one = share_right([group(1.0, 1.0)] * 4), share_right([group(1.0)] * 4)
    assert (several.low, several.high) == (one.low, one.high)


def test_not_a_number_is_null_on_disk_and_a_resumed_stage_leaves_no_double(tmp_path):
    log = RunLog(tmp_path)
    for step in (1, 2, 3):
        log.step({"stage": "a", "step": step, "accuracy": float("nan")})
    log.step({"stage": "b", "step": 1})
    log.keep_steps("a", 1)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(r["stage"], r["step"]) for r in rows] == [("a", 1), ("b", 1)]
    assert rows[0]["accuracy"] is None


def test_the_first_signal_waits_for_the_step_and_the_second_does_not():
    printed, done = [], []
    stop = StopSignal(lambda: printed.append("wait"))

    def step(number):
        with stop.deferred():
            os.kill(os.getpid(), number)
            done.append("step")

    with stop.installed():
        with pytest.raises(KeyboardInterrupt):
            step(signal.SIGTERM)
        assert (done, printed) == (["step"], ["wait"])
        with pytest.raises(KeyboardInterrupt):
            step(signal.SIGINT)
    assert done == ["step"]


def test_hidden_tests_and_the_sandbox_come_from_the_evidence():
    def group(hidden, tier):
        evidence = {"tests": [], "tier": tier} | ({"hidden": hidden} if hidden else {})
        score = Score(1.0, "pass", evidence=evidence)
        return ScoredGroup(Task("t", "code", "p", {}), (Sample("s", "r", 3),), {"accuracy": (score,)}, {}, (1.0,))

    groups = [group({"passed": 1, "total": 4}, "landlock"), group({"passed": 2, "total": 2}, "namespaces")]
    assert reward_metrics(groups)["code/hidden_passed"] == 0.5
    assert sandbox_tiers(groups) == ["landlock", "namespaces"]
    assert "code/hidden_passed" not in reward_metrics([group(None, "wasm")])
