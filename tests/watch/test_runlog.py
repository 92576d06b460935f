"""A run's files: truncated rows are dropped, and repeated steps are logged once."""

import errno
import json
import os

import pyarrow.parquet as pq
import pytest

from rlkit.disk import write_atomically
from rlkit.errors import CheckpointError
from rlkit.records import Sample, Score, ScoredGroup, Task
from rlkit.watch.runlog import RunLog, read_rows


def test_damaged_events_count_for_nothing(tmp_path):
    log = RunLog(tmp_path)
    log.event("resume", "after step 2")
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b"\0\0\xff\n[]\n{}\n")
    log.event("resume", "after step 4")
    log.event("stopped", "after step 5")
    assert log.num_events() == {"resume": 2, "stopped": 1}


def fill(log, *steps):
    for step in steps:
        log.step({"stage": "a", "step": step})
        log.evaluation({"stage": "a", "step": step})
        log.event("checkpoint", f"step {step}")


def test_a_row_cut_off_by_a_kill_at_any_byte_is_dropped_and_the_next_one_is_whole(tmp_path):
    fill(RunLog(tmp_path), 1, 2)
    names = ("metrics.jsonl", "evaluations.jsonl", "events.jsonl")
    whole = {name: (tmp_path / name).read_bytes() for name in names}
    shortest = min(len(data) - data[:-1].rfind(b"\n") - 1 for data in whole.values())
    for cut in range(1, shortest):
        for name, data in whole.items():
            (tmp_path / name).write_bytes(data[:-cut])
        fill(RunLog(tmp_path), 3)
        for name in names:
            lines = (tmp_path / name).read_text().splitlines()
            assert len([json.loads(line) for line in lines]) == 2
        assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [1, 3]


def test_the_only_row_cut_off_leaves_an_empty_file(tmp_path):
    (tmp_path / "events.jsonl").write_text('{"time": 1.0, "ev')
    RunLog(tmp_path)
    assert (tmp_path / "events.jsonl").read_bytes() == b""


def test_the_last_step_is_the_stages_own(tmp_path):
    log = RunLog(tmp_path)
    assert log.last_step("a") == 0
    fill(log, 1, 2)
    log.step({"stage": "b", "step": 7})
    assert (log.last_step("a"), log.last_step("b")) == (2, 7)


def test_a_resumed_stage_drops_rollouts_after_its_step_and_half_written_ones(tmp_path):
    log = RunLog(tmp_path)
    rollouts = tmp_path / "a" / "rollouts"
    rollouts.mkdir(parents=True)
    for name in ("step-000002.parquet", "step-000003.parquet", "step-000003.tmp", "step-000009.tmp"):
        (rollouts / name).write_bytes(b"")
    log.keep_steps("a", 2)
    assert [path.name for path in rollouts.iterdir()] == ["step-000002.parquet"]
    log.sync()


def test_a_whole_file_is_replaced_and_nothing_stays_beside_it(tmp_path):
    (tmp_path / "f.json.tmp").write_text("left by a kill, longer than what is written now")
    for text in ("old", "new"):
        write_atomically(tmp_path / "f.json", text)
        assert (tmp_path / "f.json").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["f.json"]


def test_samples_that_somebody_deleted_keep_nothing_from_the_disk(tmp_path):
    log = RunLog(tmp_path)
    fill(log, 1, 2)
    log._unsynced.add(tmp_path / "stage" / "rollouts" / "step-000001.parquet")
    log.sync()
    assert log._unsynced == set()


def test_a_full_disk_is_one_sentence_and_what_was_not_synced_is_synced_next_time(tmp_path, monkeypatch):
    def full(fd):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    log = RunLog(tmp_path)
    fill(log, 1)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(CheckpointError, match="No space left on device"):
            log.sync()
    synced, fsync = [], os.fsync
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd)))
        log.sync()
        log.sync()
    names = ("", "/evaluations.jsonl", "/events.jsonl", "/metrics.jsonl")
    assert synced == [f"{tmp_path}{name}" for name in names]


def test_a_task_drawn_again_in_a_step_has_a_group_and_samples_of_its_own(tmp_path):
    def group(task_id):
        samples = tuple(Sample(f"{task_id}#{i}", "r", 1) for i in range(2))
        parts = {"accuracy": (Score(1.0), Score(0.0))}
        return ScoredGroup(Task(task_id, "math", "p", "1"), samples, parts, {"accuracy": 1.0}, (1.0, 0.0))

    drawn = ["a", "b", "a", "a@2", "a"]
    RunLog(tmp_path).rollouts("s", 1, [group(name) for name in drawn], [(0.5, -0.5)] * len(drawn))
    rows = pq.read_table(tmp_path / "s/rollouts/step-000001.parquet").to_pylist()
    groups = ["a", "b", "a@3", "a@2", "a@4"]
    assert [row["group"] for row in rows] == [name for name in groups for _ in range(2)]
    assert [row["id"] for row in rows] == [f"{name}#{i}" for name in groups for i in range(2)]


def test_rollouts_hold_the_messages_before_the_prompt(tmp_path):
    history = ({"role": "system", "content": "Be brief."},)
    tasks = [Task("a", "math", "p", "1", history=history), Task("b", "math", "p", ["1", "one"])]
    groups = [
        ScoredGroup(task, (Sample(f"{task.id}#0", "r", 1),), {"accuracy": (Score(1.0),)}, {"accuracy": 1.0}, (1.0,))
        for task in tasks
    ]
    RunLog(tmp_path).rollouts("s", 1, groups, [(0.0,)] * 2)
    first, second = pq.read_table(tmp_path / "s/rollouts/step-000001.parquet").to_pylist()
    assert (first["prompt"], json.loads(first["history"])) == ("p", list(history))
    assert (second["history"], json.loads(second["reference"])) == (None, ["1", "one"])
