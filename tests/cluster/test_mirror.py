"""A run's copy elsewhere is at any moment a run to continue from, and never stops the one it is a copy of."""

import io
import json
import os
import shutil
import signal
import threading
import time
import uuid
from pathlib import Path

import fsspec
import pytest
from rich.console import Console

from rlkit.cluster.stop import StopSignal
from rlkit.disk import write_atomically
from rlkit.errors import ClusterError, MirrorError, Stopped, UsageError
from rlkit.keep.checkpoint import find_checkpoint, find_damage, list_checkpoints, prune_checkpoints, save_checkpoint
from rlkit.keep.mirror import FETCHING, Mirror
from rlkit.keep.remote import RemoteFolder, check_url
from rlkit.keep.runfiles import Position, is_manifest, position, scan
from rlkit.recipe.schema import RunKeys
from rlkit.watch.report import Report
from rlkit.watch.runlog import RunLog, read_rows
from tests.cluster.conftest import metrics, numbers, run_rlkit, stop_after_step, weights

STAGE = "stage-0-grpo"
WRITES = ("put_file", "pipe_file", "mv", "rm_file")


class Killed(BaseException):
    """The process that copies ends here."""


class Cut:
    """A file system that lets so many changes through; the next one is half done, and the last."""

    def __init__(self, fs, left: int, whole_writes: bool) -> None:
        self._fs, self.left, self._whole_writes = fs, left, whole_writes

    def __getattr__(self, name):
        method = getattr(self._fs, name)
        if name not in WRITES:
            return method

        def counted(*args):
            self.left -= 1
            if self.left < 0:
                if name == "put_file" and not self._whole_writes:
                    Path(args[1]).write_bytes(Path(args[0]).read_bytes()[:3])
                raise Killed
            return method(*args)

        return counted


class Work:
    """What a run does to its folder, without its actors."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.log = RunLog(run_dir)
        self.checkpoints = run_dir / STAGE / "checkpoints"

    def begin(self, run_id: str) -> None:
        write_atomically(self.run_dir / "recipe.yaml", "run: {}\n")
        self.progress(run_id, [])

    def progress(self, run_id: str, models: list[str]) -> None:
        write_atomically(self.run_dir / "progress.json", json.dumps({"run": run_id, "models": models}))

    def step(self, step: int, run_id: str) -> None:
        self.log.step({"stage": STAGE, "step": step})
        rollouts = self.run_dir / STAGE / "rollouts"
        rollouts.mkdir(exist_ok=True, parents=True)
        (rollouts / f"step-{step:06d}.parquet").write_text(f"samples of {step}")

        def save_learner(folder: Path) -> None:
            folder.mkdir()
            (folder / "rank-0.pt").write_text(f"weights after {step}" * 20)
            (folder / ".metadata").write_text("as torch writes it")

        save_checkpoint(self.checkpoints, step, {"step": step}, save_learner, run_id=run_id)
        prune_checkpoints(self.checkpoints, keep_last=1, keep=())

    def finish(self, run_id: str) -> None:
        (self.run_dir / STAGE / "model").mkdir()
        (self.run_dir / STAGE / "model/weights").write_text("the stage's model")
        self.progress(run_id, [f"{STAGE}/model"])


def make(keys: RunKeys, run_dir: Path) -> Mirror:
    run_dir.mkdir(parents=True, exist_ok=True)
    return Mirror(keys, run_dir, Report(Console(file=io.StringIO())))


def opened(keys: RunKeys, run_dir: Path) -> tuple[Mirror, RemoteFolder]:
    """A mirror that owns the copy, and the folder to copy to."""
    mirror, remote = make(keys, run_dir), RemoteFolder(f"{keys.mirror}/{keys.name}")
    mirror._claim(remote)
    return mirror, remote


@pytest.fixture(params=["file", "memory"])
def keys(request, tmp_path) -> RunKeys:
    place = f"file://{tmp_path}/elsewhere" if request.param == "file" else f"memory://{uuid.uuid4().hex}"
    return RunKeys(name="a-run", mirror=place, mirror_every_s=0.02)


def copied_until(cut: int, keys: RunKeys, run_dir: Path) -> int:
    """A run of three steps and its end, copied after each until the copying is cut off; how many changes were left."""
    work = Work(run_dir)
    work.begin("r1")
    mirror, remote = opened(keys, run_dir)
    remote._fs = Cut(remote._fs, cut, whole_writes=not remote._renames)
    try:
        for step in (1, 2, 3):
            work.step(step, "r1")
            mirror.copy(remote)
        work.finish("r1")
        mirror.copy(remote)
    except Killed:
        pass
    return remote._fs.left


def test_cut_off_anywhere_the_copy_is_a_run_to_continue_from(keys, tmp_path):
    plenty = 1000
    changes = plenty - copied_until(plenty, keys.model_copy(update={"name": "whole"}), tmp_path / "whole")
    assert changes > 20
    seen = set()
    for cut in range(changes + 1):
        own = keys.model_copy(update={"name": f"cut-{cut}"})
        copied_until(cut, own, tmp_path / f"here-{cut}")
        fresh = tmp_path / f"fresh-{cut}"
        make(own, fresh).fetch("auto")
        if not (fresh / "recipe.yaml").exists():
            assert [p.name for p in fresh.iterdir()] == []
            seen.add(None)
            continue
        progress = json.loads((fresh / "progress.json").read_text())
        found = find_checkpoint(fresh / STAGE / "checkpoints", "r1")
        assert found.damaged == ()
        assert all(find_damage(c, "r1") is None for c in list_checkpoints(fresh / STAGE / "checkpoints"))
        step = found.checkpoint.step if found.checkpoint else 0
        assert step >= max((row["step"] for row in metrics(fresh)), default=0) - 1
        for before in range(1, step + 1):
            assert {"stage": STAGE, "step": before} in read_rows(fresh / "metrics.jsonl")
            assert (fresh / STAGE / f"rollouts/step-{before:06d}.parquet").read_text() == f"samples of {before}"
        for model in progress["models"]:
            assert (fresh / model / "weights").read_text() == "the stage's model"
        assert not (fresh / ".fetching").exists()
        seen.add((len(progress["models"]), step))
    assert {None, (0, 1), (0, 2), (0, 3), (1, 3)} <= seen


def test_what_was_copied_is_not_copied_again_and_what_went_goes(keys, tmp_path):
    work = Work(tmp_path / "here")
    work.begin("r1")
    mirror, remote = opened(keys, tmp_path / "here")
    work.step(1, "r1")
    mirror.copy(remote)
    assert set(remote.files()) == {*scan(tmp_path / "here"), "mirror-owner.json"}
    work.step(2, "r1")
    mirror.copy(remote)
    mirror.copy(remote)
    assert set(remote.files()) == {*scan(tmp_path / "here"), "mirror-owner.json"}
    assert not any("step-000001/" in name for name in remote.files())

    again, remote = opened(keys, tmp_path / "here")
    remote._fs = Cut(remote._fs, 1000, whole_writes=True)
    again.copy(remote)
    assert 1000 - remote._fs.left <= 2, "only progress.json is written anew"


def test_what_goes_while_it_is_copied_stays_until_its_successor_is_there(keys, tmp_path, monkeypatch):
    work = Work(tmp_path / "here")
    work.begin("r1")
    mirror, remote = opened(keys, tmp_path / "here")
    work.step(1, "r1")
    mirror.copy(remote)
    looks = iter(range(100))

    def scan_while_the_run_goes_on(run_dir):
        found = scan(run_dir)
        if next(looks) == 0:
            work.step(2, "r1")  # deletes checkpoint 1
        return found

    monkeypatch.setattr("rlkit.keep.mirror.scan", scan_while_the_run_goes_on)
    mirror.copy(remote)
    assert [n for n in remote.files() if is_manifest(n)] == [f"{STAGE}/checkpoints/step-000001/manifest.json"]
    mirror.copy(remote)
    assert [n for n in remote.files() if is_manifest(n)] == [f"{STAGE}/checkpoints/step-000002/manifest.json"]


def test_the_later_of_two_starts_owns_the_copy(keys, tmp_path):
    first = Work(tmp_path / "first")
    first.begin("r1")
    mirror, remote = opened(keys, tmp_path / "first")
    first.step(1, "r1")
    mirror.copy(remote)

    make(keys, tmp_path / "second").fetch("must")
    second = Work(tmp_path / "second")
    later, later_remote = opened(keys, tmp_path / "second")
    second.step(2, "r1")
    first.step(2, "r1")
    first.step(3, "r1")
    mirror.copy(remote)
    assert not any("step-000003" in name for name in remote.files())
    later.copy(later_remote)
    assert any("step-000002" in name for name in remote.files())

    # The first machine is started again: it is further, so it goes on from its own folder and owns the copy again.
    make(keys, tmp_path / "first").fetch("auto")
    assert find_checkpoint(first.checkpoints, "r1").checkpoint.step == 3
    mirror, remote = opened(keys, tmp_path / "first")
    mirror.copy(remote)
    make(keys, tmp_path / "second").fetch("auto")
    assert find_checkpoint(second.checkpoints, "r1").checkpoint.step == 3
    assert [row["step"] for row in metrics(tmp_path / "second")] == [1, 2, 3]


def test_a_copy_of_something_else_is_refused(keys, tmp_path):
    ours = Work(tmp_path / "ours")
    ours.begin("r1")
    ours.step(1, "r1")
    mirror, remote = opened(keys, tmp_path / "ours")
    mirror.copy(remote)
    other = Work(tmp_path / "other")
    other.begin("r2")
    other.step(1, "r2")
    with pytest.raises(UsageError, match="are different runs"):
        make(keys, tmp_path / "other").fetch("auto")
    with pytest.raises(UsageError, match="--resume never"):
        make(keys, tmp_path / "new").fetch("never")
    RemoteFolder(f"{keys.mirror}/mine").write("notes.txt", b"of mine")
    with pytest.raises(UsageError, match="contains no run"):
        make(keys.model_copy(update={"name": "mine"}), tmp_path / "new").fetch("auto")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("of mine")
    make(keys, tmp_path / "full").fetch("auto")
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["notes.txt"], "for `begin` to refuse"


def test_a_copy_without_a_whole_step_is_no_run_and_the_next_start_takes_its_place(keys, tmp_path):
    failed = Work(tmp_path / "failed")
    failed.begin("r1")
    (failed.run_dir / "start").mkdir()
    (failed.run_dir / "start/weights").write_text("of the failed start")
    mirror, remote = opened(keys, failed.run_dir)
    mirror.copy(remote)
    for here in ("fresh", "other"):
        work = Work(tmp_path / here)
        if here == "other":
            work.begin("r2")
            work.step(1, "r2")
        make(keys, work.run_dir).fetch("never")
        assert not (work.run_dir / "start").exists()
    mirror, remote = opened(keys, work.run_dir)
    mirror.copy(remote)
    assert set(remote.files()) == {*scan(work.run_dir), "mirror-owner.json"}
    assert remote.read_json("progress.json")["run"] == "r2"


def test_a_start_that_did_nothing_here_gives_way_to_the_run_that_was_copied(keys, tmp_path):
    ours = Work(tmp_path / "ours")
    ours.begin("r1")
    ours.step(1, "r1")
    mirror, remote = opened(keys, ours.run_dir)
    mirror.copy(remote)
    here = tmp_path / "here"
    failed = Work(here)
    failed.begin("r2")
    (here / "start").mkdir()
    (here / "summary.json").write_text("{}")
    (here / "notes.txt").write_text("of mine")
    make(keys, here).fetch("must")
    assert json.loads((here / "progress.json").read_text())["run"] == "r1"
    assert [row["step"] for row in metrics(here)] == [1]
    assert sorted(set(os.listdir(here)) - set(os.listdir(ours.run_dir))) == ["notes.txt"]


@pytest.mark.parametrize("behind", [False, True])
def test_a_fetch_that_was_cut_off_is_done_again(keys, tmp_path, monkeypatch, behind):
    here = tmp_path / "here"
    work = Work(here)
    work.begin("r1")
    mirror, remote = opened(keys, here)
    work.step(1, "r1")
    shutil.copytree(here, tmp_path / "earlier")
    work.step(2, "r1")
    work.finish("r1")
    mirror.copy(remote)
    for number in range(len(remote.files()) - 1):  # all but the owner
        other = tmp_path / f"other-{number}"
        if behind:
            shutil.copytree(tmp_path / "earlier", other)
        with monkeypatch.context() as patch:
            patch.setattr(RemoteFolder, "get", cut_off(RemoteFolder.get, number))
            with pytest.raises(Killed):
                make(keys, other).fetch("auto")
        assert behind or not (other / "recipe.yaml").exists()
        make(keys, other).fetch("auto")
        assert scan(here).keys() <= scan(other).keys()
        assert find_checkpoint(other / STAGE / "checkpoints", "r1").checkpoint.step == 2
        assert metrics(other) == metrics(here)


def cut_off(get, left: int):
    calls = iter(range(1000))

    def limited(self, name, path):
        if next(calls) >= left:
            raise Killed
        get(self, name, path)

    return limited


def test_an_upload_that_fails_stops_nothing_and_is_tried_again(tmp_path):
    keys = RunKeys(name="a-run", mirror=f"file://{tmp_path}/elsewhere", mirror_every_s=0.02, mirror_timeout_s=60)
    work = Work(tmp_path / "here")
    work.begin("r1")
    copy = tmp_path / "elsewhere/a-run"
    with make(keys, tmp_path / "here").kept_up():
        wait_for(lambda: (copy / "progress.json").exists())
        (copy / STAGE).write_text("in the way")
        work.step(1, "r1")
        wait_for(lambda: "mirror_failed" in events(tmp_path / "here"))
        (copy / STAGE).unlink()
        wait_for(lambda: "mirror_works" in events(tmp_path / "here"))
        work.step(2, "r1")
    assert events(tmp_path / "here").count("mirror_failed") == 1
    assert find_checkpoint(copy / STAGE / "checkpoints", "r1").checkpoint.step == 2


def test_a_rest_that_cannot_be_copied_ends_at_the_deadline(tmp_path):
    keys = RunKeys(name="a-run", mirror=f"file://{tmp_path}/elsewhere", mirror_every_s=0.02, mirror_timeout_s=0.5)
    work = Work(tmp_path / "here")
    work.begin("r1")
    mirror = make(keys, tmp_path / "here")
    with pytest.raises(MirrorError, match="mirror_timeout_s"):
        lose_the_copy_inside(mirror, tmp_path / "elsewhere")


def test_a_run_that_went_on_without_its_mirror_is_not_overwritten_by_what_was_not_fetched(keys, tmp_path):
    here, other = tmp_path / "here", tmp_path / "other"
    work = Work(here)
    work.begin("r1")
    work.step(1, "r1")
    shutil.copytree(here, other)
    mirror, remote = opened(keys, here)
    work.step(2, "r1")
    mirror.copy(remote)
    (other / FETCHING).touch()  # cut off
    make(RunKeys(name="a-run", mirror=None), other).fetch("auto")
    ahead = Work(other)
    for step in (2, 3):
        ahead.step(step, "r1")
    make(keys, other).fetch("auto")
    assert [row["step"] for row in metrics(other)] == [1, 2, 3]


@pytest.mark.parametrize("failure", [None, ClusterError("the run failed")])
def test_ctrl_c_while_the_rest_is_copied_leaves_at_once(tmp_path, monkeypatch, failure):
    # An hour between two scans: all files are left for the end.
    keys = RunKeys(name="a-run", mirror=f"file://{tmp_path}/elsewhere", mirror_every_s=3600)
    work = Work(tmp_path / "here")
    work.begin("r1")
    mirror, hung = make(keys, tmp_path / "here"), threading.Event()

    def hang(remote, name, path):
        if mirror._run_ended.is_set():
            os.kill(os.getpid(), signal.SIGINT)
            hung.wait()

    monkeypatch.setattr(RemoteFolder, "put", hang)
    with pytest.raises((ClusterError, Stopped)) as raised:  # noqa: PT012, SIM117
        with StopSignal(lambda: None).installed(), mirror.kept_up():
            work.step(1, "r1")
            if failure:
                raise failure
    hung.set()
    assert raised.value is failure if failure else "was copied" in str(raised.value)


def lose_the_copy_inside(mirror: Mirror, place: Path) -> None:
    with mirror.kept_up():
        shutil.rmtree(place)
        place.write_text("in the way")


def events(run_dir: Path) -> list[str]:
    return [row["event"] for row in read_rows(run_dir / "events.jsonl")]


def wait_for(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_missing_package_is_named():
    fsspec.register_implementation("rlkit-test", "no_such_package.FileSystem", clobber=True)
    with pytest.raises(UsageError, match="pip install no_such_package"):
        check_url("rlkit-test://bucket/runs")
    with pytest.raises(UsageError, match=r"does not support 's33' \(did you mean 's3'"):
        check_url("s33://bucket/runs")
    check_url("file:///mnt/runs")


def test_positions_compare_by_stage_then_step():
    names = ["stage-0-sft/checkpoints/step-000009/manifest.json", "stage-1-grpo/checkpoints/step-000002/manifest.json"]
    assert position({"models": []}, names) == Position(0, 0, 9)
    assert position({"models": ["m"]}, names) == Position(0, 1, 2)
    assert position({"models": ["m"]}, names) > position({"models": []}, names)
    assert position({"models": ["m"]}, ["stage-1-grpo/checkpoints/step-000004/state.json"]) == Position(0, 1, 0)
    longer = position({"models": [], "reopened": 1}, names)  # a finished stage that gets more steps
    assert longer > position({"models": ["m"], "reopened": 0}, names)


@pytest.mark.slow
def test_killed_on_one_machine_the_run_goes_on_on_another_bitwise(tiny_recipe, whole_run, tmp_path):
    mirror = [f"run.mirror=file://{tmp_path}/elsewhere", "run.mirror_every_s=0.05"]
    there = tmp_path / "elsewhere/tiny"
    words = [tiny_recipe, *mirror, "checkpoint.every=1"]
    killed = stop_after_step(2, there, signal.SIGKILL, *words, "--run-dir", tmp_path / "first")
    assert killed.code == -signal.SIGKILL
    assert len(metrics(there)) < len(metrics(whole_run))
    shutil.rmtree(tmp_path / "first")

    done = run_rlkit("train", *words, "--resume", "must", "--run-dir", tmp_path / "second")
    assert done.code == 0, done.err + done.out
    assert "downloading it" in done.out
    assert "resume" in events(tmp_path / "second")
    assert numbers(tmp_path / "second") == numbers(whole_run) == numbers(there)
    ours, theirs, copied = weights(tmp_path / "second"), weights(whole_run), weights(there)
    assert all((ours[name] == theirs[name]).all() and (copied[name] == theirs[name]).all() for name in theirs)
    assert json.loads((there / "summary.json").read_text())["status"] == "done"

    again = run_rlkit("train", *words, "--run-dir", tmp_path / "third")
    assert again.code == 0
    assert "is done" in again.out
    assert weights(tmp_path / "third").keys() == theirs.keys()
