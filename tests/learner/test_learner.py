"""The update equals a plain, padded, one-process float64 reference, for every algorithm and however it is packed."""

import dataclasses

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlkit.algorithm.batch import deal_rows, gather, pack, plan_packing, split_updates
from rlkit.algorithm.step_arrays import Sequences, StepSamples
from rlkit.errors import RecipeError
from rlkit.learner.learner_worker import LearnerWorker
from rlkit.learner.optimizer import learning_rate_factor
from rlkit.learner.ranks import Ranks
from rlkit.learner.torch_learner import Learner
from rlkit.models.init import init_model
from rlkit.recipe.schema import GrpoKeys, ModelInitKeys
from rlkit.records import Sample
from tests.learner.updates import ALGORITHMS, expect_reference, groups_of, measured, moved, spec_of, taken_gradients


@pytest.mark.parametrize("name", ALGORITHMS)
@settings(deadline=None, max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10_000),
    tokens_per_microbatch=st.sampled_from([1, 40, 111, 4096]),
    checkpointing=st.booleans(),
)
def test_loss_and_gradient_equal_a_plain_float64_reference_in_any_packing(
    tiny_model, name, seed, tokens_per_microbatch, checkpointing
):
    learner_keys = {"tokens_per_microbatch": tokens_per_microbatch, "activation_checkpointing": checkpointing}
    spec = spec_of(tiny_model, learner=learner_keys, max_grad_norm=1e9, **ALGORITHMS[name])
    expect_reference(tiny_model, spec, seed, *measured(Ranks(), spec, seed))


def test_packed_sequences_do_not_see_each_other(tiny_model):
    learner = Learner(spec_of(tiny_model))
    samples = groups_of(5, num_groups=1, size=4)[0].samples
    alone = [row for s in samples for row in learner.logprobs_of(Sequences.of([s]))]
    together = learner.logprobs_of(Sequences.of(samples))
    for ours, theirs in zip(together, alone, strict=True):
        assert ours == pytest.approx(theirs, abs=2e-6)


def test_two_learners_on_the_same_samples_end_bitwise_equal(tiny_model):
    ends = []
    for _ in range(2):
        learner = Learner(spec_of(tiny_model, kl_coef=0.1, updates_per_step=2))
        for seed in range(3):
            learner.train_step(StepSamples.of(groups_of(seed)))
        ends.append(learner.weights())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_unscored_samples_and_groups_without_spread_stay_out_and_are_counted():
    _, equal, partly = groups_of(1)
    equal = dataclasses.replace(equal, rewards=(0.5,) * 4)
    partly = dataclasses.replace(partly, rewards=(0.0, None, 1.0, None))
    for drop_equal, places in ((True, ((1, 0), (1, 2))), (False, (*((0, i) for i in range(4)), (1, 0), (1, 2)))):
        found = gather(StepSamples.of([equal, partly]), drop_equal=drop_equal, mask_truncated=False)
        assert (found.groups_without_spread, found.samples_unscored, found.places_S) == (1, 2, places)
        assert found.rewards_S.tolist() == [*([] if drop_equal else [0.5] * 4), 0.0, 1.0]


def test_a_step_without_any_spread_changes_no_weight(tiny_model):
    learner = Learner(spec_of(tiny_model))
    before = {name: weight.clone() for name, weight in learner.weights().items()}
    groups = [dataclasses.replace(g, rewards=(1.0,) * 4) for g in groups_of(2)]
    report = learner.train_step(StepSamples.of(groups))
    assert report.metrics["learner/updates"] == 0
    assert report.metrics["learner/groups_without_spread"] == 3
    assert all(torch.equal(before[name], weight) for name, weight in learner.weights().items())


@pytest.mark.parametrize("normalize", ["batch", "none"])
@pytest.mark.parametrize("reward", [0.1, 0.3, 0.7, 1 / 3])
def test_a_step_whose_rewards_are_all_equal_changes_no_weight_against_the_steps_mean_either(
    tiny_model, normalize, reward
):
    learner = Learner(spec_of(tiny_model, baseline="batch", normalize=normalize))
    learner.train_step(StepSamples.of(groups_of(3)))  # the optimizer has moments now
    before = {name: weight.clone() for name, weight in learner.weights().items()}
    report = learner.train_step(StepSamples.of([dataclasses.replace(g, rewards=(reward,) * 4) for g in groups_of(2)]))
    assert report.metrics["learner/updates"] == 0
    assert all(torch.equal(before[name], weight) for name, weight in learner.weights().items())


@pytest.mark.parametrize(("kind", "at_fault"), [("grpo", "learner"), ("ppo", "critic")])
def test_a_gradient_that_is_not_finite_changes_no_weight_and_is_counted(tiny_model, kind, at_fault):
    keys = {"normalize": "none"} if kind == "grpo" else {"kind": "ppo"}  # PPO's advantages are normalised, returns not
    learner = Learner(spec_of(tiny_model, **keys))
    network = {"learner": learner.policy, "critic": learner.critic}[at_fault]
    before = [p.detach().clone() for p in network.parameters()]
    huge, *others = groups_of(2)
    huge = dataclasses.replace(huge, rewards=(1e39, *huge.rewards[1:]))  # finite, but not in float32
    report = learner.train_step(StepSamples.of([huge, *others]))
    assert report.metrics[f"{at_fault}/updates_skipped"] == 1
    assert all(map(torch.equal, network.parameters(), before))
    report = learner.train_step(StepSamples.of(groups_of(3)))
    assert report.metrics[f"{at_fault}/updates_skipped"] == 0
    assert all(bool(p.isfinite().all()) for p in network.parameters())
    assert not all(map(torch.equal, network.parameters(), before))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 120))
def test_packing_keeps_every_sequence_once_and_the_limit(lengths, limit):
    rows = plan_packing(lengths, limit)
    assert sorted(s for row in rows for s in row) == list(range(len(lengths)))
    assert all(sum(lengths[s] for s in row) <= limit or len(row) == 1 for row in rows)


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 8), st.integers(1, 30))
def test_however_long_sequences_are_every_rank_has_as_many_rows_as_the_others(lengths, num_ranks, limit):
    samples = [Sample(f"t#{i}", "", n, (1,) * n, (-1.0,) * n, prompt_ids=(1,)) for i, n in enumerate(lengths)]
    weights_S = torch.ones(len(lengths))
    batch = Sequences.of(samples)
    shared = {"tokens_per_microbatch": limit, "weights_S": weights_S, "num_ranks": num_ranks}
    rows = [pack(batch, **shared, rank=rank) for rank in range(num_ranks)]
    assert len({len(mine) for mine in rows}) == 1
    places_C = torch.cat([torch.zeros(0, dtype=torch.int64), *(r.places_C[r.weights_C > 0] for m in rows for r in m)])
    assert sorted(places_C.tolist()) == list(range(sum(lengths)))


def test_packing_example_and_update_split():
    assert plan_packing([5, 4, 3, 2, 2], 8) == [[0, 2], [1, 3, 4]]
    assert deal_rows([8, 7, 4, 3], 2) == [[0, 3], [1, 2]]
    batch = gather(StepSamples.of(groups_of(1, num_groups=7, size=2)), drop_equal=False, mask_truncated=True)
    parts = split_updates(batch, 3)
    # Groups 0-1, 2-4, 5-6; the second sample of each was cut and is masked.
    assert parts == [[0, 2], [4, 6, 8], [10, 12]]


def test_learning_rate_warms_up_and_falls():
    stage = GrpoKeys(kind="grpo", steps=10, warmup_steps=4)
    assert [learning_rate_factor(stage, u, 10) for u in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    linear = stage.model_copy(update={"lr_schedule": "linear"})
    assert learning_rate_factor(linear, 7, 10) == pytest.approx(0.5)
    cosine = stage.model_copy(update={"lr_schedule": "cosine"})
    assert learning_rate_factor(cosine, 7, 10) == pytest.approx(0.5)
    assert learning_rate_factor(cosine, 10, 10) == pytest.approx(0.0)


def test_bfloat16_autocast_stays_near_float32(tiny_model):
    samples = groups_of(5, num_groups=1)[0].samples
    full = Learner(spec_of(tiny_model)).logprobs_of(Sequences.of(samples))
    half = Learner(spec_of(tiny_model, learner={"precision": "bfloat16"})).logprobs_of(Sequences.of(samples))
    gap = max(abs(a - b) for x, y in zip(full, half, strict=True) for a, b in zip(x, y, strict=True))
    assert 0 < gap < 0.25


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "bfloat16_autocast"])
def test_values_have_more_than_three_digits_in_any_precision(tiny_model, precision):
    learner = Learner(spec_of(tiny_model, kind="ppo", learner={"precision": precision}))
    moved(learner.critic.model, 3)
    (row,) = pack(Sequences.of(groups_of(5, num_groups=1)[0].samples), tokens_per_microbatch=4096)
    with torch.no_grad():
        values_C = learner.critic(row)
    assert bool((values_C != values_C.bfloat16()).any())


def test_a_critic_that_reads_other_tokens_is_refused(tiny_model, tmp_path):
    other = ModelInitKeys(vocab_size=320, hidden_size=64, num_layers=1, num_heads=2, num_kv_heads=1)
    init_model(other, iter(["quite other words", "than those"]), seed=0, out=tmp_path / "other")
    with pytest.raises(RecipeError, match=r"critic\.path=.* has another tokenizer"):
        Learner(spec_of(tiny_model, kind="ppo", critic={"path": str(tmp_path / "other")}))


def test_a_saved_model_is_on_the_disk_when_the_call_returns(tiny_model, tmp_path, synced):
    worker = LearnerWorker()
    worker.start(spec_of(tiny_model), 0, None)
    worker.save_model(tmp_path / "model")
    written = tmp_path / ".model.tmp"  # before it got its name
    assert {written, *(written / path.name for path in (tmp_path / "model").iterdir()), tmp_path} <= synced
    assert (written / "model.safetensors") in synced
    assert not written.exists()


@pytest.mark.slow
def test_compiled_layers_give_the_same_gradient(tiny_model):
    found = []
    for compiled in (False, True):
        learner = Learner(spec_of(tiny_model, max_grad_norm=1e9, learner={"compile": compiled}))
        found.append(taken_gradients(learner, groups_of(4))[1]["policy"])
    eager, compiled = found
    assert float((compiled - eager).norm()) <= 1e-5 * float(eager.norm())
