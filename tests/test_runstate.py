"""Which folder is started, continued or refused, and what a continued run may change."""

import json
from pathlib import Path

import pytest
import yaml

from rlkit.errors import RlkitError, UsageError
from rlkit.evaluate import Evaluated, Share
from rlkit.recipe.load import load_recipe
from rlkit.runstate import RunState, begin, changed_keys, locked

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


def test_deadlines_may_change_and_the_seed_may_not(loaded):
    old = yaml.safe_load(yaml.safe_dump(loaded.resolved))
    new = yaml.safe_load(yaml.safe_dump(loaded.resolved))
    new["rollout"]["num_workers"], new["learner"]["timeout_s"], new["stages"][0]["timeout_s"] = 4, 9.0, 9.0
    new["checkpoint"]["every"] = 3
    assert changed_keys(old, new) == []
    new["run"]["seed"] = 1
    new["stages"][1]["learning_rate"] = 0.5
    assert changed_keys(old, new) == ["run.seed", "stages.1.learning_rate"]


def test_state_is_json_of_a_known_shape(tmp_path):
    RunState(tmp_path, ["m"]).save()
    assert json.loads((tmp_path / "progress.json").read_text())["models"] == ["m"]


def test_a_full_disk_is_one_sentence_and_harms_no_earlier_checkpoint(tmp_path):
    from rlkit.checkpoint import list_checkpoints, save_checkpoint

    def write(path: Path) -> None:
        path.write_bytes(b"weights")

    def no_space(path: Path) -> None:
        path.write_bytes(b"wei")
        raise OSError(28, "No space left on device")

    for step in (2, 4, 6):
        save_checkpoint(tmp_path, step, {"step": step}, write, keep_last=2)
    assert [c.step for c in list_checkpoints(tmp_path)] == [4, 6]
    with pytest.raises(RlkitError, match=r"checkpoint 8 cannot be written .* No space left on device"):
        save_checkpoint(tmp_path, 8, {"step": 8}, no_space, keep_last=2)
    assert [c.step for c in list_checkpoints(tmp_path)] == [4, 6]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000004", "step-000006"]
    assert list_checkpoints(tmp_path)[-1].state() == {"step": 6}
