"""Disks that are full or read-only, and damaged checkpoints: one sentence each, and nothing good is lost."""

import json
import os
import shutil
import subprocess
from types import SimpleNamespace

import pytest
import torch

from rlkit.watch.runlog import read_rows
from tests.cluster.conftest import RLKIT, numbers, run_rlkit, weights

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MOUNTS = subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode == 0
needs_mounts = pytest.mark.skipif(not MOUNTS, reason="this machine lets nobody mount a file system of their own")


def with_mounts(script, recipe, run_dir, timeout=400):
    """Runs a shell script where it may mount; `$RUN` starts the run in `$DIR`, a folder that is there."""
    run_dir.mkdir(parents=True)
    run = " ".join([*RLKIT, "train", str(recipe), "--run-dir", str(run_dir)])
    names = {"RUN": run, "DIR": str(run_dir), "OUT": str(run_dir.parent)}
    command = ["unshare", "-Urm", "sh", "-ec", script]
    done = subprocess.run(command, env=os.environ | names, capture_output=True, text=True, timeout=timeout, check=False)
    return SimpleNamespace(code=done.returncode, out=done.stdout, err=done.stderr)


def events(run_dir, kind):
    return [row["text"] for row in read_rows(run_dir / "events.jsonl") if row["event"] == kind]


def assert_same_run(run_dir, whole_run):
    assert numbers(run_dir) == numbers(whole_run)
    ours, theirs = weights(run_dir), weights(whole_run)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@needs_mounts
def test_a_full_disk_ends_the_run_in_one_sentence_and_with_room_it_goes_on(tiny_recipe, whole_run, tmp_path):
    script = """
        mount -t tmpfs -o size=30m tmpfs $DIR
        $RUN > $OUT/first.txt 2>&1 & run=$!
        until [ -e $DIR/stage-1-grpo/checkpoints/step-000002 ]; do kill -0 $run; sleep 0.02; done
        dd if=/dev/zero of=$DIR/.filler bs=4k 2> /dev/null || true
        wait $run && exit 9 || echo "first: $?"
        rm $DIR/.filler
        $RUN > $OUT/second.txt 2>&1
        cp -r $DIR $OUT/kept
    """
    done = with_mounts(script, tiny_recipe, tmp_path / "run")
    first = (tmp_path / "first.txt").read_text()
    assert done.code == 0, first + done.err
    assert done.out == "first: 1\n"
    (error,) = [line for line in first.splitlines() if line.startswith("rlkit: error:")]
    assert "cannot be written" in error
    assert "No space left on device" in error
    assert "Traceback" not in first
    assert_same_run(tmp_path / "kept", whole_run)
    assert not list((tmp_path / "kept").rglob("*.tmp"))


@needs_mounts
@pytest.mark.parametrize(
    ("options", "why"), [("size=600k", "No space left on device"), ("ro", "Read-only file system")]
)
def test_checkpoints_that_cannot_be_written_do_not_stop_a_run(tiny_recipe, whole_run, tmp_path, options, why):
    script = f"""
        mkdir -p $OUT/checkpoints
        $RUN > $OUT/first.txt 2>&1 & run=$!
        until [ -e $DIR/stage-0-sft/model ]; do kill -0 $run; sleep 0.02; done
        mkdir -p $DIR/stage-1-grpo/checkpoints
        mount -t tmpfs -o {options} tmpfs $DIR/stage-1-grpo/checkpoints
        wait $run
    """
    done = with_mounts(script, tiny_recipe, tmp_path / "run")
    out = (tmp_path / "first.txt").read_text()
    assert done.code == 0, out + done.err
    told = events(tmp_path / "run", "checkpoint_failed")
    assert [text.split()[1] for text in told] == ["2", "4", "5"]
    assert all(why in text and "earlier checkpoints are untouched" in text for text in told)
    assert all(text in out for text in told)
    assert_same_run(tmp_path / "run", whole_run)


def truncated(path):
    os.truncate(path, path.stat().st_size - 1)


def flipped(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("file", "damage", "told"),
    [
        ("learner/__0_0.distcp", truncated, "bytes instead of"),
        ("learner/.metadata", flipped, "does not match its checksum"),
        ("state.json", os.unlink, "is missing"),
        ("manifest.json", flipped, "manifest.json"),
        (".", shutil.rmtree, None),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_taken(
    tiny_recipe, whole_run, tmp_path, file, damage, told
):
    run_dir = unfinished(whole_run, tmp_path / "run")
    newest = run_dir / "stage-1-grpo" / "checkpoints" / "step-000005"
    damage(newest / file)
    done = run_rlkit("train", tiny_recipe, "--run-dir", run_dir)
    assert done.code == 0, done.out + done.err
    found = events(run_dir, "checkpoint_damaged")
    assert [told in text and "step-000005" in text for text in found] == ([True] if told else [])
    assert events(run_dir, "resume")[-1] == "stage-1-grpo continues after step 4"
    assert_same_run(run_dir, whole_run)


def test_checkpoints_of_another_run_are_not_taken(tiny_recipe, whole_run, tmp_path):
    run_dir = unfinished(whole_run, tmp_path / "run")
    progress = json.loads((run_dir / "progress.json").read_text())
    (run_dir / "progress.json").write_text(json.dumps(progress | {"run": "0" * 32}))
    done = run_rlkit("train", tiny_recipe, "--run-dir", run_dir)
    assert done.code == 1
    assert "it belongs to another run" in done.err
    assert "no intact checkpoint is left" in done.err
    assert "Traceback" not in done.err
    checkpoints = run_dir / "stage-1-grpo" / "checkpoints"
    assert sorted(p.name for p in checkpoints.iterdir()) == ["step-000004", "step-000005"]


def unfinished(whole_run, run_dir):
    """The finished run as it was when its last checkpoint was written."""
    shutil.copytree(whole_run, run_dir)
    shutil.rmtree(run_dir / "model")
    (run_dir / "summary.json").unlink()
    progress = json.loads((run_dir / "progress.json").read_text())
    progress["models"].pop()
    progress["after"] = None
    (run_dir / "progress.json").write_text(json.dumps(progress))
    return run_dir
