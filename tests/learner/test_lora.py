"""Adapters: the same maths as merged weights, for the update, the engines, the saved model and a resume."""

import importlib.util

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.distributed.checkpoint.filesystem import FileSystemReader
from transformers import AutoModelForCausalLM

from rlkit.algorithm.step_arrays import Sequences, StepSamples
from rlkit.errors import RecipeError
from rlkit.learner.lora import adapted
from rlkit.learner.ranks import Ranks
from rlkit.learner.torch_learner import Learner
from rlkit.models.pretrained import load_model
from tests.learner.mixtures import FAMILIES, save_mixture
from tests.learner.updates import expect_reference, groups_of, measured, moved, spec_of

LORA = {"rank": 4, "alpha": 6}
STAGES = {
    "KL in the loss": {"kl_coef": 0.1, "kl": "k3"},
    "KL in the reward": {"kl_coef": 0.1, "kl": "k1", "kl_in": "reward", "old_logprobs": "learner"},
    "entropy": {"entropy_coef": 0.05},
    "ppo": {"kind": "ppo"},
}


@pytest.mark.parametrize("name", STAGES)
@settings(deadline=None, max_examples=2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10_000),
    num_ranks=st.sampled_from([1, 2]),
    tokens_per_microbatch=st.sampled_from([40, 4096]),
    checkpointing=st.booleans(),
    targets=st.sampled_from(["all-linear", ["q_proj", "down_proj"]]),
)
def test_loss_and_gradient_of_adapters_equal_the_float64_reference_on_merged_weights(
    tiny_model, two_ranks, name, seed, num_ranks, tokens_per_microbatch, checkpointing, targets
):
    keys = {
        "num_workers": num_ranks,
        "tokens_per_microbatch": tokens_per_microbatch,
        "activation_checkpointing": checkpointing,
        "lora": LORA | {"target_modules": targets},
    }
    spec = spec_of(tiny_model, learner=keys, max_grad_norm=1e9, **STAGES[name])
    found = two_ranks.call(measured, spec, seed) if num_ranks == 2 else [measured(Ranks(), spec, seed)]
    for one in found:
        expect_reference(tiny_model, spec, seed, *one)


def published_and_saved(ranks, spec, folder):
    """A trained learner's log-probs, its weights for the engines, and its model on disk."""
    learner = Learner(spec, ranks)
    for seed in range(3):
        learner.train_step(StepSamples.of(groups_of(seed)))
    learner.save_model(folder)
    return learner.logprobs_of(Sequences.of(groups_of(9)[0].samples)), learner.weights()


@pytest.mark.parametrize("num_ranks", [1, 2])
def test_engines_and_the_saved_model_get_merged_weights(tiny_model, two_ranks, tmp_path, num_ranks):
    spec = spec_of(tiny_model, learner={"lora": LORA, "num_workers": num_ranks}, learning_rate=1e-2)
    run = two_ranks.call if num_ranks == 2 else lambda f, *args: [f(Ranks(), *args)]
    rows, weights = run(published_and_saved, spec, tmp_path / "model")[0]
    plain = load_model(str(tiny_model))
    assert list(weights) == [name for name, _ in plain.named_parameters()]
    assert not torch.equal(weights["model.layers.0.mlp.up_proj.weight"], plain.model.layers[0].mlp.up_proj.weight)
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    assert all(torch.equal(p, weights[name]) for name, p in saved.named_parameters())
    merged = Learner(spec_of(tmp_path / "model")).logprobs_of(Sequences.of(groups_of(9)[0].samples))
    for ours, theirs in zip(rows, merged, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


def test_only_adapters_are_in_the_optimizer_and_the_state(tiny_model, tmp_path):
    learner = Learner(spec_of(tiny_model, learner={"lora": LORA}, kl_coef=0.1, reference_every=2))
    base = load_model(str(tiny_model)).model.layers[1].mlp.gate_proj.weight
    for seed in range(3):
        learner.train_step(StepSamples.of(groups_of(seed)))
    assert torch.equal(learner.policy.model.model.layers[1].mlp.gate_proj.base_layer.weight, base)
    optimized = {id(p) for group in learner.optimizer.param_groups for p in group["params"]}
    assert optimized == {id(p) for name, p in learner.policy.named_parameters() if ".lora_" in name}
    learner.begin_save(tmp_path / "state").wait()
    saved = FileSystemReader(tmp_path / "state").read_metadata().state_dict_metadata
    assert all(".lora_" in name for name in saved if name.startswith("policy"))
    assert sum(name.startswith("reference/") for name in saved) == len(optimized)


@pytest.mark.parametrize("num_ranks", [1, 2])
def test_a_learner_with_adapters_continues_bitwise(tiny_model, two_ranks, tmp_path, num_ranks):
    keys = {"lora": LORA, "num_workers": num_ranks}
    spec = spec_of(tiny_model, learner=keys, kl_coef=0.1, reference_every=3, lr_schedule="linear")
    run = two_ranks.call if num_ranks == 2 else lambda f, *args: [f(Ranks(), *args)]
    whole = run(steps_from, spec, tmp_path / "state", 0)[0]
    resumed = run(steps_from, spec, tmp_path / "state", 2)[0]
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def steps_from(ranks, spec, folder, first):
    """Weights after 5 steps; saved after the second, or gone on from there."""
    learner = Learner(spec, ranks)
    if first:
        learner.load_state(folder)
    for step in range(first, 5):
        if step == 2 and not first:
            learner.begin_save(folder).wait()
        learner.train_step(StepSamples.of(groups_of(step)))
    return learner.weights()


def test_the_reference_is_the_base_until_it_is_refreshed(tiny_model):
    learner = Learner(spec_of(tiny_model, learner={"lora": LORA}, kl_coef=0.1))
    samples = groups_of(4)[0].samples
    start = Learner(spec_of(tiny_model)).logprobs_of(Sequences.of(samples))
    moved(learner.policy, 3, only=".lora_")
    now = learner.logprobs_of(Sequences.of(samples))
    kept = reference_logprobs(learner, samples)
    assert kept == start != now
    assert learner.logprobs_of(Sequences.of(samples)) == now  # looking at the reference left the policy as it was
    learner.reference.refresh()
    assert reference_logprobs(learner, samples) == now


def reference_logprobs(learner, samples):
    policy, learner.policy = learner.policy, learner.reference
    try:
        return learner.logprobs_of(Sequences.of(samples))
    finally:
        learner.policy = policy


@pytest.mark.parametrize("kind", FAMILIES)
def test_adapters_of_a_mixture_are_on_its_linear_layers(tiny_model, tmp_path, kind):
    save_mixture(kind, tiny_model, tmp_path / kind)
    learner = Learner(spec_of(tmp_path / kind, learner={"lora": LORA}, learning_rate=1e-2))
    names = {name.rpartition(".")[2] for name, _ in adapted(learner.policy.model)}
    assert {"q_proj", "k_proj", "v_proj", "o_proj"} <= names
    assert "experts" not in names
    samples = groups_of(9)[0].samples
    before = learner.logprobs_of(Sequences.of(samples))
    learner.train_step(StepSamples.of(groups_of(0)))
    assert learner.logprobs_of(Sequences.of(samples)) != before
    learner.save_model(tmp_path / "saved")
    merged = Learner(spec_of(tmp_path / "saved")).logprobs_of(Sequences.of(samples))
    for ours, theirs in zip(learner.logprobs_of(Sequences.of(samples)), merged, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize("targets", [["embed_tokens"], ["lm_head"], ["no_such_layer"]])
def test_layers_that_cannot_have_an_adapter_are_refused(tiny_model, targets):
    spec = spec_of(tiny_model, learner={"lora": LORA | {"target_modules": targets}})
    with pytest.raises(RecipeError, match=r"learner\.lora\.target_modules"):
        Learner(spec)


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_a_four_bit_base_is_unpacked_for_engines_and_the_saved_model(tiny_model, tmp_path):
    spec = spec_of(tiny_model, learner={"lora": LORA | {"quantize": "nf4"}}, learning_rate=1e-2, kl_coef=0.1)
    rows, weights = published_and_saved(Ranks(), spec, tmp_path / "model")
    plain = dict(load_model(str(tiny_model)).named_parameters())
    assert list(weights) == list(plain)
    name = "model.layers.0.mlp.up_proj.weight"
    assert 0.01 < float((weights[name] - plain[name].detach()).norm() / plain[name].detach().norm()) < 0.5
    merged = Learner(spec_of(tmp_path / "model")).logprobs_of(Sequences.of(groups_of(9)[0].samples))
    for ours, theirs in zip(rows, merged, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_a_four_bit_base_without_the_library_is_one_clear_error(tiny_model):
    spec = spec_of(tiny_model, learner={"lora": LORA | {"quantize": "nf4"}})
    with pytest.raises(RecipeError, match="bitsandbytes"):
        Learner(spec)
