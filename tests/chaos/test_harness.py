"""The harness itself: it finds what differs, kills whole trees, and tells one phase from another."""

import json
import os
import random
import shutil
import signal
import sys
import time

import pytest

from tests.chaos.notify import Notify
from tests.chaos.phases import AIMS, half_written, phase_of
from tests.chaos.same import differences
from tests.chaos.tree import Tree
from tests.chaos.victim import _Spans

FAMILY = """
import os, subprocess, sys, time
leaver = "import os, time; os.setsid(); print('up', flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", leaver], stdout=subprocess.PIPE)
child.stdout.readline()
# An orphan: its parent is gone, so that it hangs below no process of the tree.
subprocess.run(["sh", "-c", "sleep 600 & echo"], stdout=subprocess.DEVNULL)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def family(tmp_path):
    """A process with a child in a session of its own and an orphan."""
    tree = Tree([sys.executable, "-c", FAMILY], tmp_path / "log")
    deadline = time.monotonic() + 30
    while "ready" not in (tmp_path / "log").read_text():
        assert time.monotonic() < deadline
    yield tree
    tree.kill(tree.freeze())


def test_a_frozen_tree_is_all_there_and_all_stopped_and_a_killed_one_is_gone(family):
    assert len(family.pids()) == 2
    assert len(family.strays()) == 1
    pids = family.freeze()
    assert len(pids) == 3
    deadline = time.monotonic() + 30
    while any(state(pid) != "T" for pid in pids):
        assert time.monotonic() < deadline
    family.kill(pids)
    assert family.ended() == -signal.SIGKILL
    assert not any(state(pid) in "RSDT" for pid in pids)


def test_a_process_that_outlives_its_tree_is_found(family):
    family.kill_root()
    with pytest.raises(AssertionError):
        family.await_end([], timeout_s=0.2)


def state(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "gone"


def test_the_kernel_tells_of_files_in_folders_that_are_made_later(tmp_path):
    notify = Notify(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / ".c.tmp").write_text("x")
    os.rename(tmp_path / "a" / "b" / ".c.tmp", tmp_path / "a" / "b" / "c")
    seen, deadline = set(), time.monotonic() + 30
    while "renamed a/b/c" not in seen and "created a/b/c" not in seen:
        seen |= {str(change) for change in notify.wait(0.1)}
        assert time.monotonic() < deadline
    (tmp_path / "a" / "b" / "c").unlink()
    while "deleted a/b/c" not in seen:
        seen |= {str(change) for change in notify.wait(0.1)}
        assert time.monotonic() < deadline
    notify.close()


SFT, RL = "stage-0-sft", "stage-1-grpo"


@pytest.mark.parametrize(
    ("files", "titles", "phase"),
    [
        ([], [], "start"),
        (["progress.json.tmp"], [], "progress"),
        ([f"{SFT}/trainer/checkpoint-2/model.safetensors"], ["OfflineWorker"], "sft save"),
        ([f"{SFT}/checkpoints/.step-000002.ab12.tmp/state.json"], ["OfflineWorker"], "sft save"),
        ([], ["OfflineWorker.news"], "sft"),
        ([f"{RL}/checkpoints/step-000002/a", f"{RL}/checkpoints/.step-000004.ab12.tmp/a"], [], "save"),
        ([f"{RL}/checkpoints/.step-000002.old.tmp/a", f"{RL}/checkpoints/step-000004/a"], [], "prune"),
        ([f"{RL}/rollouts/step-000001.tmp"], ["_Actor"], "rollouts"),
        ([], ["RolloutWorker.draw", "_Actor"], "evaluation"),
        ([], ["RolloutWorker.load", "LearnerWorker"], "sync"),
        ([], ["LearnerWorker.train_step", "RolloutWorker"], "update"),
        ([], ["LearnerWorker.load_state"], "resume"),
    ],
)
def test_a_phase_is_told_by_what_is_there(tmp_path, files, titles, phase):
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("")
    assert phase in AIMS
    assert phase_of(tmp_path, titles, has_worked=bool(titles)) == phase


def test_the_length_of_a_phase_is_the_median_of_its_spells(monkeypatch):
    spans = _Spans()
    for now, on in ((0.0, ["a"]), (9.0, []), (10.0, ["a"]), (11.0, ["b"]), (12.0, ["a"]), (14.0, [])):
        monkeypatch.setattr(time, "monotonic", lambda now=now: now)
        spans.add(on)
    assert spans.medians() == {"a": 2.0, "b": 1.0}


def test_what_an_earlier_kill_left_tells_nothing_of_this_one(tmp_path):
    torn = tmp_path / RL / "checkpoints" / ".step-000004.ab12.tmp"
    torn.mkdir(parents=True)
    left = half_written(tmp_path)
    assert phase_of(tmp_path, [], has_worked=False, left=left) == "start"
    keep_number = tmp_path / "other"
    torn.rename(keep_number)  # so that the new one gets another number
    torn.mkdir()
    assert phase_of(tmp_path, [], has_worked=True, left=left) == "save"


def test_draws_after_the_evaluation_are_a_steps_own(tmp_path):
    (tmp_path / "progress.json").write_text(json.dumps({"models": ["m"], "before": {"n": 1}}))
    assert phase_of(tmp_path, ["RolloutWorker.draw"], has_worked=True) == "sampling"
    assert phase_of(tmp_path, ["RolloutWorker.draw", "_Actor.score"], has_worked=True) == "scoring"


@pytest.fixture
def two_runs(tmp_path):
    """A finished run's folder, made by hand, and a copy."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch
    from safetensors.torch import save_file

    whole = tmp_path / "whole"
    for folder in (f"{RL}/rollouts", f"{RL}/checkpoints/step-000002", "model"):
        (whole / folder).mkdir(parents=True)
    rows = [{"stage": RL, "step": step, "reward/total": 0.1, "time/sample": random.random()} for step in (1, 2)]
    (whole / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (whole / "evaluations.jsonl").write_text(json.dumps({"stage": RL, "step": 1, "accuracy": 0.5}) + "\n")
    (whole / "summary.json").write_text(json.dumps({"steps": 2, "seconds": {"total": 3.0}}))
    pq.write_table(pa.Table.from_pylist([{"id": "a", "logprobs": [0.1]}]), whole / RL / "rollouts" / "step-1.parquet")
    save_file({"w": torch.tensor([0.0, 1.0])}, whole / "model" / "model.safetensors")
    shutil.copytree(whole, tmp_path / "copy")
    return tmp_path / "copy", whole


def test_equal_runs_have_no_difference_and_times_do_not_count(two_runs):
    run, whole = two_runs
    text = (run / "metrics.jsonl").read_text().replace('"time/sample": 0.', '"time/sample": 1.')
    (run / "metrics.jsonl").write_text(text)
    (run / "summary.json").write_text(json.dumps({"steps": 2, "seconds": {"total": 9.0}}))
    assert differences(run, whole) == []


def zero_becomes_minus_zero(run):
    import torch
    from safetensors.torch import save_file

    save_file({"w": torch.tensor([-0.0, 1.0])}, run / "model" / "model.safetensors")


def double_row(run):
    with (run / "metrics.jsonl").open("a") as file:
        file.write((run / "metrics.jsonl").read_text().splitlines()[-1] + "\n")


DAMAGE = {
    "weights": zero_becomes_minus_zero,
    "metrics": double_row,
    "rollouts": lambda run: (run / RL / "rollouts" / "step-1.parquet").unlink(),
    "evaluations": lambda run: (run / "evaluations.jsonl").write_text(""),
    "summary": lambda run: (run / "summary.json").write_text('{"steps": 0, "seconds": {}}'),
    "files": lambda run: (run / RL / "checkpoints" / ".step-000002.ab12.tmp").mkdir(),
    "events.jsonl": lambda run: (run / "events.jsonl").write_text('{"a": 1{"b": 2}\n'),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_every_kind_of_difference_is_named(two_runs, what):
    run, whole = two_runs
    DAMAGE[what](run)
    assert any(what in problem for problem in differences(run, whole))
