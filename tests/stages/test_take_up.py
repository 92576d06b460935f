"""What an RL stage notes of itself and what its learner holds go together, whenever it is interrupted."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from rlkit.data.stream import TaskStream
from rlkit.errors import ClusterError, DataError, LearnerLost
from rlkit.recipe.schema import Recipe
from rlkit.records import Task
from rlkit.stages.online.collector import SynchronousCollector
from rlkit.stages.online.evaluator import StageEvaluator
from rlkit.stages.online.online_run import OnlineRun
from rlkit.stages.online.progress import StageProgress
from rlkit.watch.report import Report
from rlkit.watch.runlog import RunLog


class Holder:
    """Holds the number of the step that made its weights; a load can be interrupted once it has taken place."""

    def __init__(self):
        self.step = 0
        self.interrupted = False

    def load_state(self, folder):
        self.step = json.loads((folder / "step.json").read_text())
        if self.interrupted:
            raise KeyboardInterrupt

    def begin_save(self, folder, seal):
        folder.mkdir()
        (folder / "step.json").write_text(json.dumps(self.step))
        seal()

    def saved(self, *, wait):
        return True


class StageUnderTest:
    """The parts of a stage that are saved and restored, without its actors."""

    def __init__(self, run_dir):
        self.run_dir = run_dir
        self.learner = Holder()
        self.begin([Task(str(i), "math", f"{i}?", "1") for i in range(100)])

    def begin(self, tasks, data_may_differ=False):
        """As a new start does, with these tasks."""
        recipe = Recipe.model_validate(
            {
                "model": {"init": {}},
                "data": {"path": "builtin:quickstart"},
                "stages": [{"kind": "grpo", "steps": 9, "prompts_per_step": 2}],
                "checkpoint": {"every": 5},
            }
        )
        name, keys, log, report = "stage-0-grpo", recipe.stages[0], RunLog(self.run_dir), Report()
        self.stream = TaskStream(tasks, seed=0)
        pools = {"renderer": None, "rollout": None, "scoring": None, "report": report}
        self.progress = StageProgress(
            name,
            self.run_dir,
            "run",
            recipe.checkpoint,
            learner=self.learner,
            collector=SynchronousCollector(name, keys, recipe, stream=self.stream, **pools),
            evaluator=StageEvaluator(name, keys, recipe, heldout=(), log=log, **pools),
            log=log,
            report=report,
            data_may_differ=data_may_differ,
        )


@pytest.fixture
def stage(tmp_path):
    return StageUnderTest(tmp_path)


def test_other_data_is_refused_unless_allowed_and_then_begins_anew(stage, tmp_path):
    stage.progress.resume()
    stage.stream.next(2)
    stage.learner.step = 5
    stage.progress.finish_step(5)
    stage.progress.saver.poll(wait=True)
    others = [Task(str(i), "math", f"{i}?", "2") for i in range(50)]
    stage.begin(others)
    with pytest.raises(DataError, match=r"restore it, or start a new run, or continue .* --allow data"):
        stage.progress.resume()
    stage.begin(others, data_may_differ=True)
    assert stage.progress.resume() == 6
    assert stage.learner.step == 5
    assert [task.id for task in stage.stream.next(3)] == [task.id for task in TaskStream(others, seed=0).next(3)]
    assert "draws from the beginning of its data" in (tmp_path / "events.jsonl").read_text()


@pytest.mark.parametrize("learned", [3, 7])
def test_a_stage_interrupted_while_its_learner_takes_up_a_checkpoint_has_nothing_to_save(stage, learned):
    progress, learner = stage.progress, stage.learner
    assert progress.resume() == 1
    assert not progress.unfinished
    for step in range(1, learned + 1):
        learner.step = step
        stage.stream.next(2)
        progress.finish_step(step)
    progress.saver.poll(wait=True)
    saved = learned >= 5
    learner.step, learner.interrupted = 0, True  # a learner that was lost and started anew
    if saved:
        with pytest.raises(KeyboardInterrupt):
            progress.resume()
        assert progress.unfinished
    learner.interrupted = False
    assert progress.resume() == (6 if saved else 1)
    assert not progress.unfinished
    assert (progress.done_step, learner.step) == ((5, 5) if saved else (0, 0))
    assert Path(progress.saver.folder).is_dir() == saved


@pytest.mark.parametrize("failure", [LearnerLost("rank 0 died"), ClusterError("saving the model: disk full")])
def test_a_model_that_cannot_be_written_after_ctrl_c_does_not_cost_the_exit_code(tmp_path, capsys, failure):
    saved = []

    def save_model(out):
        raise failure

    run = SimpleNamespace(
        loop=SimpleNamespace(
            progress=SimpleNamespace(done_step=3, unfinished=False, save=lambda: saved.append(3)),
            learner=SimpleNamespace(save_model=save_model),
        ),
        start=SimpleNamespace(report=Report(), run_dir=tmp_path),
    )
    assert not OnlineRun.save_finished_steps(run)
    assert saved == [3]
    assert capsys.readouterr().out.splitlines() == [
        "stopping after saving step 3; press Ctrl-C again to stop at once",
        f"{failure}; the run will resume from its newest checkpoint",
    ]
