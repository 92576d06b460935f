"""Which tasks are learned from and which are held out."""

import pytest

from rlkit.data.tasks import load_tasks
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
