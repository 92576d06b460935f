"""Processes of a running job are killed: it goes on by itself and ends with the weights of an undisturbed run."""

import json
import signal
import subprocess
import time

import psutil
import pytest
import torch

from tests.cluster.conftest import RLKIT, metrics, numbers, weights


def killed_in_step(step, title, run_dir, *words, timeout=280):
    """Runs `rlkit train`, kills its processes of a title once a step is in metrics.jsonl; (exit code, output)."""
    child = subprocess.Popen(
        [*RLKIT, "train", *map(str, words), "--run-dir", str(run_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + timeout
    while not any(row["stage"] == "stage-1-grpo" and row["step"] >= step for row in metrics(run_dir)):
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    victims = [
        p for p in psutil.Process(child.pid).children(recursive=True) if p.cmdline()[:1] and title in p.cmdline()[0]
    ]
    assert victims, title
    for victim in victims:
        victim.send_signal(signal.SIGKILL)
    out, _ = child.communicate(timeout=max(1.0, deadline - time.monotonic()))
    return child.returncode, out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("title", "event"),
    [
        ("ray::LearnerWorker", "learner_restarted"),
        ("ray::RolloutWorker", "rollout_worker_replaced"),
        ("ray::_Actor", "scorer_replaced"),
    ],
)
def test_a_killed_actor_changes_no_number_of_the_run(whole_run, tiny_recipe, tmp_path, title, event):
    run_dir = tmp_path / "survivor"
    code, out = killed_in_step(3, title, run_dir, tiny_recipe)
    assert code == 0, out
    events = [json.loads(line)["event"] for line in (run_dir / "events.jsonl").read_text().splitlines()]
    assert event in events
    assert numbers(run_dir) == numbers(whole_run)
    ours, theirs = weights(run_dir), weights(whole_run)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
