"""The plan's arithmetic against numbers worked out by hand, and what it refuses."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlkit.plan.defaults import fill_in_defaults
from rlkit.plan.machine import Machine
from rlkit.plan.make_plan import Plan, make_plan
from rlkit.plan.memory import LOGITS_ROWS
from rlkit.plan.model_size import count_parameters, shape_of_config, shape_of_init, size_of
from rlkit.plan.stage_plan import RowCounts
from rlkit.recipe.load import load_recipe
from rlkit.recipe.schema import EvaluationKeys, ModelInitKeys, ModelKeys, Recipe

MACHINE = Machine(cpus=4, memory_gib=16, shm_gib=8, disk_gib=100)
GIB = 2**30


def recipe(**sections: Any) -> Recipe:
    base: dict[str, Any] = {
        "model": {"init": {}},
        "data": {"path": "builtin:quickstart"},
        "stages": [{"kind": "grpo", "steps": 3}],
    }
    return Recipe.model_validate(base | sections)


def plan_of(machine: Machine = MACHINE, rows: RowCounts | None = None, **sections: Any) -> Plan:
    return make_plan(recipe(**sections), machine=machine, rows=rows)


def test_the_arithmetic_of_a_recipe_is_what_one_works_out_by_hand() -> None:
    plan = plan_of(
        rows=RowCounts(tasks=800, heldout=200, demonstrations={0: 800}),
        stages=[
            {"kind": "sft", "epochs": 2.0, "batch_size": 100},
            {"kind": "grpo", "steps": 10, "prompts_per_step": 16, "samples_per_prompt": 4, "updates_per_step": 2},
        ],
        rollout={"max_tokens": 50},
    )
    sft, grpo = plan.stages
    assert plan.tasks == 800
    assert (sft.name, sft.steps, sft.updates, sft.prompts, sft.samples) == ("stage-0-sft", 16, 16, 1600, 0)
    assert (grpo.name, grpo.steps, grpo.updates, grpo.prompts) == ("stage-1-grpo", 10, 20, 160)
    assert (grpo.samples_per_step, grpo.samples) == (64, 640)
    assert (grpo.max_tokens_per_step, grpo.max_tokens) == (3200, 32_000)
    assert grpo.steps_per_epoch == 50
    assert plan.refusals == ()


def test_what_is_not_known_is_null_with_a_reason() -> None:
    plan = plan_of(model={"path": "org/name"}, stages=[{"kind": "sft"}, {"kind": "grpo", "steps": 1}])
    assert plan.parameters is None
    assert "org/name" in plan.parameters_unknown
    assert plan.tasks is None
    assert plan.stages[0].steps is None
    assert plan.total_memory_gib is None
    assert plan.refusals == ()
    assert json.loads(plan.to_json())["memory"]["learner_gib"] is None


def test_memory_is_four_float32_copies_of_the_weights_and_the_activations() -> None:
    memory = plan_of().memory
    parameters = size_of(ModelKeys(init=ModelInitKeys())).parameters
    assert parameters is not None
    assert memory.weights_gib == pytest.approx(4 * parameters / GIB)
    assert memory.gradients_gib == pytest.approx(4 * parameters / GIB)
    assert memory.optimizer_gib == pytest.approx(8 * parameters / GIB)
    # 4096 tokens x 4 layers x (12 x 128 + 4 x 384) float32, 3 x 512 x 384 float32 around the logits, and the gradient
    # of the 384 x 128 output layer
    activations = 4096 * 4 * (12 * 128 + 4 * 384) * 4 + 4 * 3 * 512 * 384 + 4 * 384 * 128
    assert memory.activations_gib == pytest.approx(activations / GIB)
    # Only attention by a mask needs one, 4096 x 4096 float32.
    masked = plan_of(learner={"attention": "sdpa"}).memory.activations_gib
    assert masked == pytest.approx((activations + 4 * 4096**2) / GIB)
    checkpointed = plan_of(learner={"activation_checkpointing": True}).memory.activations_gib
    assert checkpointed is not None
    assert checkpointed < activations / GIB
    reference = plan_of(stages=[{"kind": "grpo", "steps": 3, "kl_coef": 0.1}]).memory.weights_gib
    assert reference == pytest.approx(8 * parameters / GIB)


def test_the_logits_chunk_is_the_learners_own() -> None:
    logprobs = pytest.importorskip("rlkit.algorithm.logprobs")
    assert logprobs.CHUNK_TOKENS == LOGITS_ROWS


def test_placement_names_every_actor_once() -> None:
    plan = plan_of(rollout={"num_workers": 3, "threads": 2}, reward={"runtime": {"num_workers": 2}})
    assert [(a.name, a.count, a.threads) for a in plan.actors] == [
        ("driver", 1, 1),
        ("rollout-0..2", 3, 2),
        ("scorer-0..1", 2, 1),
        ("learner-0", 1, 4),
    ]
    assert any("6 threads share 4 cores" in note for note in plan.notes)
    assert plan_of(run={"deterministic": True}).actors[-1].threads == 1
    assert [a.name for a in plan_of(stages=[{"kind": "sft"}]).actors] == ["driver", "learner-0"]


OWN = {"plugin": "reward_model", "weight": 0.1, "path": "x"}


def test_a_rewards_own_actors_are_placed_and_leave_the_others_the_rest_of_the_gpus() -> None:
    reward = {"rm": {**OWN, "actors": {"num_workers": 2, "gpus": 0.5}}, "small": {**OWN, "actors": {}}}
    two = plan_of(replace(MACHINE, gpus_gib=(80.0, 80.0)), reward=reward)
    assert {a.name: (a.count, a.gpus) for a in two.actors} == {
        "driver": (1, 0),
        "rollout-0": (1, 0.5),
        "scorer-0": (1, 0),
        "scorer-rm-0..1": (2, 0.5),
        "scorer-small-0": (1, 0),
        "learner-0": (1, 0.5),
    }
    assert two.refusals == ()
    (refusal,) = plan_of(reward=reward).refusals
    assert "learner.gpus_per_worker = 0, the reward's own actors = 1) and no CUDA device is visible" in refusal


def test_only_own_actors_need_no_scorer() -> None:
    parts = {**dict.fromkeys(("reasoning", "format", "efficiency")), "accuracy": {"actors": {}}}
    actors = plan_of(reward=parts, rollout={"num_workers": 1}).actors
    assert [a.name for a in actors] == ["driver", "rollout-0", "scorer-accuracy-0", "learner-0"]


@pytest.mark.parametrize(
    ("machine", "sections", "engines"),
    [
        ({}, {}, 2),
        ({"cpus": 1}, {}, 1),
        ({"cpus": 4}, {"rollout": {"threads": 3}}, 1),
        ({"memory_gib": 10}, {}, 1),
        ({}, {"run": {"name": "exact", "deterministic": True}}, 1),
        ({"gpus_gib": (80.0,)}, {}, 1),
        ({}, {"rollout": {"num_workers": 3}}, 3),
    ],
)
def test_two_engines_by_default_where_cpus_and_memory_are_there(
    machine: dict[str, Any], sections: dict[str, Any], engines: int
) -> None:
    assert fill_in_defaults(recipe(**sections), replace(MACHINE, **machine)).rollout.num_engines == engines


CONFIGS = [
    {},
    {"architecture": "qwen3", "hidden_size": 192, "num_heads": 6, "num_kv_heads": 3, "num_layers": 2},
    {"architecture": "qwen2", "tie_word_embeddings": False, "num_kv_heads": 4, "vocab_size": 1000},
    {"architecture": "qwen3", "tie_word_embeddings": False, "num_layers": 1, "intermediate_size": 100},
]


@pytest.mark.parametrize("keys", CONFIGS)
def test_parameters_are_counted_as_transformers_counts_them(keys: dict[str, Any], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    init = ModelInitKeys.model_validate(keys)
    config = transformers.AutoConfig.for_model(
        init.architecture,
        vocab_size=init.vocab_size,
        hidden_size=init.hidden_size,
        intermediate_size=init.intermediate_size,
        num_hidden_layers=init.num_layers,
        num_attention_heads=init.num_heads,
        num_key_value_heads=init.num_kv_heads,
        head_dim=init.hidden_size // init.num_heads,
        max_position_embeddings=init.max_position_embeddings,
        tie_word_embeddings=init.tie_word_embeddings,
    )
    model = transformers.AutoModelForCausalLM.from_config(config)
    assert count_parameters(shape_of_init(init)) == model.num_parameters()
    model.save_pretrained(tmp_path)
    size = size_of(ModelKeys(path=str(tmp_path)))
    assert size.parameters == model.num_parameters()
    assert size.shape == shape_of_init(init)


def test_a_folder_without_weights_is_counted_from_its_config(tmp_path: Path) -> None:
    config = {
        "model_type": "qwen2",
        "vocab_size": 151_936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32_768,
        "tie_word_embeddings": True,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    size = size_of(ModelKeys(path=str(tmp_path)))
    assert size.parameters == 494_032_768  # Qwen2.5-0.5B
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "strange"}))
    size = size_of(ModelKeys(path=str(tmp_path)))
    assert size.parameters is None
    assert "no readable .safetensors" in size.reason


@pytest.mark.parametrize("content", [b"", b"\x00" * 8, struct.pack("<Q", 5) + b"nojso", struct.pack("<Q", 2) + b"[]"])
def test_a_broken_weight_file_is_not_counted(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(content)
    assert size_of(ModelKeys(path=str(tmp_path))).parameters is None
    assert shape_of_config({"model_type": "qwen2", "num_attention_heads": 0}) is None


REFUSED: dict[str, tuple[Machine, dict[str, Any], str]] = {
    "no gpu": (
        MACHINE,
        {"rollout": {"num_workers": 2, "gpus_per_worker": 2}, "learner": {"gpus_per_worker": 1}},
        "the recipe asks for 5 GPUs (rollout.num_workers x rollout.gpus_per_worker = 4, learner.gpus_per_worker = 1) "
        "and no CUDA device is visible here",
    ),
    "too few gpus": (
        replace(MACHINE, gpus_gib=(80.0,)),
        {"rollout": {"gpus_per_worker": 1}, "learner": {"gpus_per_worker": 1}},
        "and 1 are visible here: set them to 0",
    ),
    "gpu too small": (
        replace(MACHINE, gpus_gib=(0.5,)),
        {"learner": {"gpus_per_worker": 1}},
        "the largest GPU has 512 MiB: lower learner.tokens_per_microbatch",
    ),
    "memory": (
        replace(MACHINE, memory_gib=2),
        {},
        "only 2.0 GiB are free here: set learner.activation_checkpointing, train adapters (learner.lora) or use a",
    ),
    "shared memory": (
        replace(MACHINE, shm_gib=0.0625),
        {},
        "cluster.object_store_mb=80 (3 copies of the weights take 10 MiB) is more than the 64 MiB free in /dev/shm",
    ),
    "object store": (
        MACHINE,
        {"model": {"init": {"hidden_size": 1024, "num_layers": 4}}, "cluster": {"object_store_mb": 256}},
        "cluster.object_store_mb=256 is too small for a weight sync, which needs 3 copies of the weights",
    ),
    "cache": (
        MACHINE,
        {"rollout": {"kv_cache_gb": 0.0005}},
        "rollout.kv_cache_gb=0.0005 cannot hold one sequence of 512 tokens (1 MiB)",
    ),
    "engine's context": (
        MACHINE,
        {"rollout": {"max_tokens": 64, "engine": {"max_model_len": 64}}},
        "rollout.max_tokens=64 leaves no room for a prompt in rollout.engine.max_model_len of 64 tokens",
    ),
    "prompt and reply": (
        MACHINE,
        {
            "data": {"path": "builtin:quickstart", "max_prompt_tokens": 300},
            "model": {"init": {"max_position_embeddings": 512}},
        },
        "data.max_prompt_tokens=300 and rollout.max_tokens=256 need 556 tokens, more than the model's context of 512",
    ),
    "disk": (replace(MACHINE, disk_gib=0.01), {}, "but only 10 MiB of disk are free: choose another --run-dir"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_run_here_is_refused_with_what_would_have_to_change(name: str) -> None:
    machine, sections, expected = REFUSED[name]
    (refusal,) = plan_of(machine, **sections).refusals
    assert expected in refusal


def test_a_reward_that_depends_on_time_is_refused_in_a_deterministic_run() -> None:
    (refusal,) = plan_of(run={"deterministic": True}, reward={"efficiency": {"cpu_time_share": 0.5}}).refusals
    assert refusal.startswith("reward.efficiency.cpu_time_share=0.5 makes rewards depend on time")
    (refusal,) = plan_of(run={"deterministic": True}, reward={"rm": {**OWN, "actors": {}}}).refusals
    assert refusal.startswith("reward.rm.actors.groups_per_call=8 makes the groups of one call depend on time")
    alone = {"rm": {**OWN, "actors": {"groups_per_call": 1}}}
    assert plan_of(run={"deterministic": True}, reward=alone).refusals == ()


@given(st.integers(0, 10**6))
def test_a_holdout_that_is_left_out_is_a_share_with_a_least_and_a_most(num_tasks: int) -> None:
    held_out = EvaluationKeys().num_held_out(num_tasks)
    assert 0 <= held_out <= min(256, num_tasks // 4)
    assert held_out >= min(256, num_tasks // 10)
    assert held_out >= min(16, num_tasks // 4)
    assert EvaluationKeys(holdout=7).num_held_out(num_tasks) == 7
    assert EvaluationKeys(sources=[]).num_held_out(num_tasks) == 0


def test_a_clusters_machines_are_not_judged_by_this_one() -> None:
    tiny = Machine(cpus=1, memory_gib=0.1, shm_gib=0, disk_gib=100)
    plan = plan_of(tiny, cluster={"address": "auto"}, rollout={"gpus_per_worker": 8})
    assert plan.refusals == ()
    assert "Ray places the actors on the cluster auto" in plan.notes[0]


def test_this_machine_can_be_read() -> None:
    machine = Machine.detect(Path("not/there/yet"))
    assert machine.cpus >= 1
    assert machine.memory_gib > 0
    assert machine.disk_gib > 0


def test_hidden_gpus_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlkit.plan.machine._nvidia_smi", lambda: (80.0, 80.0, 80.0))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert Machine.detect().gpus_gib == (80.0, 80.0, 80.0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2")
    assert len(Machine.detect().gpus_gib) == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert Machine.detect().gpus_gib == ()


def test_a_containers_limits_cut_the_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "memory.max").write_text(str(3 * 2**20))
    (tmp_path / "memory.current").write_text(str(2**20))
    monkeypatch.setattr("rlkit.plan.machine._CGROUP", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    machine = Machine.detect()
    assert machine.cpus == 2
    assert machine.memory_gib == pytest.approx(2 * 2**20 / GIB)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert Machine.detect().cpus == 64


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml")), ids=lambda path: path.name
)
def test_every_recipe_of_the_repository_has_a_plan(path: Path) -> None:
    recipe = load_recipe(path, ()).recipe
    assert make_plan(recipe, machine=MACHINE).stages


def test_precision_follows_the_machine_where_the_recipe_leaves_it_out() -> None:
    """A deterministic run's does not: in float32 alone no number depends on what is drawn together."""
    fast = replace(MACHINE, bfloat16=True)
    assert fill_in_defaults(recipe(), MACHINE).learner.precision == "float32"
    assert fill_in_defaults(recipe(), fast).learner.precision == "bfloat16"
    assert fill_in_defaults(recipe(run={"deterministic": True}), fast).learner.precision == "float32"
    assert fill_in_defaults(recipe(learner={"precision": "float32"}), fast).learner.precision == "float32"
    assert fill_in_defaults(recipe(), replace(MACHINE, gpus_gib=(80.0, 80.0))).learner.precision == "bfloat16"


def test_dynamic_sampling_and_settings_without_effect_are_noted() -> None:
    stages = [
        {"kind": "grpo", "steps": 3, "preset": "dapo", "dynamic_sampling_rounds": 4},
        {"kind": "grpo", "steps": 3, "kl_coef": 0.1, "kl": "k1"},
        {"kind": "grpo", "steps": 3, "kl_coef": 0.1, "kl": "k1", "kl_weighted": True, "warmup_steps": 4},
        {"kind": "ppo", "steps": 5, "critic": {"warmup_only": 2}, "warmup_steps": 4, "old_logprobs": "learner"},
    ]
    notes = "\n".join(plan_of(stages=stages, checkpoint={"keep_best": 2}).notes)
    assert "checkpoint.keep_best=2 has no effect" in notes
    assert "stages.0 uses dynamic sampling: it may sample up to 4 times as many prompts" in notes
    assert "stages.1.kl=k1 in the loss has a gradient that does not depend on the reference" in notes
    assert "stages.2.kl=k1" not in notes  # with kl_weighted it does
    assert "stages.2.warmup_steps=4 is more than the policy's 3 updates" in notes
    assert "stages.3.warmup_steps=4 is more than the policy's 3 updates" in notes
    assert "stages.3.old_logprobs=learner with one update per step compares the policy with itself" in notes
    stages = [{"kind": "grpo", "steps": 3, "kl": "k2"}, {"kind": "grpo", "steps": 4, "kl_in": "reward", "kl_coef": 0.1}]
    notes = "\n".join(plan_of(stages=stages, evaluation={"holdout": 2, "every": 3}).notes)
    assert "stages.0.kl=k2 and kl_in=loss have no effect: with kl_coef=0 there is no KL" in notes
    assert "evaluation.every=3 has no effect inside stages.0, which has only 3 steps" in notes
    assert "stages.1" not in notes
    assert plan_of().notes == ()
