"""The saver beside Ctrl-C and failing writes: real checkpoints, the learner's worker and its thread."""

import errno
import math
import threading
from types import SimpleNamespace

import pytest

from rlkit.errors import ClusterError
from rlkit.keep.checkpoint import find_checkpoint, list_checkpoints
from rlkit.learner.learner_worker import LearnerWorker
from rlkit.learner.ranks import Ranks
from rlkit.recipe.schema import CheckpointKeys
from rlkit.stages.online.evaluator import StageEvaluator
from rlkit.stages.online.saver import Saver
from rlkit.watch.report import Report
from rlkit.watch.runlog import RunLog


class Writing:
    """A save of a learner: its file is written when `go` is set."""

    def __init__(self, folder, go):
        self.folder, self.go = folder, go

    def wait(self):
        assert self.go.wait(30)
        self.folder.mkdir()
        (self.folder / "data").write_bytes(b"weights" * 1000)


class Group:
    """A learner in this process, with `LearnerGroup`'s calls; `interrupt`: the calls in which Ctrl-C comes."""

    def __init__(self):
        self.go = threading.Event()
        self.interrupt = set()
        self.worker = LearnerWorker()
        self.worker.learner = SimpleNamespace(begin_save=lambda folder: Writing(folder, self.go), ranks=Ranks())

    def begin_save(self, folder, seal):
        self.worker.begin_save(folder, seal)
        self._ctrl_c("begin_save")

    def saved(self, *, wait):
        self._ctrl_c("saved")
        try:
            return self.worker.saved(wait)
        except OSError as e:
            raise ClusterError(str(e)) from e

    def _ctrl_c(self, call):
        if call in self.interrupt:
            self.interrupt.remove(call)
            raise KeyboardInterrupt


@pytest.fixture
def group():
    return Group()


@pytest.fixture
def saver(group, tmp_path):
    folder = tmp_path / "stage-0-grpo" / "checkpoints"
    return Saver(folder, "run", CheckpointKeys(keep_last=1), group, RunLog(tmp_path), Report(), list)


def whole_steps(saver):
    assert find_checkpoint(saver.folder, "run").damaged == ()
    assert not list(saver.folder.glob(".*"))
    return [checkpoint.step for checkpoint in list_checkpoints(saver.folder)]


def test_an_evaluation_without_accuracy_is_no_best_one(tmp_path):
    log = RunLog(tmp_path)
    for step, accuracy in ((1, 0.5), (2, None), (3, 0.75), (4, math.nan), (5, 0.75), (6, 1.0)):
        log.evaluation({"stage": "s", "step": step, "accuracy": accuracy})
    recipe = SimpleNamespace(checkpoint=CheckpointKeys(keep_best=2))
    unused = {"heldout": (), "renderer": None, "rollout": None, "scoring": None, "report": None}
    evaluator = StageEvaluator("s", SimpleNamespace(steps=6), recipe, log=log, **unused)
    evaluator.restore(log.evaluations("s"))
    assert evaluator.best_steps() == [3, 5]


@pytest.mark.parametrize("call", ["begin_save", "saved"])
def test_ctrl_c_anywhere_in_a_save_leaves_that_checkpoint_whole(saver, group, call):
    group.go.set()
    saver.save(1, {"step": 1})
    group.go.clear()
    group.interrupt.add(call)
    with pytest.raises(KeyboardInterrupt):
        saver.save(2, {"step": 2})
    threading.Timer(0.2, group.go.set).start()
    saver.save(2, {"step": 2})
    assert whole_steps(saver) == [2]


def test_ctrl_c_while_an_earlier_save_is_waited_for_loses_neither(saver, group):
    saver.begin(1, {"step": 1})
    group.interrupt.add("saved")
    with pytest.raises(KeyboardInterrupt):
        saver.save(2, {"step": 2})
    group.go.set()
    saver.save(2, {"step": 2})
    assert whole_steps(saver) == [2]
    assert (saver.folder.parents[1] / "run.log").read_text().count("checkpoint: stage-0-grpo step") == 2


def test_a_save_that_failed_is_told_once_and_the_next_one_works(saver, group, monkeypatch):
    group.go.set()
    with monkeypatch.context() as patch:
        patch.setattr(Writing, "wait", lambda self: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
        saver.save(1, {"step": 1})
    assert whole_steps(saver) == []
    saver.poll(wait=True)
    saver.save(2, {"step": 2})
    assert whole_steps(saver) == [2]
    assert (saver.folder.parents[1] / "run.log").read_text().count("checkpoint_failed") == 1
