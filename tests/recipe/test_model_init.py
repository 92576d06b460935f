"""The shape of a model made from nothing follows from the keys that are given."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rlkit.recipe.schema import ModelInitKeys, Recipe
from rlkit.recipe.schema.model_section import HEAD_SIZES

SHAPES: list[tuple[dict[str, int], tuple[int, int, int, int]]] = [
    # given -> hidden_size, num_heads, num_kv_heads, intermediate_size
    ({}, (128, 4, 2, 384)),
    ({"hidden_size": 64}, (64, 2, 1, 192)),
    ({"hidden_size": 96}, (96, 3, 1, 288)),
    ({"hidden_size": 256}, (256, 4, 2, 768)),
    ({"hidden_size": 2048}, (2048, 16, 8, 6144)),
    ({"num_heads": 8}, (256, 8, 4, 768)),
    ({"num_kv_heads": 4}, (128, 4, 4, 384)),
    ({"num_kv_heads": 3}, (96, 3, 3, 288)),
    ({"hidden_size": 192, "num_heads": 6}, (192, 6, 3, 576)),
    ({"hidden_size": 64, "intermediate_size": 100}, (64, 2, 1, 100)),
]


@pytest.mark.parametrize(("keys", "shape"), SHAPES)
def test_what_is_left_out_follows_from_what_is_given(keys: dict[str, int], shape: tuple[int, ...]) -> None:
    init = ModelInitKeys.model_validate(keys)
    assert (init.hidden_size, init.num_heads, init.num_kv_heads, init.intermediate_size) == shape


@given(st.integers(1, 512).map(lambda n: 32 * n))
def test_every_allowed_width_alone_makes_a_model_that_the_engine_can_run(hidden: int) -> None:
    init = ModelInitKeys(hidden_size=hidden)
    assert init.hidden_size == hidden
    assert init.hidden_size // init.num_heads in HEAD_SIZES


@given(st.integers(1, 512), st.booleans())
def test_every_allowed_number_of_heads_alone_makes_a_model_that_the_engine_can_run(heads: int, of_keys: bool) -> None:
    init = ModelInitKeys(num_kv_heads=heads) if of_keys else ModelInitKeys(num_heads=heads)
    assert (init.num_kv_heads if of_keys else init.num_heads) == heads


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"hidden_size": 96, "num_kv_heads": 2}, "num_kv_heads=2 does not divide num_heads=3: choose one of 1, 3"),
        ({"num_heads": 6, "num_kv_heads": 4}, "choose one of 1, 2, 3, 6"),
        ({"hidden_size": 64, "num_heads": 4}, "hidden_size=64 / num_heads=4 = 16 is not a head size"),
        ({"hidden_size": 1024, "num_heads": 2}, "with this hidden_size set num_heads to 4, 8, 16, 32; or leave it"),
    ],
)
def test_heads_that_do_not_fit_are_refused_with_those_that_do(keys: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ModelInitKeys.model_validate(keys)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("sections", "context"),
    [
        ({}, 512),
        ({"rollout": {"max_tokens": 400}}, 1024),
        ({"rollout": {"max_tokens": 2048}}, 4096),
        ({"rollout": {"engine": {"max_model_len": 3000}}}, 4096),
        ({"data": {"path": "builtin:quickstart", "max_prompt_tokens": 300}}, 1024),
        ({"stages": [{"kind": "sft", "max_length": 2000}]}, 2048),
        ({"model": {"init": {"max_position_embeddings": 700}}}, 700),
    ],
)
def test_the_context_holds_the_longest_sequence_of_the_recipe(sections: dict[str, Any], context: int) -> None:
    base: dict[str, Any] = {
        "model": {"init": {}},
        "data": {"path": "builtin:quickstart"},
        "stages": [{"kind": "grpo", "steps": 1}],
    }
    init = Recipe.model_validate(base | sections).model.init
    assert init is not None
    assert init.max_position_embeddings == context
