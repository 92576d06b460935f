"""The plan of ranks, offload, adapters and 8-bit moments."""

from dataclasses import replace
from typing import Any

import pytest

from rlkit.learner.lora import add_adapters
from rlkit.plan.memory import GIB, NF4_BYTES, adapter_weights
from rlkit.plan.model_size import size_of
from rlkit.recipe.schema import LoraKeys, ModelInitKeys, ModelKeys
from tests.plan.test_plan import MACHINE, plan_of

PARAMETERS = size_of(ModelKeys(init=ModelInitKeys())).parameters or 0
GPUS = replace(MACHINE, gpus_gib=(80.0, 80.0, 80.0))
GRPO = {"kind": "grpo", "steps": 3}


def test_ranks_share_weights_gradients_and_moments() -> None:
    one, four = plan_of().memory, plan_of(learner={"num_workers": 4}).memory
    for part in ("weights_gib", "gradients_gib", "optimizer_gib"):
        assert getattr(four, part) == pytest.approx(getattr(one, part) / 4)
    assert four.activations_gib == one.activations_gib
    assert one.gathered_gib == 0
    assert four.gathered_gib is not None
    assert four.gathered_gib > 0
    plan = plan_of(learner={"num_workers": 4, "threads": 2})
    assert [(a.name, a.count) for a in plan.actors][-1] == ("learner-0..3", 4)
    assert any("the learner's 8 threads share 4 cores" in note for note in plan.notes)


@pytest.mark.parametrize("precision", ["bfloat16", "bfloat16_autocast"])
def test_bfloat16_on_a_cpu_without_its_instructions_is_noted(precision: str) -> None:
    keys = {"learner": {"precision": precision}}
    (found,) = plan_of(**keys).notes
    assert f"learner.precision={precision}" in found
    assert "the learner and the engines may take" in found
    assert plan_of(replace(MACHINE, bfloat16=True), **keys).notes == ()
    on_gpu = {"learner": {"precision": precision, "gpus_per_worker": 1}}
    assert "so the engines may take" in plan_of(GPUS, **on_gpu).notes[0]
    assert plan_of(GPUS, **on_gpu, rollout={"gpus_per_worker": 1}).notes == ()


def test_offload_moves_what_is_kept_from_the_gpu_to_main_memory() -> None:
    keys = {"gpus_per_worker": 1}
    ours = {**keys, "precision": "float32"}
    plain = plan_of(GPUS, learner=ours, rollout=keys).memory
    moved = plan_of(GPUS, learner={**ours, "cpu_offload": True}, rollout=keys).memory
    kept = 16 * PARAMETERS / GIB
    assert plain.learner_gib is not None
    assert moved.gathered_gib is not None
    assert moved.learner_gib == pytest.approx(plain.learner_gib - kept + moved.gathered_gib)
    assert moved.learner_host_gib == pytest.approx(kept + moved.copy_gib + moved.learner_runtime_gib)


def test_a_checkpoint_is_written_from_a_copy_in_main_memory() -> None:
    copy = 12 * PARAMETERS / GIB
    here = plan_of().memory
    kept = 16 * PARAMETERS / GIB
    assert here.copy_gib == pytest.approx(copy)
    assert here.activations_gib is not None
    assert here.learner_gib == pytest.approx(kept + here.activations_gib + copy + here.learner_runtime_gib)
    there = plan_of(GPUS, learner={"gpus_per_worker": 1}, rollout={"gpus_per_worker": 1}).memory
    assert there.learner_host_gib == pytest.approx(copy + there.learner_runtime_gib)
    assert plan_of(learner={"num_workers": 4}).memory.copy_gib == pytest.approx(copy / 4)


def test_adapters_learn_in_place_of_the_weights() -> None:
    learned = adapter_weights_of(16)
    memory = plan_of(learner={"lora": {"rank": 16}}, stages=[{**GRPO, "kl_coef": 0.1}]).memory
    assert memory.weights_gib == pytest.approx((4 * PARAMETERS + 8 * learned) / GIB)
    assert memory.gradients_gib == pytest.approx(4 * learned / GIB)
    assert memory.optimizer_gib == pytest.approx(8 * learned / GIB)
    packed = plan_of(replace(MACHINE, libraries=("bitsandbytes",)), learner={"lora": {"quantize": "nf4"}}).memory
    assert packed.weights_gib is not None
    assert 4 * learned / GIB + NF4_BYTES * PARAMETERS / GIB < packed.weights_gib < 4 * PARAMETERS / GIB


def adapter_weights_of(rank: int) -> float:
    shape = size_of(ModelKeys(init=ModelInitKeys())).shape
    assert shape is not None
    return adapter_weights(shape, rank)


def test_adapters_are_counted_as_peft_makes_them() -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    init = ModelInitKeys()
    config = AutoConfig.for_model(
        init.architecture,
        vocab_size=init.vocab_size,
        hidden_size=init.hidden_size,
        intermediate_size=init.intermediate_size,
        num_hidden_layers=init.num_layers,
        num_attention_heads=init.num_heads,
        num_key_value_heads=init.num_kv_heads,
    )
    model = AutoModelForCausalLM.from_config(config)
    add_adapters(model, LoraKeys(rank=8), seed=0)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == adapter_weights_of(8)


def test_a_critic_and_eight_bit_moments_are_counted() -> None:
    two = plan_of(stages=[{"kind": "ppo", "steps": 3}]).memory
    assert two.weights_gib == pytest.approx(8 * PARAMETERS / GIB)
    assert two.optimizer_gib == pytest.approx(16 * PARAMETERS / GIB)
    machine = replace(MACHINE, libraries=("bitsandbytes",))
    small = plan_of(machine, learner={"optimizer": "adamw_8bit"}).memory
    assert small.optimizer_gib == pytest.approx(2.03125 * PARAMETERS / GIB)


def test_a_checkpoint_holds_what_learns_and_its_moments() -> None:
    def checkpoints(stage: dict[str, Any] = GRPO, **learner: Any) -> float:
        plan = plan_of(MACHINE, stages=[stage], learner=learner, checkpoint={"keep_last": 1})
        (file,) = [file for file in plan.files if file.path.endswith("checkpoints")]
        assert file.gib is not None
        return file.gib * GIB / 2  # a new one is written beside the last

    assert checkpoints() == pytest.approx(12 * PARAMETERS)
    assert checkpoints({"kind": "sft", "steps": 3}) == pytest.approx(12 * PARAMETERS)
    assert checkpoints({"kind": "ppo", "steps": 3}) == pytest.approx(24 * PARAMETERS)
    assert checkpoints({**GRPO, "kl_coef": 0.1, "reference_every": 2}) == pytest.approx(16 * PARAMETERS)
    assert checkpoints(lora={"rank": 16}) == pytest.approx(12 * adapter_weights_of(16))


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "a share of a GPU for each rank": (
        replace(MACHINE, gpus_gib=(80.0,)),
        {"num_workers": 2},
        "learner.num_workers=2 with 0.33 of a GPU each: every rank needs a whole GPU and 1 are visible here",
    ),
    "more ranks than GPUs": (
        GPUS,
        {"num_workers": 4, "gpus_per_worker": 1},
        "learner.num_workers x its gpus_per_worker = 4) and 3 are visible here",
    ),
    "offload without a GPU": (MACHINE, {"cpu_offload": True}, "learner.cpu_offload moves weights between"),
    "4-bit weights": (
        MACHINE,
        {"lora": {"quantize": "nf4"}},
        "learner.lora.quantize=nf4 needs the package bitsandbytes, which is not installed",
    ),
    "8-bit moments": (MACHINE, {"optimizer": "adamw_8bit"}, "learner.optimizer=adamw_8bit needs the package"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_learner_cannot_have_here_is_refused(name: str) -> None:
    machine, keys, expected = REFUSED[name]
    (refusal,) = plan_of(machine, learner=keys).refusals
    assert expected in refusal


@pytest.mark.parametrize("keys", [{"lora": {"quantize": "nf4"}}, {"optimizer": "adamw_8bit"}])
def test_packed_numbers_are_not_spread_over_ranks(keys: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="stores numbers in a format that can be neither sharded nor offloaded"):
        plan_of(learner={**keys, "num_workers": 2})


def test_compiling_needs_a_compiler_where_there_is_no_gpu() -> None:
    found = "learner.compile needs a C++ compiler"
    assert any(found in reason for reason in plan_of(learner={"compile": True}).refusals)
    assert plan_of(replace(MACHINE, compiler=True), learner={"compile": True}).refusals == ()
