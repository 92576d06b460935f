"""A checkpoint is whole or not there; a damaged one is found, named, put aside, and the one before it is taken."""

import errno
import json
import os
import shutil
from contextlib import suppress

import pytest

from rlkit.errors import CheckpointError
from rlkit.keep import checkpoint
from rlkit.keep.checkpoint import find_checkpoint, list_checkpoints, prune_checkpoints, save_checkpoint

FILES = ("learner/rank-0.distcp", "learner/.metadata", "state.json", "manifest.json")


def write_learner(folder):
    folder.mkdir()
    (folder / "rank-0.distcp").write_bytes(os.urandom(4096))
    (folder / ".metadata").write_bytes(b"names and shapes")


def save(folder, *steps, run_id="this run"):
    for step in steps:
        save_checkpoint(folder, step, {"step": step, "stream": {"drawn": [step]}}, write_learner, run_id=run_id)


def steps(folder):
    return [found.step for found in list_checkpoints(folder)]


def test_the_newest_whole_checkpoint_is_found(tmp_path):
    assert find_checkpoint(tmp_path, "this run").checkpoint is None
    save(tmp_path, 2, 4, 10)
    found = find_checkpoint(tmp_path, "this run")
    assert (found.checkpoint.step, found.damaged) == (10, ())
    assert found.checkpoint.state() == {"step": 10, "stream": {"drawn": [10]}}


def truncated(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def flipped(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "truncated": truncated,
    "one bit flipped": flipped,
    "missing": os.unlink,
    "empty": lambda p: p.write_bytes(b""),
}


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("file", FILES)
def test_damage_to_any_file_is_found_and_the_one_before_is_taken(tmp_path, file, how):
    save(tmp_path, 2, 4)
    DAMAGE[how](tmp_path / "step-000004" / file)
    found = find_checkpoint(tmp_path, "this run")
    assert found.checkpoint.step == 2
    (damage,) = found.damaged
    assert "step-000004" in damage
    assert file in damage
    # Put aside, not deleted; and not met again.
    assert (tmp_path / "damaged-step-000004").is_dir()
    assert find_checkpoint(tmp_path, "this run").damaged == ()


def test_every_bit_of_the_small_files_counts(tmp_path):
    save(tmp_path, 2)
    folder = tmp_path / "step-000002"
    for name in ("state.json", "manifest.json"):
        original = (folder / name).read_bytes()
        for position in range(len(original)):
            changed = bytearray(original)
            changed[position] ^= 1
            (folder / name).write_bytes(changed)
            with pytest.raises(CheckpointError, match=name):
                find_checkpoint(tmp_path, "this run")
        (folder / name).write_bytes(original)
    assert find_checkpoint(tmp_path, "this run").checkpoint.step == 2


def test_another_runs_checkpoint_and_a_renamed_one_are_refused(tmp_path):
    save(tmp_path / "ours", 2)
    save(tmp_path / "theirs", 4, run_id="another run")
    shutil.copytree(tmp_path / "theirs" / "step-000004", tmp_path / "ours" / "step-000004")
    assert "belongs to another run" in find_checkpoint(tmp_path / "ours", "this run").damaged[0]
    shutil.copytree(tmp_path / "ours" / "step-000002", tmp_path / "ours" / "step-000008")
    found = find_checkpoint(tmp_path / "ours", "this run")
    assert "it is of step 2" in found.damaged[0]
    assert found.checkpoint.step == 2


def test_with_no_whole_one_left_the_run_stops_and_touches_nothing(tmp_path):
    save(tmp_path, 2, 4)
    for step in (2, 4):
        flipped(tmp_path / f"step-{step:06d}" / "state.json")
    with pytest.raises(CheckpointError, match=r"state.json .* no intact checkpoint is left") as raised:
        find_checkpoint(tmp_path, "this run")
    assert "step-000002" in str(raised.value)
    assert steps(tmp_path) == [2, 4]


def test_a_save_that_fails_is_one_sentence_and_harms_no_earlier_checkpoint(tmp_path):
    def no_space(folder):
        folder.mkdir()
        (folder / "rank-0.distcp").write_bytes(b"hal")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    save(tmp_path, 2, 4)
    for step in (4, 6):  # over an old one, and a new one
        with pytest.raises(CheckpointError, match=r"No space left.*earlier checkpoints are untouched"):
            save_checkpoint(tmp_path, step, {}, no_space, run_id="this run")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000002", "step-000004"]
    assert find_checkpoint(tmp_path, "this run").checkpoint.step == 4


def test_a_half_written_one_is_never_listed(tmp_path):
    save(tmp_path, 2)
    (tmp_path / ".step-000004.ab12.tmp" / "learner").mkdir(parents=True)
    assert steps(tmp_path) == [2]
    save(tmp_path, 4)
    assert steps(tmp_path) == [2, 4]


def test_a_file_that_cannot_be_read_is_damage(tmp_path, monkeypatch):
    save(tmp_path, 2, 4)
    digest = checkpoint._sha256

    def failing(path):
        if "step-000004" in str(path):
            raise OSError(errno.EIO, "Input/output error")
        return digest(path)

    monkeypatch.setattr(checkpoint, "_sha256", failing)
    found = find_checkpoint(tmp_path, "this run")
    assert found.checkpoint.step == 2
    assert "cannot be read (Input/output error)" in found.damaged[0]


def test_what_a_kill_left_half_written_goes_when_the_next_start_looks(tmp_path):
    save(tmp_path, 2)
    (tmp_path / ".step-000004.ab12.tmp" / "learner").mkdir(parents=True)
    assert find_checkpoint(tmp_path, "this run").checkpoint.step == 2
    assert [path.name for path in tmp_path.iterdir()] == ["step-000002"]


@pytest.mark.parametrize("renames", range(3))
def test_a_checkpoint_saved_twice_is_there_wherever_the_second_save_is_killed(tmp_path, monkeypatch, renames):
    """After Ctrl-C a step may be saved once more while the first save was going on."""

    class Killed(BaseException):
        pass

    def replace_until_killed(old, new):
        if len(done) == renames:
            raise Killed
        done.append(os.rename(old, new))

    save(tmp_path, 2)
    done = []
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", replace_until_killed)
        with suppress(Killed):
            save(tmp_path, 2)
    assert len(done) == min(renames, 2)
    found = find_checkpoint(tmp_path, "this run")
    assert (found.checkpoint.step, found.damaged) == (2, ())
    assert [path.name for path in tmp_path.iterdir()] == ["step-000002"]


@pytest.mark.parametrize("deleted", range(5))
def test_a_kill_while_pruning_leaves_no_half_checkpoint_under_its_name(tmp_path, monkeypatch, deleted):
    """`deleted`: so many of the checkpoint's files are gone when the kill comes."""

    class Killed(BaseException):
        pass

    def rmtree_until_killed(path, ignore_errors):
        files = sorted(p for p in path.rglob("*") if p.is_file())
        for file in files[:deleted]:
            file.unlink()
        if files:
            raise Killed

    save(tmp_path, 2, 4)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", rmtree_until_killed)
        with pytest.raises(Killed):
            prune_checkpoints(tmp_path, keep_last=1, keep=[])
    assert steps(tmp_path) == [4]
    assert find_checkpoint(tmp_path, "this run").damaged == ()
    assert [path.name for path in tmp_path.iterdir()] == ["step-000004"]


def test_pruning_keeps_the_newest_and_the_chosen(tmp_path):
    save(tmp_path, 1, 2, 3, 4, 5)
    prune_checkpoints(tmp_path, keep_last=2, keep=[2])
    assert steps(tmp_path) == [2, 4, 5]
    assert json.loads((tmp_path / "step-000002" / "state.json").read_text())["step"] == 2
