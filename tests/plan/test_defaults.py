"""Keys that a recipe does not give follow from its model and the machine; keys that it gives stay."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlkit.plan.defaults import MIN_MICROBATCH_TOKENS, fill_in_defaults, store_needed_mb, worked_out
from rlkit.plan.machine import Machine
from rlkit.plan.make_plan import Plan, make_plan
from rlkit.plan.memory import GIB
from rlkit.plan.model_size import size_of
from rlkit.plan.stage_plan import RowCounts
from rlkit.recipe.schema import Recipe

TWO_CORES = Machine(cpus=2, memory_gib=22, shm_gib=20, disk_gib=100)
# 135 million weights, as SmolLM2's: 30 layers of width 576, 49,152 tokens, 8,192 positions.
MIDDLING = {
    "vocab_size": 49_152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_layers": 30,
    "num_heads": 9,
    "num_kv_heads": 3,
    "max_position_embeddings": 8192,
}


def recipe(init: dict[str, Any] | None = None, **sections: Any) -> Recipe:
    base: dict[str, Any] = {
        "model": {"init": init or {}},
        "data": {"path": "builtin:quickstart"},
        "stages": [{"kind": "grpo", "steps": 3}],
    }
    return Recipe.model_validate(base | sections)


def settled(machine: Machine = TWO_CORES, init: dict[str, Any] | None = None, **sections: Any) -> Recipe:
    return fill_in_defaults(recipe(init, **sections), machine)


def plan_of(machine: Machine = TWO_CORES, init: dict[str, Any] | None = None, **sections: Any) -> Plan:
    return make_plan(recipe(init, **sections), machine=machine)


def test_a_model_of_135_million_weights_runs_on_two_cores_without_a_key_about_the_machine() -> None:
    plan = plan_of(
        init=MIDDLING,
        stages=[{"kind": "grpo", "steps": 1, "prompts_per_step": 64, "samples_per_prompt": 8}],
        rollout={"max_tokens": 512},
    )
    assert plan.refusals == ()
    keys = plan.recipe
    assert keys.cluster.store_mb == 3 * 4 * 134_515_008 // 2**20 + 1 + 128
    assert (keys.rollout.num_engines, keys.rollout.num_threads) == (1, 2)
    assert keys.learner.num_threads == 2
    assert keys.rollout.cache_gib == 4.0
    assert "max_model_len" not in keys.rollout.engine  # the cache holds all of the context
    assert keys.learner.microbatch_tokens == 4096
    # 512 samples of up to 512 tokens: no deadline of a small model's.
    assert keys.rollout.deadline_s > 600
    assert keys.learner.deadline_s > 1800


@pytest.mark.parametrize(
    ("sections", "cpus", "engine", "learner"),
    [
        ({}, 2, 1, 2),  # two engines of a small model
        ({"rollout": {"num_workers": 1}}, 2, 2, 2),
        ({"rollout": {"num_workers": 1}}, 1, 1, 1),
        ({"rollout": {"num_workers": 3}}, 8, 2, 8),
        ({"rollout": {"num_workers": 1}}, 64, 8, 8),
        ({"rollout": {"num_workers": 4}}, 2, 1, 2),
        ({"learner": {"num_workers": 2}}, 2, 1, 1),
        ({"learner": {"num_workers": 2}}, 8, 4, 4),
        ({"learner": {"num_workers": 4}, "cluster": {"address": "auto"}}, 8, 1, 8),
        ({"rollout": {"num_workers": 1, "threads": 1}, "learner": {"threads": 1}}, 2, 1, 1),
    ],
)
def test_engines_share_out_all_cores_and_so_do_ranks(
    sections: dict[str, Any], cpus: int, engine: int, learner: int
) -> None:
    keys = settled(replace(TWO_CORES, cpus=cpus), **sections)
    assert (keys.rollout.num_threads, keys.learner.num_threads) == (engine, learner)


@given(st.integers(1, 128), st.floats(8, 500), st.floats(0.5, 100), st.booleans())
def test_a_deterministic_runs_numbers_do_not_follow_the_machine(
    cpus: int, memory: float, shm: float, bfloat16: bool
) -> None:
    machine = Machine(cpus=cpus, memory_gib=memory, shm_gib=shm, disk_gib=100, bfloat16=bfloat16)
    here, there = (settled(m, init=MIDDLING, run={"deterministic": True}) for m in (TWO_CORES, machine))
    assert here.rollout == there.rollout
    assert here.learner == there.learner
    assert (here.rollout.num_engines, here.rollout.num_threads, here.learner.num_threads) == (1, 1, 1)
    assert here.learner.microbatch_tokens == 4096


GIVEN: dict[str, dict[str, Any]] = {
    "rollout": {"num_workers": 3, "threads": 5, "gpus_per_worker": 0.0, "kv_cache_gb": 0.75, "timeout_s": 77.0},
    "learner": {
        "threads": 7,
        "gpus_per_worker": 0.0,
        "precision": "bfloat16",
        "tokens_per_microbatch": 333,
        "timeout_s": 88.0,
    },
    "cluster": {"object_store_mb": 999},
}


def test_keys_that_a_recipe_gives_stay() -> None:
    sections = {**GIVEN, "stages": [{"kind": "sft", "max_length": 99}, {"kind": "grpo", "steps": 1}]}
    given_, settled_ = recipe(**sections), settled(**sections)
    assert settled_ == given_
    assert list(worked_out(given_, settled_)) == []


def test_every_derived_key_is_reported_with_its_value() -> None:
    plan = plan_of(stages=[{"kind": "sft"}, {"kind": "grpo", "steps": 1}])
    found = {item.key: item.value for item in plan.worked_out}
    assert found["rollout.threads"] == 1
    assert found["learner.threads"] == 2
    assert found["cluster.object_store_mb"] == 256
    assert found["stages.0.max_length"] == 512
    assert all(item.why for item in plan.worked_out)
    assert plan.recipe.cluster.object_store_mb == 256
    assert make_plan(plan.recipe, machine=TWO_CORES).recipe == plan.recipe


def test_the_object_store_stops_at_shared_memory_and_is_refused_only_where_the_weights_do_not_fit() -> None:
    needed = store_needed_mb(settled(init=MIDDLING), size_of(recipe(MIDDLING).model))
    tight = replace(TWO_CORES, shm_gib=(needed + 5) / 1024)
    assert settled(tight, init=MIDDLING).cluster.store_mb == needed + 5
    assert plan_of(tight, init=MIDDLING).refusals == ()
    (refusal,) = plan_of(replace(TWO_CORES, shm_gib=1.0), init=MIDDLING).refusals
    assert f"(3 copies of the weights take {needed} MiB) is more than the 1024 MiB free in /dev/shm" in refusal
    assert "docker run --shm-size" in refusal


def test_the_micro_batch_and_then_the_cache_give_way_to_the_memory() -> None:
    roomy, tight = settled(init=MIDDLING), settled(replace(TWO_CORES, memory_gib=12), init=MIDDLING)
    assert roomy.learner.microbatch_tokens == 4096
    assert MIN_MICROBATCH_TOKENS <= tight.learner.microbatch_tokens < 4096
    assert 0.25 < tight.rollout.cache_gib < 3
    tighter = plan_of(replace(TWO_CORES, memory_gib=11), init=MIDDLING)
    assert tighter.recipe.rollout.cache_gib < tight.rollout.cache_gib
    assert tighter.refusals == ()
    (refusal,) = plan_of(replace(TWO_CORES, memory_gib=4), init=MIDDLING).refusals
    assert "for the learner" in refusal
    assert "for the engines" in refusal


def test_a_context_that_the_cache_cannot_hold_is_cut_for_the_engines() -> None:
    long = {**MIDDLING, "max_position_embeddings": 1_000_000}
    keys = settled(init=long)
    per_token = 2 * 30 * 3 * 64 * 4
    context = keys.rollout.engine["max_model_len"]
    assert context * per_token <= keys.rollout.cache_gib * GIB
    assert context > 50_000
    assert plan_of(init=long).refusals == ()
    own = settled(init=long, rollout={"engine": {"max_model_len": 4096}})
    assert own.rollout.engine == {"max_model_len": 4096}


def test_the_learner_leaves_a_shared_gpu_the_engines_part() -> None:
    gpu = replace(TWO_CORES, cpus=16, memory_gib=100, gpus_gib=(80.0,))
    assert settled(gpu, init=MIDDLING).learner.microbatch_tokens == 16_384
    small = plan_of(replace(gpu, gpus_gib=(10.0,)), init=MIDDLING)
    assert small.recipe.learner.microbatch_tokens < 16_384
    assert small.refusals == ()
    (refusal,) = plan_of(replace(gpu, gpus_gib=(3.0,)), init=MIDDLING).refusals
    assert "the largest GPU has 3.0 GiB, of which 1.7 GiB remain beside an engine" in refusal


def test_more_prompts_per_step_than_tasks_are_noted() -> None:
    rows = RowCounts(tasks=10, heldout=3, demonstrations={})
    plan = make_plan(recipe(), machine=TWO_CORES, rows=rows)
    (note,) = plan.notes
    assert "stages.0.prompts_per_step=32 is more than the 10 training tasks: every step repeats each task" in note
    assert "lower it to 10 or less" in note
