"""Which folder is started, continued or refused, and what a continued run may change."""

import errno
import fcntl
import json
from contextlib import suppress

import pytest
import yaml

from rlkit.disk import write_atomically
from rlkit.errors import DataError, UsageError
from rlkit.keep import resume, runstate
from rlkit.keep.resume import begin, locked
from rlkit.keep.runstate import RunState
from rlkit.recipe.load import load_recipe
from rlkit.watch.evaluated import Evaluated, Share
from rlkit.watch.runlog import RunLog, read_rows

RECIPE = """
model: {init: {}}
data: {path: "builtin:quickstart"}
stages:
  - {kind: sft, data: {path: "builtin:quickstart-demos"}, steps: 2}
  - {kind: grpo, steps: 3}
"""
BOTH = ["stage-0-sft/model", "model"]
"""Models of both stages, done."""


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


def test_a_model_stays_until_another_takes_its_place(loaded, tmp_path):
    run_dir = tmp_path / "run"
    with locked(run_dir):
        state = begin(run_dir, loaded, "auto")
    (run_dir / "model").mkdir()
    for models in (["a"], ["a", "model"]):
        state.models = models
        state.save()
        begin(run_dir, loaded, "auto")
        assert (run_dir / "model").exists()


def do_a_step(run_dir):
    """From here on there is a run to continue."""
    RunLog(run_dir).step({"stage": "stage-0-sft", "step": 1})


def changes(run_dir):
    """The changes that all starts logged."""
    return [row["text"] for row in read_rows(run_dir / "events.jsonl") if row["event"] == "changed"]


def test_a_done_run_is_not_run_again(loaded, tmp_path):
    run_dir = tmp_path / "run"
    with locked(run_dir):
        state = begin(run_dir, loaded, "auto")
        state.models = BOTH
        state.save()
        (run_dir / "summary.json").write_text(json.dumps({"status": "done"}))
        assert begin(run_dir, loaded, "auto") is None


def test_a_folder_of_something_else_is_not_touched(loaded, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match="is not empty and contains no run"):
        begin(tmp_path / "run", loaded, "auto")


def test_a_start_killed_at_any_write_is_started_again(loaded, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def write_or_die(path, text):
        if not left:
            path.with_name(path.name + ".tmp").write_text(text[:7])
            raise Killed
        left.pop()
        write_atomically(path, text)

    for module in (runstate, resume):
        monkeypatch.setattr(module, "write_atomically", write_or_die)
    seen = set()
    for kill_at in range(4):
        run_dir, left = tmp_path / f"run-{kill_at}", [None] * kill_at
        with suppress(Killed), locked(run_dir):
            begin(run_dir, loaded, "auto", provenance=MADE)
        seen.add(tuple(sorted(path.name for path in run_dir.iterdir())))
        left = [None] * 9
        with locked(run_dir):
            state = begin(run_dir, loaded, "auto", provenance=MADE)
        assert (state.models, state.provenance, changes(run_dir)) == ([], MADE, [])
        assert sorted(path.name for path in run_dir.iterdir()) == [".lock", "progress.json", "recipe.yaml"]
    assert len(seen) == 3  # killed in the first file, in the second, and not at all


@pytest.mark.parametrize(("text", "why"), [(None, "is missing"), ("{", "cannot be read")])
def test_a_run_without_its_progress_is_refused_with_a_sentence(loaded, tmp_path, text, why):
    run_dir = tmp_path / "run"
    with locked(run_dir):
        begin(run_dir, loaded, "auto")
    path = run_dir / "progress.json"
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=rf"progress\.json {why}.*set another run\.name"):
        begin(run_dir, loaded, "auto")


def test_a_resumed_run_has_no_summary_of_an_earlier_start(continued, tmp_path):
    state = continued("stages.1.steps=7", models=BOTH, status="done")
    assert (state.reopened, state.models) == (1, BOTH[:1])
    assert not (tmp_path / "run" / "summary.json").exists()
    assert json.loads((tmp_path / "run" / "progress.json").read_text())["reopened"] == 1


def test_held_out_tasks_stay_those_that_the_run_began_with(continued):
    state = continued()
    state.check_heldout("these")
    state.check_heldout("these")
    with pytest.raises(DataError, match=r"the held-out tasks have changed since .* restore the data"):
        state.check_heldout("others")


def test_held_out_tasks_may_change_with_what_was_allowed(tmp_path, loaded):
    with locked(tmp_path / "run"):
        begin(tmp_path / "run", loaded, "auto").check_heldout("these")
    do_a_step(tmp_path / "run")
    path = tmp_path / "recipe.yaml"
    for override, kept in (("checkpoint.every=3", "these"), ("evaluation.holdout=9", None)):
        RunState(tmp_path / "run", "r", [], recipe=loaded.resolved, heldout="these").save()
        changed = begin(tmp_path / "run", load_recipe(path, [override]), "auto", allow=["evaluation.holdout"])
        assert changed.heldout == kept


def test_a_stage_with_rewards_that_was_allowed_brings_held_out_tasks(tmp_path):
    path, run_dir = tmp_path / "recipe.yaml", tmp_path / "run"
    path.write_text(RECIPE.replace("  - {kind: grpo, steps: 3}\n", ""))
    with locked(run_dir):
        state = begin(run_dir, load_recipe(path), "auto")
        state.check_heldout("none")
        state.models.append("model")
        state.save()
    path.write_text(RECIPE)
    state = begin(run_dir, load_recipe(path), "auto", allow=["stages.1"])
    state.check_heldout("some")


@pytest.mark.parametrize("key", ["evaluation.holdout=9", "rollout.max_tokens=77", "stages.1.learning_rate=0.01"])
@pytest.mark.parametrize("models", [[], ["stage-0-sft/model"]])
def test_what_was_measured_before_goes_where_what_was_allowed_measures_otherwise(tmp_path, loaded, key, models):
    """Another learning rate of a stage leaves the figures of its start model as they are."""
    with locked(tmp_path / "run"):
        begin(tmp_path / "run", loaded, "auto")
    do_a_step(tmp_path / "run")
    before = Evaluated(Share(0.5, 0.4, 0.6, 100), None, {}, 0.5)
    RunState(tmp_path / "run", "r", models, recipe=loaded.resolved, before=before).save()
    changed = load_recipe(tmp_path / "recipe.yaml", [key])
    state = begin(tmp_path / "run", changed, "auto", allow=[key.partition("=")[0]])
    assert (state.before is not None) == key.startswith("stages.")


def test_an_edited_recipe_yaml_of_a_run_is_not_what_it_was_made_with(continued, tmp_path):
    continued()
    path = tmp_path / "run" / "recipe.yaml"
    path.write_text(path.read_text().replace("seed: 0", "seed: 7"))
    with pytest.raises(UsageError, match=r"run\.seed: 0 -> 7"):
        begin(tmp_path / "run", load_recipe(path), "auto", provenance=MADE)


def test_model_files_that_one_start_did_not_see_are_no_change(continued, tmp_path):
    """Of a Hub model nothing is known before its first download, nor where the Hub does not answer."""
    assert continued(made={**MADE, "files": {}}).provenance == MADE
    loaded = load_recipe(tmp_path / "recipe.yaml")
    assert begin(tmp_path / "run", loaded, "auto", provenance=MADE)
    assert changes(tmp_path / "run") == []
    with pytest.raises(UsageError, match=r"files\.model\.path: 'one' -> 'two'"):
        begin(tmp_path / "run", loaded, "auto", provenance={**MADE, "files": {"model.path": "two"}})


def test_other_data_is_allowed_by_its_keys_and_by_the_seed(continued):
    for allow, may in ((["data"], True), (["run.seed"], True), (["stages.0.data.path"], True), (["learner"], False)):
        assert continued(allow=allow).data_may_differ is may


def test_held_out_tasks_that_were_allowed_to_change_have_figures_of_their_own(continued):
    state = continued(allow=["data"])
    state.before = Evaluated(Share(0.5, 0.4, 0.6, 100), None, {}, 0.5)
    state.check_heldout("these")
    assert state.before is not None
    state.check_heldout("others")
    assert (state.before, state.heldout) == (None, "others")


def test_a_file_system_without_locks_is_not_another_process(tmp_path, monkeypatch):
    def no_locks(file, kind):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(UsageError, match=r"cannot lock files \(No locks available\)"), locked(tmp_path / "run"):
        pass


def test_a_folder_at_work_is_refused(tmp_path):
    with locked(tmp_path / "run"), pytest.raises(UsageError, match="another process uses"):  # noqa: SIM117
        with locked(tmp_path / "run"):
            pass


MADE = {"code": {"accuracy": "abc"}, "files": {"model.path": "one"}, "versions": {"torch": "2.13.0"}}


@pytest.fixture
def continued(tmp_path):
    """Continues a run that is so far, with overrides of its recipe or of another."""

    def go(*overrides, made=MADE, models=(), status=None, recipe=RECIPE, then=None, **keys):
        path = tmp_path / "recipe.yaml"
        path.write_text(recipe)
        run_dir = tmp_path / "run"
        run_dir.mkdir(exist_ok=True)
        (run_dir / "recipe.yaml").write_text(yaml.safe_dump(load_recipe(path).resolved))
        RunState(run_dir, "run", list(models), recipe=load_recipe(path).resolved, provenance=MADE).save()
        do_a_step(run_dir)
        if status:
            (run_dir / "summary.json").write_text(json.dumps({"status": status}))
        path.write_text(then or recipe)
        return begin(run_dir, load_recipe(path, overrides), "auto", provenance=made, **keys)

    return go


def test_harmless_changes_pass_and_are_recorded(continued, tmp_path):
    continued("rollout.num_workers=4", "learner.timeout_s=9", "checkpoint.every=3", "stages.1.steps=7")
    assert sorted(changes(tmp_path / "run")) == [
        "checkpoint.every: 10 -> 3",
        "learner.timeout_s: None -> 9.0",
        "rollout.num_workers: None -> 4",
        "stages.1.steps: 3 -> 7",
    ]
    assert yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["stages"][1]["steps"] == 7


HARMFUL = {
    "seed": (["run.seed=1"], MADE, "run.seed: 0 -> 1"),
    "learning rate": (["stages.1.learning_rate=0.5"], MADE, "stages.1.learning_rate: 1e-06 -> 0.5"),
    "model": (["model.init.num_layers=2"], MADE, "model.init.num_layers"),
    "data": (["data.path=builtin:quickstart?rows=9"], MADE, "data.path"),
    "fewer steps": (["stages.1.steps=2"], MADE, "stages.1.steps: 3 -> 2"),
    "start model": ([], {**MADE, "files": {"model.path": "other"}}, "files.model.path: 'one' -> 'other'"),
    "reward code": ([], {"code": {"accuracy": "xyz"}, "versions": {}}, "code.accuracy: 'abc' -> 'xyz'"),
}


@pytest.mark.parametrize("name", HARMFUL)
def test_harmful_changes_stop_with_the_list_unless_allowed_by_name(continued, name, tmp_path):
    overrides, made, message = HARMFUL[name]
    with pytest.raises(UsageError) as refused:
        continued(*overrides, made=made)
    assert message in str(refused.value)
    key = message.partition(":")[0]
    assert f"--allow {key}" in str(refused.value)
    assert changes(tmp_path / "run") == []
    continued(*overrides, made=made, allow=[key])
    assert any(message in change for change in changes(tmp_path / "run"))


def test_other_library_versions_are_recorded_and_pass(continued, tmp_path):
    continued(made={**MADE, "versions": {"torch": "2.14.0"}})
    assert changes(tmp_path / "run") == ["versions.torch: '2.13.0' -> '2.14.0'"]


def test_more_steps_reopen_the_last_stage_of_a_done_run_and_no_earlier_one(continued):
    assert continued(models=BOTH, status="done") is None
    for models in (BOTH, BOTH[:1]):  # stage 1 may have started from stage 0's model
        with pytest.raises(UsageError, match=r"stages.0.steps: 2 -> 7"):
            continued("stages.0.steps=7", models=models, status="done")
    assert continued("stages.1.steps=7", models=BOTH, status="done").models == BOTH[:1]
    # Killed before its next summary, the run is continued and not taken for done.
    assert continued(models=BOTH[:1], status="done").models == BOTH[:1]


SFT_ONLY = "\n".join(RECIPE.splitlines()[:-1])
ADDED = f"{RECIPE}  - {{kind: ppo, steps: 4}}\n"


def test_a_stage_added_to_a_done_run_starts_from_the_last_ones_model(continued, tmp_path):
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "model" / "weights").write_text("of stage 1")
    state = continued(then=ADDED, models=BOTH, status="done")
    assert state.models == ["stage-0-sft/model", "stage-1-grpo/model"]
    assert (tmp_path / "run" / state.models[-1] / "weights").read_text() == "of stage 1"
    assert not (tmp_path / "run" / "model").exists()
    assert [change.partition("{")[0] for change in changes(tmp_path / "run")] == ["stages.2: None -> "]
    # Killed after the model was moved and before anything was written of it, it goes on just the same.
    again = continued(then=ADDED, models=BOTH, status="done")
    assert again.models == state.models


def test_a_stage_added_before_the_run_is_done_waits_its_turn(continued):
    assert continued(then=ADDED, models=BOTH[:1], status="stopped").models == BOTH[:1]


def test_a_first_rl_stage_is_added_by_name_where_it_holds_tasks_out_of_what_was_learned_from(continued):
    added = {"recipe": SFT_ONLY, "then": RECIPE}
    for models in ((), ("model",)):
        with pytest.raises(UsageError, match=r"stages\.1: None -> .* --allow stages\.1"):
            continued(**added, models=models)
        assert continued("evaluation.holdout=0", **added, models=models, allow=["evaluation"])
    assert continued(**added, models=["model"], allow=["stages.1"]).models == ["stage-0-sft/model"]


def test_a_stage_is_not_taken_out_of_a_run(continued):
    for models in ((), BOTH[:1], BOTH):
        with pytest.raises(UsageError, match=r"was started with 2 stages and the recipe has 1 fewer"):
            continued(then=SFT_ONLY, models=models, allow=["stages"])


def test_a_stage_put_between_others_is_refused(continued):
    between = RECIPE.replace("  - {kind: grpo", "  - {kind: sft, steps: 1}\n  - {kind: grpo")
    with pytest.raises(UsageError, match=r"stages\.1\.kind: 'grpo' -> 'sft'"):
        continued(then=between, models=BOTH[:1])


def test_state_is_json_of_a_known_shape(tmp_path):
    RunState(tmp_path, "run", ["m"]).save()
    assert json.loads((tmp_path / "progress.json").read_text())["models"] == ["m"]
