"""Which tasks are learned from and which are held out."""

import json

import pytest

from rlkit.data.tasks import load_tasks
from rlkit.errors import DataError
from rlkit.inputs import _split, read_inputs
from rlkit.recipe.schema import Recipe


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
    loaded = load_tasks(recipe.data, seed=0, kinds=recipe.reward.kinds)
    train, heldout, bad = _split(recipe, loaded, None, 100)
    assert (len(train), len(heldout), len(bad)) == (20 - held_out, held_out, 0)


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
        with pytest.raises(DataError, match=r"every training task is held out by evaluation\.sources too"):
            read_inputs(recipe, tmp_path, print)
        return
    inputs = read_inputs(recipe, tmp_path, print)
    assert (len(inputs.train), len(inputs.heldout)) == (left, len(held_out))
    assert not {task.prompt for task in inputs.train} & {task.prompt for task in inputs.heldout}
    said = []
    inputs.tell(tmp_path, said.append, said.append)
    told = f"{20 - left} training tasks are held out by evaluation.sources too, and are not trained on"
    assert (told in said) == (left < 20)


def test_stages_learn_from_the_same_demonstrations_in_other_orders(tiny_model, tmp_path):
    stage = {"kind": "sft", "steps": 2, "batch_size": 8, "data": {"path": "builtin:quickstart-demos?rows=40"}}
    recipe = Recipe.model_validate(
        {"model": {"path": str(tiny_model)}, "data": stage["data"], "stages": [stage, stage]}
    )
    inputs = read_inputs(recipe, tmp_path, print)
    first, again, second = (inputs.demonstrations_in_order(recipe, i) for i in (0, 0, 1))
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
    read_inputs(recipe, tmp_path, print)
    made = {path.name for path in (tmp_path / "start").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= made <= {path.name for path in synced}
    assert "left by a kill" not in made
