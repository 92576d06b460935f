"""Which tasks are learned from and which are held out."""

import json
import subprocess
import sys

import pytest

from rlkit.errors import DataError
from rlkit.recipe.schema import Recipe
from rlkit.run.inputs import read_inputs
from rlkit.run.run_data import read_data
from rlkit.stages.registry import stages_of


@pytest.mark.parametrize(("evaluation", "held_out"), [({"sources": []}, 0), ({"holdout": 6}, 6), ({"holdout": 0}, 0)])
def test_an_empty_list_of_sources_holds_nothing_out(evaluation, held_out):
    recipe = Recipe.model_validate(
        {
            "model": {"init": {}},
            "data": {"path": "builtin:quickstart?rows=20"},
            "evaluation": evaluation,
            "stages": [{"kind": "grpo", "steps": 1, "prompts_per_step": 2}],
        }
    )
    split = read_data(recipe).split(recipe)
    assert (len(split.train), len(split.heldout)) == (20 - held_out, held_out)


def rows(path, numbers):
    lines = [json.dumps({"prompt": f"{n} + {n} = ?", "reference": str(2 * n)}) for n in numbers]
    path.write_text("\n".join(lines))
    return str(path)


@pytest.mark.parametrize(("held_out", "left"), [(range(30, 40), 20), (range(15, 25), 15), (range(20), None)])
def test_what_other_sources_hold_out_is_not_trained_on(tiny_model, tmp_path, held_out, left):
    recipe = Recipe.model_validate(
        {
            "model": {"path": str(tiny_model)},
            "data": {"path": rows(tmp_path / "train.jsonl", range(20))},
            "evaluation": {"sources": [{"path": rows(tmp_path / "held-out.jsonl", held_out)}]},
            "stages": [{"kind": "grpo", "steps": 1, "prompts_per_step": 2}],
        }
    )
    if left is None:
        with pytest.raises(DataError, match=r"every training task is also in evaluation\.sources"):
            read_data(recipe)
        return
    inputs = read_inputs(recipe, read_data(recipe), tmp_path, print)
    assert (len(inputs.train), len(inputs.heldout)) == (left, len(held_out))
    assert not {task.prompt for task in inputs.train} & {task.prompt for task in inputs.heldout}
    printed = []
    inputs.describe(tmp_path, printed.append, printed.append)
    line = f"{20 - left} training tasks are also in evaluation.sources and are not trained on"
    assert (line in printed) == (left < 20)


def test_stages_learn_from_the_same_demonstrations_in_other_orders(tiny_model, tmp_path):
    stage = {"kind": "sft", "steps": 2, "batch_size": 8, "data": {"path": "builtin:quickstart-demos?rows=40"}}
    recipe = Recipe.model_validate(
        {"model": {"path": str(tiny_model)}, "data": stage["data"], "stages": [stage, stage]}
    )
    inputs = read_inputs(recipe, read_data(recipe), tmp_path, print)
    stages = stages_of(recipe)
    first, again, second = (stages[i].training_order(inputs.rows[i], inputs.renderer) for i in (0, 0, 1))
    assert first == again != second


def test_a_model_made_from_nothing_is_on_the_disk_before_it_has_its_name(tmp_path, synced):
    init = {"vocab_size": 320, "hidden_size": 64, "num_heads": 2, "num_kv_heads": 1, "num_layers": 1}
    recipe = Recipe.model_validate(
        {
            "model": {"init": init},
            "data": {"path": "builtin:quickstart?rows=40"},
            "evaluation": {"holdout": 4},
            "stages": [{"kind": "grpo", "steps": 1, "prompts_per_step": 2}],
        }
    )
    (tmp_path / ".start.tmp").mkdir()
    (tmp_path / ".start.tmp" / "left by a kill").touch()
    read_inputs(recipe, read_data(recipe), tmp_path, print)
    made = {path.name for path in (tmp_path / "start").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= made <= {path.name for path in synced}
    assert "left by a kill" not in made


def test_the_tasks_columns_are_counted_and_those_that_are_always_null_are_left_out(tmp_path):
    lines = [{"prompt": "a", "reference": "1", "topic": "t", "hint": None}, {"prompt": "b", "reference": "2"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    recipe = Recipe.model_validate(
        {
            "model": {"init": {}},
            "data": {"path": str(tmp_path / "rows.jsonl")},
            "stages": [{"kind": "grpo", "steps": 1, "prompts_per_step": 2}],
        }
    )
    columns = read_data(recipe).columns
    assert (columns.num_tasks, columns.num_with) == (2, {"topic": 1})


def test_rows_are_read_and_refused_without_a_heavy_import(tmp_path):
    """So that a wrong column is reported in a second: torch, ray and vllm alone take ten."""
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a"}')
    (tmp_path / "recipe.yaml").write_text(
        f"model: {{init: {{}}}}\ndata: {{path: {tmp_path}/rows.jsonl}}\nstages: [{{kind: grpo, steps: 1}}]\n"
    )
    program = (
        "import sys; from rlkit.cli.main import main; "
        f"code = main(['train', '{tmp_path}/recipe.yaml', 'run.dir={tmp_path}']); "
        "print(code, *(m for m in ('torch', 'transformers', 'ray', 'vllm', 'datasets') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert (done.stdout.split(), done.stderr.count("\n")) == (["2"], 1), done.stderr
    assert "rows.jsonl:1" in done.stderr
