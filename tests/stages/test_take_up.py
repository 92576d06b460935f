"""What an RL stage notes of itself and what its learner holds go together, whenever it is interrupted."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from rlkit.data.stream import TaskStream
from rlkit.errors import ClusterError, DataError, LearnerLost
from rlkit.recipe.schema import Recipe
from rlkit.records import Task
from rlkit.run.pipeline import Pipeline
from rlkit.stages.online.train import OnlineStage
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


@pytest.fixture
def stage(tmp_path):
    recipe = Recipe.model_validate(
        {
            "model": {"init": {}},
            "data": {"path": "builtin:quickstart"},
            "stages": [{"kind": "grpo", "steps": 9, "prompts_per_step": 2}],
            "checkpoint": {"every": 5},
        }
    )
    return OnlineStage(
        name="stage-0-grpo",
        keys=recipe.stages[0],
        recipe=recipe,
        run_dir=tmp_path,
        run_id="run",
        stream=TaskStream([Task(str(i), "math", f"{i}?", "1") for i in range(100)], seed=0),
        renderer=None,
        heldout=(),
        canary=(),
        rollout=None,
        scoring=None,
        learner=Holder(),
        log=RunLog(tmp_path),
        report=Report(),
        stop=SimpleNamespace(asked=False),
    )


def test_other_data_is_refused_unless_allowed_and_then_begins_anew(stage, tmp_path):
    stage.take_up()
    stage.stream.next(2)
    stage.learner.step = 5
    stage.finish_step(5)
    stage.saver.look(wait=True)
    stage.stream = TaskStream([Task(str(i), "math", f"{i}?", "2") for i in range(50)], seed=0)
    stage.start = stage.stream.state_dict()
    with pytest.raises(DataError, match=r"put it back, or start a new run, or go on .* --allow data"):
        stage.take_up()
    stage.data_may_differ = True
    assert stage.take_up() == 6
    assert stage.learner.step == 5
    assert [task.id for task in stage.stream.next(3)] == [
        task.id for task in TaskStream(stage.stream._tasks, seed=0).next(3)
    ]
    assert "draws from the beginning of its data" in (tmp_path / "events.jsonl").read_text()


@pytest.mark.parametrize("learned", [3, 7])
def test_a_stage_interrupted_while_its_learner_takes_up_a_checkpoint_has_nothing_to_save(stage, learned):
    assert stage.take_up() == 1
    assert not stage.unfinished
    for step in range(1, learned + 1):
        stage.learner.step = step
        stage.stream.next(2)
        stage.finish_step(step)
    stage.saver.look(wait=True)
    saved = learned >= 5
    stage.learner.step, stage.learner.interrupted = 0, True  # a learner that was lost and started anew
    if saved:
        with pytest.raises(KeyboardInterrupt):
            stage.take_up()
        assert stage.unfinished
    stage.learner.interrupted = False
    assert stage.take_up() == (6 if saved else 1)
    assert not stage.unfinished
    assert (stage.done_step, stage.learner.step) == ((5, 5) if saved else (0, 0))
    assert Path(stage.saver.folder).is_dir() == saved


@pytest.mark.parametrize("failure", [LearnerLost("rank 0 died"), ClusterError("saving the model: disk full")])
def test_a_model_that_cannot_be_written_after_ctrl_c_does_not_cost_the_exit_code(tmp_path, capsys, failure):
    saved = []

    def save_model(out):
        raise failure

    run = SimpleNamespace(
        done_step=3, unfinished=False, save=lambda: saved.append(3), learner=SimpleNamespace(save_model=save_model)
    )
    Pipeline._keep(SimpleNamespace(report=Report(), run_dir=tmp_path), run)
    assert saved == [3]
    assert capsys.readouterr().out.splitlines() == [
        "stopping once step 3 is saved; Ctrl-C again leaves at once",
        f"{failure}; the newest checkpoint is what the run continues from",
    ]
