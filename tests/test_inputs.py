"""Which tasks are learned from and which are held out."""

import pytest

from rlkit.data.tasks import load_tasks
from rlkit.inputs import _split
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
