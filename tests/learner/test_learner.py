"""The update equals a plain, padded, one-sequence-at-a-time float64 reference, however it is packed."""

import dataclasses

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from rlkit.algorithm.batch import build_train_batch, pack, plan_packing, split_updates
from rlkit.learner.learner import Learner, LearnerSpec
from rlkit.learner.model import load_model
from rlkit.learner.optimizer import learning_rate_factor
from rlkit.recipe.schema import GrpoStage
from rlkit.recipe.schema import Learner as LearnerKeys
from rlkit.records import Sample, ScoredGroup, Task

TASK = Task("t", "math", "p", "1")


def spec_of(model, *, tokens_per_microbatch=4096, precision="float32", **stage):
    keys = LearnerKeys(tokens_per_microbatch=tokens_per_microbatch, precision=precision)
    stage = GrpoStage(kind="grpo", steps=4, **{"learning_rate": 1e-3, **stage})
    return LearnerSpec(str(model), stage, keys, 0.7, False, 1, True)


def groups_of(seed, num_groups=3, size=4, max_tokens=30, logprob=-5.0):
    g = torch.Generator().manual_seed(seed)

    def draw(low, high, n=1):
        return torch.randint(low, high, (n,), generator=g).tolist()

    groups = []
    for _ in range(num_groups):
        prompt_ids = tuple(draw(10, 300, draw(2, 20)[0]))
        samples = []
        for _ in range(size):
            ids = tuple(draw(10, 300, draw(1, max_tokens)[0]))
            logprobs = tuple(logprob - x / 10 for x in draw(0, 20, len(ids)))
            samples.append(Sample("s", "", len(ids), "stop", ids, logprobs, 0, 0, prompt_ids))
        rewards = tuple(x / 10 for x in draw(0, 11, size))
        groups.append(ScoredGroup(TASK, tuple(samples), {}, {}, rewards))
    return groups


def reference_loss(model, groups, stage, temperature):
    """One sequence at a time, in float64, by the published formulas.

    Also the smallest distance of a ratio from a bound of the clip: the loss has no derivative there, so on either side
    of it float32 and float64 rightly differ.
    """
    rows, margin = [], 1.0
    for group in groups:
        rewards = torch.tensor(group.rewards, dtype=torch.float64)
        if rewards.max() - rewards.min() < 1e-9:
            continue
        advantages = rewards - rewards.mean()
        if stage.normalize_by_std:
            advantages = advantages / (rewards.std(correction=0) + 1e-4)
        for sample, advantage in zip(group.samples, advantages, strict=True):
            ids = torch.tensor([[*sample.prompt_ids, *sample.token_ids]])
            logits = model(ids, use_cache=False).logits[0].double() / temperature
            start = len(sample.prompt_ids)
            logprobs = torch.log_softmax(logits, -1)[start - 1 : -1]
            logprobs = logprobs.gather(-1, torch.tensor(sample.token_ids)[:, None])[:, 0]
            ratio = torch.exp(logprobs - torch.tensor(sample.logprobs, dtype=torch.float64))
            bounds = torch.tensor([1 - stage.clip_low, 1 + stage.clip_high], dtype=torch.float64)
            margin = min(margin, float((ratio[:, None] - bounds).abs().min().detach()))
            held = ratio.clamp(*bounds.tolist())
            rows.append(-torch.minimum(ratio * advantage, held * advantage))
    if stage.loss_mean == "token":
        return torch.cat(rows).mean(), margin
    return torch.stack([row.mean() for row in rows]).mean(), margin


def gradient(model):
    return torch.cat([p.grad.double().flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("loss_mean", ["token", "sequence"])
@pytest.mark.parametrize("normalize", [True, False])
@settings(deadline=None, max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), tokens_per_microbatch=st.sampled_from([1, 40, 111, 4096]))
def test_loss_and_gradient_equal_a_plain_float64_reference_in_any_packing(
    tiny_model, loss_mean, normalize, seed, tokens_per_microbatch
):
    spec = spec_of(
        tiny_model,
        tokens_per_microbatch=tokens_per_microbatch,
        loss_mean=loss_mean,
        normalize_by_std=normalize,
        max_grad_norm=1e9,
    )
    learner = Learner(spec)
    groups = groups_of(seed)
    grads = {}
    learner.optimizer.register_step_pre_hook(lambda *_: grads.update(ours=gradient(learner.model)))
    report = learner.train_step(groups)

    double = load_model(str(tiny_model)).double()
    loss, margin = reference_loss(double, groups, spec.stage, spec.temperature)
    assume(margin > 1e-5)
    loss.backward()
    theirs = gradient(double)
    assert report.metrics["learner/loss"] == pytest.approx(float(loss), rel=1e-5, abs=1e-7)
    assert float((grads["ours"] - theirs).norm() / theirs.norm()) < 1e-5


def test_packed_sequences_do_not_see_each_other(tiny_model):
    learner = Learner(spec_of(tiny_model))
    samples = groups_of(5, num_groups=1, size=4)[0].samples
    alone = learner.logprobs_of(samples)
    group = ScoredGroup(TASK, samples, {}, {}, (0.0, 0.3, 0.6, 1.0))
    batch, _ = build_train_batch([group], divide_by_std=True)
    (row,) = pack(batch, tokens_per_microbatch=4096, loss_mean="token")
    with torch.no_grad():
        together, _ = learner._forward(learner.model, row)
    order = plan_packing(batch.lengths_S, 4096)[0]
    expected = torch.tensor([x for s in order for x in alone[s]])
    torch.testing.assert_close(together, expected, atol=2e-6, rtol=0)


def test_two_learners_on_the_same_samples_end_bitwise_equal(tiny_model):
    ends = []
    for _ in range(2):
        learner = Learner(spec_of(tiny_model, kl_coef=0.1, updates_per_step=2))
        for seed in range(3):
            learner.train_step(groups_of(seed))
        ends.append(learner.weights())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_a_learner_continues_exactly_from_its_saved_state(tiny_model, tmp_path):
    spec = spec_of(tiny_model, lr_schedule="linear", warmup_steps=2)
    whole, first = Learner(spec), Learner(spec)
    for seed in range(2):
        whole.train_step(groups_of(seed))
        first.train_step(groups_of(seed))
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = Learner(spec)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for learner in (whole, second):
        for seed in range(2, 4):
            learner.train_step(groups_of(seed))
    ours, theirs = second.weights(), whole.weights()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_unscored_samples_and_groups_without_spread_stay_out_and_are_counted():
    _, equal, partly = groups_of(1)
    equal = dataclasses.replace(equal, rewards=(0.5,) * 4)
    partly = dataclasses.replace(partly, rewards=(0.0, None, 1.0, None))
    batch, counts = build_train_batch([equal, partly], divide_by_std=True)
    assert (counts.groups, counts.groups_without_spread, counts.samples_unscored) == (2, 1, 2)
    assert counts.samples_used == 2
    # The baseline is the mean of the graded two: 0.5, and their std 0.5.
    assert batch.advantages_S.tolist() == pytest.approx([-1.0, 1.0], abs=1e-3)


def test_a_step_without_any_spread_changes_no_weight(tiny_model):
    learner = Learner(spec_of(tiny_model))
    before = learner.weights()
    groups = [dataclasses.replace(g, rewards=(1.0,) * 4) for g in groups_of(2)]
    report = learner.train_step(groups)
    assert report.metrics["learner/updates"] == 0
    assert report.metrics["learner/groups_without_spread"] == 3
    assert all(torch.equal(before[name], weight) for name, weight in learner.weights().items())


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 120))
def test_packing_keeps_every_sequence_once_and_the_limit(lengths, limit):
    rows = plan_packing(lengths, limit)
    assert sorted(s for row in rows for s in row) == list(range(len(lengths)))
    assert all(sum(lengths[s] for s in row) <= limit or len(row) == 1 for row in rows)


def test_packing_example_and_update_split():
    assert plan_packing([5, 4, 3, 2, 2], 8) == [[0, 2], [1, 3, 4]]
    assert [len(part) for part in split_updates(list(range(7)), 3)] == [2, 3, 2]


def test_learning_rate_warms_up_and_falls():
    stage = GrpoStage(kind="grpo", steps=10, warmup_steps=4)
    assert [learning_rate_factor(stage, u, 10) for u in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    linear = stage.model_copy(update={"lr_schedule": "linear"})
    assert learning_rate_factor(linear, 7, 10) == pytest.approx(0.5)
    cosine = stage.model_copy(update={"lr_schedule": "cosine"})
    assert learning_rate_factor(cosine, 7, 10) == pytest.approx(0.5)
    assert learning_rate_factor(cosine, 10, 10) == pytest.approx(0.0)


def test_bfloat16_autocast_stays_near_float32(tiny_model):
    samples = groups_of(5, num_groups=1)[0].samples
    full = Learner(spec_of(tiny_model)).logprobs_of(samples)
    half = Learner(spec_of(tiny_model, precision="bfloat16")).logprobs_of(samples)
    gap = max(abs(a - b) for x, y in zip(full, half, strict=True) for a, b in zip(x, y, strict=True))
    assert 0 < gap < 0.25
