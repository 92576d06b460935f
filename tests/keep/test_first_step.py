"""Nothing of a run counts before its first step is whole: until then its name is free for another start."""

import json
import re

import pytest

from rlkit.disk import write_atomically
from rlkit.errors import DataError, UsageError
from rlkit.keep import first_step, resume, runstate
from rlkit.keep.first_step import has_work
from rlkit.keep.resume import begin, describe_start, describe_stop, locked
from rlkit.keep.runstate import RunState, read_state
from rlkit.recipe.load import load_recipe
from rlkit.watch.evaluated import Evaluated, Share
from rlkit.watch.runlog import RunLog

RECIPE = """
model: {init: {}}
data: {path: "builtin:quickstart"}
stages: [{kind: sft, data: {path: "builtin:quickstart-demos"}, steps: 2}, {kind: grpo, steps: 3}]
"""
MADE = {"code": {"accuracy": "abc"}, "files": {"model.path": "one"}, "versions": {"torch": "2.13.0"}}
BEFORE = Evaluated(Share(0.5, 0.4, 0.6, 100), None, {}, 0.5)
WORK = {
    "metrics of a step": ("metrics.jsonl", '{"stage": "stage-0-sft", "step": 1}\n'),
    "samples of a step": ("stage-1-grpo/rollouts/step-000001.parquet", "samples"),
    "a checkpoint": ("stage-0-sft/checkpoints/step-000002/manifest.json", "{}"),
    "a damaged checkpoint": ("stage-0-sft/checkpoints/step-000002/state.json", "{}"),
    "a checkpoint that was put aside": ("stage-1-grpo/checkpoints/damaged-step-000002/state.json", "{}"),
    "a checkpoint that lacks only its name": ("stage-1-grpo/checkpoints/.step-000002.ab.tmp/manifest.json", "{}"),
    "a stage's model": ("stage-0-sft/model/config.json", "{}"),
    "a model": ("model/config.json", "{}"),
}
LEFTOVERS = {
    "start/config.json": "{}",
    "summary.json": '{"status": "failed"}',
    "events.jsonl": '{"event": "failed"}\n',
    "metrics.jsonl": '{"stage": "stage-0-s',
    "stage-0-sft/trainer/checkpoint-2/half": "",
    "stage-0-sft/checkpoints/.step-000002.ab.tmp/learner/half": "",
    "stage-1-grpo/rollouts/step-000001.tmp": "",
    ".model.tmp/half": "",
}


def put(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def load(tmp_path):
    """Loads the recipe with overrides."""
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return lambda *overrides: load_recipe(path, overrides)


@pytest.fixture
def run_dir(tmp_path):
    return tmp_path / "run"


def start(run_dir, loaded, resume="auto", **keys):
    with locked(run_dir):
        return begin(run_dir, loaded, resume, provenance=keys.get("made", MADE))


CHANGED = ["run.seed=7", "data.path=builtin:quickstart?rows=50", "stages.1.learning_rate=0.5", "stages.0.steps=1"]


@pytest.mark.parametrize("override", CHANGED)
def test_a_start_without_a_whole_step_is_started_anew_with_another_recipe(load, run_dir, override):
    first = start(run_dir, load())
    first.before, first.heldout, first.seconds = BEFORE, "these", 9.0
    first.save()
    put(run_dir, LEFTOVERS)
    RunLog(run_dir).line("why the first start failed")
    loaded = load(override)
    state = start(run_dir, loaded, made={"code": {"accuracy": "other"}})
    assert state.run_id != first.run_id
    assert (state.models, state.before, state.heldout, state.seconds) == ([], None, None, 0.0)
    assert state.recipe == read_state(run_dir).recipe == loaded.resolved
    assert {path.name for path in run_dir.iterdir()} - {".model.tmp"} == {
        *(".lock", "progress.json", "recipe.yaml", "run.log")
    }
    assert "why the first start failed" in (run_dir / "run.log").read_text()
    assert describe_start(state, loaded.recipe) == (
        f"an earlier start in {run_dir} ended before its first step: starting the run again"
    )


def test_a_stage_less_is_a_fresh_start_too(load, run_dir):
    start(run_dir, load())
    fewer = load("stages=[{kind: grpo, steps: 3}]")
    assert start(run_dir, fewer).recipe == fewer.resolved


@pytest.mark.parametrize("work", WORK)
def test_what_was_learned_or_sampled_is_never_started_over_with_another_recipe(load, run_dir, work):
    start(run_dir, load())
    put(run_dir, dict([WORK[work]]))
    assert has_work(run_dir)
    with pytest.raises(UsageError, match="was started with another recipe"):
        start(run_dir, load("run.seed=7"))
    with pytest.raises(UsageError, match=r"--resume never: .* already contains a run"):
        start(run_dir, load(), "never")
    assert (run_dir / WORK[work][0]).read_text() == WORK[work][1]
    assert start(run_dir, load(), "must").run_id == start(run_dir, load()).run_id


def test_a_finished_stage_counts_though_its_files_were_moved_away(load, run_dir):
    state = start(run_dir, load())
    state.models.append("stage-0-sft/model")
    state.save()
    with pytest.raises(UsageError, match="was started with another recipe"):
        start(run_dir, load("run.seed=7"))


def test_without_a_whole_step_must_has_nothing_to_continue_and_never_starts(load, run_dir):
    start(run_dir, load())
    put(run_dir, LEFTOVERS)
    with pytest.raises(UsageError, match="ended before its first step, so there is nothing to resume"):
        start(run_dir, load(), "must")
    assert (run_dir / "summary.json").exists()
    assert start(run_dir, load("run.seed=3"), "never").recipe["run"]["seed"] == 3


def test_files_that_are_not_of_a_run_stay(load, run_dir):
    start(run_dir, load())
    mine = {"notes.txt": "n", "stage-0-sft/notes.txt": "n", "stage-props/rollouts/x": "n", "started/x": "n"}
    put(run_dir, LEFTOVERS | mine)
    start(run_dir, load("run.seed=7"))
    assert all((run_dir / name).read_text() == text for name, text in mine.items())
    assert not (run_dir / "stage-1-grpo").exists()


def test_a_folder_whose_recipe_yaml_is_of_no_run_is_not_touched(load, run_dir):
    put(run_dir, {"recipe.yaml": "mine", "start/weights": "mine"})
    with pytest.raises(UsageError, match=r"progress\.json is missing"):
        start(run_dir, load())
    assert (run_dir / "recipe.yaml").read_text() == (run_dir / "start/weights").read_text() == "mine"


KEPT = {
    "the same": ([], MADE, True),
    "a harmless key": (["checkpoint.every=3", "rollout.num_workers=2"], MADE, True),
    "another seed": (["run.seed=7"], MADE, False),
    "another reward plugin": ([], MADE | {"code": {"accuracy": "xyz"}}, False),
    "another model behind the path": ([], MADE | {"files": {"model.path": "two"}}, False),
    "a model from nothing": (["model.init={}"], MADE, False),
}


@pytest.mark.parametrize("case", KEPT)
def test_figures_of_the_start_model_are_kept_where_they_would_come_out_the_same(load, run_dir, case, tmp_path):
    overrides, made, kept = KEPT[case]
    path = f"model.path={tmp_path}"
    first = start(run_dir, load(path if "model.init={}" not in overrides else "run.seed=0"))
    first.before, first.before_name, first.heldout = BEFORE, "before stage 0 (grpo)", "these"
    first.save()
    again = load(*([path] if "model.init={}" not in overrides else []), *overrides)
    state = start(run_dir, again, made=made)
    assert (state.before == BEFORE, state.heldout == "these") == (kept, kept)
    state.check_heldout("others")  # the data may be mended, too: no lock on it
    assert (state.before, state.heldout) == (None, "others")


def test_a_start_anew_that_is_killed_anywhere_is_started_again(load, run_dir, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def or_die(work):
        def counted(*args, **keys):
            if not left:
                raise Killed
            left.pop()
            return work(*args, **keys)

        return counted

    for module in (runstate, resume):
        monkeypatch.setattr(module, "write_atomically", or_die(write_atomically))
    monkeypatch.setattr(first_step.shutil, "rmtree", or_die(first_step.shutil.rmtree))
    kills = 0
    for kill_at in range(100):
        folder, left = tmp_path / f"run-{kill_at}", [None] * 100
        start(folder, load())
        put(folder, LEFTOVERS)
        left = [None] * kill_at
        try:
            start(folder, load("run.seed=7"))
        except Killed:
            kills += 1
        left = [None] * 100
        assert start(folder, load("run.seed=8")).recipe["run"]["seed"] == 8
        if kills == kill_at:
            break
    assert kills > 5


def test_a_wrong_column_is_corrected_under_the_same_name(tmp_path):
    from rlkit.run.checks import check_run
    from rlkit.run.inputs import read_inputs
    from rlkit.run.run_data import read_data

    rows = [{"question": f"What is {a} + {a}?", "answer": str(2 * a)} for a in range(40)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path, run_dir = tmp_path / "recipe.yaml", tmp_path / "run"
    path.write_text(f"""
model: {{init: {{hidden_size: 64, num_layers: 1, num_heads: 2, num_kv_heads: 1}}}}
data: {{path: {tmp_path}/sums.jsonl, fields: {{prompt: question, reference: answer}}}}
evaluation: {{holdout: 8}}
stages: [{{kind: grpo, steps: 3, prompts_per_step: 4}}]
""")
    wrong = load_recipe(path, ["data.fields.prompt=quesiton"])
    with pytest.raises(DataError, match="quesiton"):
        check_run(wrong, run_dir=run_dir, address=None, read_all=True)
    assert not run_dir.exists()
    start(run_dir, wrong, made={})  # as a start leaves it that fails later, on what needs the model
    loaded = load_recipe(path)
    state = start(run_dir, loaded, made={})
    read_inputs(loaded.recipe, read_data(loaded.recipe), run_dir, print)
    words = (run_dir / "start/tokenizer.json").read_text()
    assert RunLog(run_dir).num_events() == {}
    # The data is mended as well: the model made from nothing is made anew, with words of the new data.
    rows = [{"question": f"¿Cuánto es {a} + {a}?", "answer": str(2 * a)} for a in range(40)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    start(run_dir, loaded, made={})
    read_inputs(loaded.recipe, read_data(loaded.recipe), run_dir, print)
    assert (run_dir / "start/tokenizer.json").read_text() != words
    assert isinstance(state, RunState)


SAVED = "stage-1-grpo/checkpoints/step-{:06d}/manifest.json"
FIRST_MODEL = ["stage-0-sft/model"]
STANDS = {
    # models, files, the stage that is under way, its last whole step; the message at the stop, and at the next start
    "nothing": (
        *([], [], "setup", 0),
        *("before the first step; the same command starts the run in", "starting the run again"),
    ),
    "in a step": (
        *([], ["metrics.jsonl"], "stage-0-sft", 4),
        "after step 4 of stage-0-sft; .* from that stage's first step$",
        "stage-0-sft starts from its first step, no checkpoint was saved",
    ),
    "between stages": (
        *(FIRST_MODEL, [], "stage-0-sft", 2),
        "after the last step of stage-0-sft; the same command continues",
        "stage-0-sft is done, stage-1-grpo starts from its first step",
    ),
    "before a stage's first step": (
        *(FIRST_MODEL, [], "stage-1-grpo", 0),
        "before the first step of stage-1-grpo; ",
        "stage-0-sft is done, stage-1-grpo starts from its first step",
    ),
    "saved": (
        *(FIRST_MODEL, [SAVED.format(3)], "stage-1-grpo", 3),
        "after step 3 of stage-1-grpo; .* the run in [^ ]+$",
        "stage-0-sft is done, stage-1-grpo continues after step 3",
    ),
    "saved earlier": (
        *(FIRST_MODEL, [SAVED.format(2), SAVED.format(1)], "stage-1-grpo", 3),
        "after step 3 of stage-1-grpo; .* after step 2, the last one that was saved$",
        "stage-0-sft is done, stage-1-grpo continues after step 2",
    ),
    "while a resume reads its data": (
        *(FIRST_MODEL, [SAVED.format(2)], "setup", 0),
        *("before anything new was done; ", "stage-1-grpo continues after step 2"),
    ),
    "after all stages": (
        *([*FIRST_MODEL, "model"], [], "stage-1-grpo", 3),
        *("after the last step of stage-1-grpo; ", "stage-0-sft is done, stage-1-grpo is done"),
    ),
}


@pytest.mark.parametrize("case", STANDS)
def test_a_stop_and_the_next_start_report_the_runs_position(load, run_dir, case):
    models, files, at, step, stop, again = STANDS[case]
    state, loaded = start(run_dir, load()), load()
    state.models = list(models)
    state.save()
    put(run_dir, dict.fromkeys(files, '{"stage": "stage-0-sft", "step": 4}\n'))
    assert re.match(f"stopped as you asked {stop}", describe_stop(state, at, step))
    assert describe_start(state, loaded.recipe).endswith(again)
