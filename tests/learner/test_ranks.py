"""Two ranks do what one does: real processes, gloo and FSDP2."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlkit.algorithm.step_arrays import Sequences, StepSamples
from rlkit.learner.ranks import Ranks
from rlkit.learner.torch_learner import Learner
from rlkit.models.pretrained import load_model
from tests.learner.updates import ALGORITHMS, expect_reference, groups_of, measured, spec_of


@pytest.mark.parametrize("name", ALGORITHMS)
@settings(deadline=None, max_examples=1, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10_000),
    # 4096: one row, so that one rank has only a row of weight 0.
    tokens_per_microbatch=st.sampled_from([40, 111, 4096]),
    checkpointing=st.booleans(),
)
def test_loss_and_gradient_of_two_ranks_equal_the_float64_reference(
    tiny_model, two_ranks, name, seed, tokens_per_microbatch, checkpointing
):
    keys = {
        "num_workers": 2,
        "tokens_per_microbatch": tokens_per_microbatch,
        "activation_checkpointing": checkpointing,
    }
    spec = spec_of(tiny_model, learner=keys, max_grad_norm=1e9, **ALGORITHMS[name])
    for found in two_ranks.call(measured, spec, seed):
        expect_reference(tiny_model, spec, seed, *found)


def trained(ranks, spec, num_steps):
    """The weights after some steps on recorded samples, and the last step's metrics."""
    learner = Learner(spec, ranks)
    for seed in range(num_steps):
        report = learner.train_step(StepSamples.of(groups_of(seed, logprob=-4.0)))
    return learner.weights(), report.metrics


@pytest.mark.parametrize("kind", ["grpo", pytest.param("ppo", marks=pytest.mark.slow)])
def test_twenty_updates_on_two_ranks_end_where_one_ends(tiny_model, two_ranks, kind):
    stage = {"kind": kind, "kl_coef": 0.05, "learning_rate": 1e-4}
    alone, _ = trained(Ranks(), spec_of(tiny_model, learner={"tokens_per_microbatch": 128}, **stage), 20)
    keys = {"num_workers": 2, "tokens_per_microbatch": 128}
    (shared, _), (nothing, _) = two_ranks.call(trained, spec_of(tiny_model, learner=keys, **stage), 20)
    assert nothing == {}
    assert list(shared) == list(alone)
    ours, theirs = (torch.cat([w.double().flatten() for w in x.values()]) for x in (shared, alone))
    start = torch.cat([p.detach().double().flatten() for p in load_model(str(tiny_model)).parameters()])
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-4 < float((start - theirs).norm() / theirs.norm()) / 10


def logprobs(ranks, spec, seed):
    return Learner(spec, ranks).logprobs_of(Sequences.of(groups_of(seed)[0].samples))


@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_two_ranks_in_bfloat16_stay_near_one(tiny_model, two_ranks, kind):
    keys = {"num_workers": 2, "precision": "bfloat16"}
    spec = spec_of(tiny_model, kind=kind, learner=keys)
    rows = two_ranks.call(logprobs, spec, 5)[0]
    full = logprobs(Ranks(), spec_of(tiny_model), 5)
    gap = max(abs(a - b) for x, y in zip(rows, full, strict=True) for a, b in zip(x, y, strict=True))
    assert 0 < gap < 0.1
    _, ours, found = two_ranks.call(measured, spec, 5)[0]
    _, theirs, expected = measured(Ranks(), spec_of(tiny_model, kind=kind, learner={"precision": "bfloat16"}), 5)
    assert ours["learner/grad_norm"] == pytest.approx(theirs["learner/grad_norm"], rel=0.05)
    for name, gradient in expected.items():
        assert found[name].dtype == gradient.dtype
        assert float((found[name] - gradient).norm() / gradient.norm()) < 0.05
