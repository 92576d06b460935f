"""Which folder is started, continued or refused, and what a continued run may change."""

import json

import pytest
import yaml

from rlkit.errors import UsageError
from rlkit.evaluate import Evaluated, Share
from rlkit.recipe.load import load_recipe
from rlkit.runstate import RunState, begin, locked

RECIPE = """
model: {init: {}}
data: {path: "builtin:quickstart"}
stages:
  - {kind: sft, data: {path: "builtin:quickstart-demos"}, steps: 2}
  - {kind: grpo, steps: 3}
"""


@pytest.fixture
def loaded(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return load_recipe(path)


def test_a_fresh_folder_is_started_and_then_continued(loaded, tmp_path):
    run_dir = tmp_path / "run"
    with locked(run_dir):
        state = begin(run_dir, loaded, "auto")
        share = Share(0.5, 0.4, 0.6, 100)
        state.models.append("stage-0-sft/model")
        state.before = Evaluated(share, None, {"accuracy": 0.5}, 0.6)
        state.save()
    again = begin(run_dir, loaded, "must")
    assert (again.models, again.before) == (state.models, state.before)


def test_what_a_stopped_run_kept_goes_and_a_finished_stages_model_stays(loaded, tmp_path):
    run_dir = tmp_path / "run"
    with locked(run_dir):
        state = begin(run_dir, loaded, "auto")
    for models, stays in ((["a"], False), (["a", "model"], True)):
        (run_dir / "model").mkdir(exist_ok=True)
        state.models = models
        state.save()
        begin(run_dir, loaded, "auto")
        assert (run_dir / "model").exists() is stays


def test_a_done_run_is_not_run_again(loaded, tmp_path):
    run_dir = tmp_path / "run"
    with locked(run_dir):
        begin(run_dir, loaded, "auto")
        (run_dir / "summary.json").write_text(json.dumps({"status": "done"}))
        assert begin(run_dir, loaded, "auto") is None


def test_a_folder_of_something_else_is_not_touched(loaded, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match="is not empty and holds no run"):
        begin(tmp_path / "run", loaded, "auto")


def test_a_folder_at_work_is_refused(tmp_path):
    with locked(tmp_path / "run"), pytest.raises(UsageError, match="another process is at work"):  # noqa: SIM117
        with locked(tmp_path / "run"):
            pass


MADE = {"code": {"accuracy": "abc"}, "versions": {"torch": "2.13.0"}}


@pytest.fixture
def continued(tmp_path):
    """Starts a run, and continues it with overrides."""

    def go(*overrides, made=MADE, models=(), status=None, **keys):
        path = tmp_path / "recipe.yaml"
        path.write_text(RECIPE)
        run_dir = tmp_path / "run"
        run_dir.mkdir(exist_ok=True)
        begin(run_dir, load_recipe(path), "auto", made_with=MADE)
        if models:
            RunState(run_dir, "run", list(models), made_with=MADE).save()
        if status:
            (run_dir / "summary.json").write_text(json.dumps({"status": status}))
        return begin(run_dir, load_recipe(path, overrides), "auto", made_with=made, **keys)

    return go


def test_harmless_changes_pass_and_are_recorded(continued, tmp_path):
    state = continued("rollout.num_workers=4", "learner.timeout_s=9", "checkpoint.every=3", "stages.1.steps=7")
    assert sorted(state.changes) == [
        "checkpoint.every: 10 -> 3",
        "learner.timeout_s: 1800.0 -> 9.0",
        "rollout.num_workers: 1 -> 4",
        "stages.1.steps: 3 -> 7",
    ]
    assert yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["stages"][1]["steps"] == 7


HARMFUL = {
    "seed": (["run.seed=1"], MADE, "run.seed: 0 -> 1"),
    "learning rate": (["stages.1.learning_rate=0.5"], MADE, "stages.1.learning_rate: 1e-06 -> 0.5"),
    "model": (["model.init.num_layers=2"], MADE, "model.init.num_layers"),
    "data": (["data.path=builtin:quickstart?rows=9"], MADE, "data.path"),
    "fewer steps": (["stages.1.steps=2"], MADE, "stages.1.steps: 3 -> 2"),
    "reward code": ([], {"code": {"accuracy": "xyz"}, "versions": {}}, "code.accuracy: 'abc' -> 'xyz'"),
}


@pytest.mark.parametrize("name", HARMFUL)
def test_harmful_changes_stop_with_the_list_unless_allowed_by_name(continued, name):
    overrides, made, told = HARMFUL[name]
    with pytest.raises(UsageError) as refused:
        continued(*overrides, made=made)
    assert told in str(refused.value)
    key = told.partition(":")[0]
    assert f"--allow {key}" in str(refused.value)
    assert any(told in change for change in continued(*overrides, made=made, allow=[key]).changes)


def test_other_library_versions_are_recorded_and_pass(continued):
    state = continued(made={**MADE, "versions": {"torch": "2.14.0"}})
    assert state.changes == ["versions.torch: '2.13.0' -> '2.14.0'"]


def test_more_steps_reopen_the_last_stage_of_a_done_run_and_no_earlier_one(continued):
    both = ["stage-0-sft/model", "model"]
    assert continued(models=both, status="done") is None
    with pytest.raises(UsageError, match=r"stages.0.steps: 2 -> 7"):
        continued("stages.0.steps=7", models=both, status="done")
    assert continued("stages.1.steps=7", models=both, status="done").models == both[:1]


def test_state_is_json_of_a_known_shape(tmp_path):
    RunState(tmp_path, "run", ["m"]).save()
    assert json.loads((tmp_path / "progress.json").read_text())["models"] == ["m"]
