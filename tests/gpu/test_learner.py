"""The learner on a GPU does what it does on a CPU: `python -m pytest -m gpu tests/gpu`."""

import os

import pytest
import torch

from rlkit.algorithm.step_arrays import Sequences, StepSamples
from rlkit.learner.ranks import Ranks
from rlkit.learner.torch_learner import Learner
from tests.learner.mixtures import FAMILIES, save_mixture
from tests.learner.updates import ALGORITHMS, expect_reference, groups_of, measured, spec_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
# As the learner's actor has it: without, cuBLAS is not deterministic.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
ON_GPU = {"gpus_per_worker": 1.0}


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("tokens_per_microbatch", [40, 4096])
def test_loss_and_gradient_equal_the_float64_reference(tiny_model, name, tokens_per_microbatch):
    keys = ON_GPU | {"tokens_per_microbatch": tokens_per_microbatch}
    spec = spec_of(tiny_model, learner=keys, max_grad_norm=1e9, **ALGORITHMS[name])
    expect_reference(tiny_model, spec, 3, *measured(Ranks(), spec, 3))


@pytest.mark.parametrize("keys", [{"lora": {"rank": 4, "alpha": 6}}, {"activation_checkpointing": True}], ids=str)
def test_adapters_and_checkpointing_equal_the_reference_too(tiny_model, keys):
    spec = spec_of(tiny_model, learner=ON_GPU | keys, max_grad_norm=1e9, kl_coef=0.1)
    expect_reference(tiny_model, spec, 3, *measured(Ranks(), spec, 3))


@pytest.mark.parametrize("precision", ["bfloat16", "bfloat16_autocast"])
def test_the_variable_length_kernel_keeps_packed_sequences_apart(tiny_model, precision):
    learner = Learner(spec_of(tiny_model, learner=ON_GPU | {"precision": precision}))
    exact = Learner(spec_of(tiny_model))
    samples = groups_of(5, num_groups=2)[0].samples
    together, alone = (
        learner.logprobs_of(Sequences.of(samples)),
        [row for s in samples for row in learner.logprobs_of(Sequences.of([s]))],
    )
    for packed, single, float32 in zip(together, alone, exact.logprobs_of(Sequences.of(samples)), strict=True):
        assert packed == pytest.approx(single, abs=0.05)
        assert packed == pytest.approx(float32, abs=0.25)
        assert packed != float32


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_twenty_updates_end_near_the_cpus(tiny_model, precision):
    ends = []
    for keys in ({}, ON_GPU | {"precision": precision}):
        learner = Learner(spec_of(tiny_model, kl_coef=0.05, learning_rate=1e-4, learner=keys))
        for seed in range(20):
            learner.train_step(StepSamples.of(groups_of(seed, logprob=-4.0)))
        ends.append(torch.cat([w.double().flatten() for w in learner.weights().values()]))
    cpu, gpu = ends
    assert float((gpu - cpu).norm() / cpu.norm()) < (1e-4 if precision == "float32" else 1e-2)


@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_a_saved_learner_goes_on_bit_for_bit(tiny_model, kind, tmp_path):
    spec = spec_of(tiny_model, kind=kind, learner=ON_GPU | {"precision": "bfloat16"}, kl_coef=0.1)
    first, second = Learner(spec), Learner(spec)
    for seed in range(3):
        first.train_step(StepSamples.of(groups_of(seed)))
    first.begin_save(tmp_path / "state").wait()
    second.load_state(tmp_path / "state")
    for learner in (first, second):
        learner.train_step(StepSamples.of(groups_of(9)))
    ours, theirs = first.weights(), second.weights()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("kind", FAMILIES)
def test_mixtures_learn_and_tell_their_load(tiny_model, kind, tmp_path):
    save_mixture(kind, tiny_model, tmp_path / kind)
    found = []
    for keys in ({}, ON_GPU):
        learner = Learner(spec_of(tmp_path / kind, learner=keys | {"router_aux_coef": 0.3}))
        found.append(learner.train_step(StepSamples.of(groups_of(4))).metrics)
    for name in ("learner/loss", "learner/grad_norm", "learner/router_loss"):
        assert found[1][name] == pytest.approx(found[0][name], rel=1e-3), name
