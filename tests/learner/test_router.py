"""A mixture of experts: the load-balancing loss is the whole update's however it is cut; what routers do is told."""

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from rlkit.algorithm.router import balance_loss, expert_counts, load_metrics
from rlkit.algorithm.step_arrays import Sequences, StepSamples
from rlkit.errors import RecipeError
from rlkit.learner.ranks import Ranks
from rlkit.learner.torch_learner import Learner
from rlkit.models.pretrained import load_model
from rlkit.models.save import save_model
from rlkit.models.tokenizer import load_tokenizer
from tests.learner.mixtures import FAMILIES, save_mixture
from tests.learner.reference import reference_update
from tests.learner.updates import gradient, groups_of, measured, spec_of

COEF = 0.3


@pytest.fixture(scope="module")
def mixtures(tiny_model, tmp_path_factory):
    """A small model of each family on disk."""
    folder = tmp_path_factory.mktemp("mixtures")
    for kind in FAMILIES:
        save_mixture(kind, tiny_model, folder / kind)
    return folder


def balance_reference(model, samples, top_k):
    """(loss, smallest gap between a chosen and a refused expert): Switch's eq. 4-6, layer by layer, all at once."""
    logits = [[], []]
    for sample in samples:
        ids = torch.tensor([[*sample.prompt_ids, *sample.token_ids]])
        found = model(input_ids=ids, use_cache=False, output_router_logits=True).router_logits
        for layer, part in zip(logits, found, strict=True):
            layer.append(part)
    total, gap = 0.0, 1.0
    for layer in logits:
        rows = torch.cat(layer)
        num_tokens, num_experts = rows.shape
        best = rows.detach().sort(-1, descending=True)
        gap = min(gap, float((best.values[:, top_k - 1] - best.values[:, top_k]).min()))
        for expert in range(num_experts):
            f = float((best.indices[:, :top_k] == expert).sum()) / (num_tokens * top_k)
            total = total + num_experts * f * torch.softmax(rows, -1)[:, expert].mean()
    return total, gap


@pytest.mark.parametrize("kind", FAMILIES)
@settings(deadline=None, max_examples=2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10_000),
    tokens_per_microbatch=st.sampled_from([1, 60, 4096]),
    num_ranks=st.sampled_from([1, 2]),
    checkpointing=st.booleans(),
)
def test_gradient_with_the_balance_loss_equals_a_whole_batch_reference(
    mixtures, two_ranks, kind, seed, tokens_per_microbatch, num_ranks, checkpointing
):
    keys = {
        "num_workers": num_ranks,
        "tokens_per_microbatch": tokens_per_microbatch,
        "router_aux_coef": COEF,
        "activation_checkpointing": checkpointing,
    }
    # Every sample counts: with equal rewards in a group its tokens would be in no loss, and in no balance either.
    spec = spec_of(mixtures / kind, learner=keys, max_grad_norm=1e9, entropy_coef=0.01, normalize="none")
    found = two_ranks.call(measured, spec, seed) if num_ranks == 2 else [measured(Ranks(), spec, seed)]
    double = load_model(str(mixtures / kind)).double()
    double.set_experts_implementation("eager")  # the others have no float64
    groups = found[0][0]
    expected = reference_update(double, groups, spec.stage, temperature=0.7, max_tokens=40)
    balance, gap = balance_reference(double, [s for group in groups for s in group.samples], 2)
    assume(expected.margin > 1e-5 and gap > 1e-5)
    (expected.loss + COEF * balance).backward()
    theirs = gradient(double)
    for _, metrics, gradients in found:
        assert metrics["learner/router_loss"] == pytest.approx(COEF * balance.item(), rel=1e-5)
        assert metrics["learner/loss"] == pytest.approx(expected.loss.item(), abs=1e-5 * expected.scale)
        assert float((gradients["policy"] - theirs).norm() / theirs.norm()) < 1e-5


def metrics_of(ranks, spec):
    return Learner(spec, ranks).train_step(StepSamples.of(groups_of(3))).metrics


def test_router_metrics_do_not_depend_on_micro_batches_ranks_or_the_coefficient(mixtures, two_ranks):
    def keys(**more):
        return spec_of(mixtures / "mixtral", learner={"router_aux_coef": 0.0, **more}, entropy_coef=0.01)

    whole = metrics_of(Ranks(), keys())
    cut = metrics_of(Ranks(), keys(tokens_per_microbatch=1))
    shared = two_ranks.call(metrics_of, keys(num_workers=2, tokens_per_microbatch=60))
    weighed = metrics_of(Ranks(), keys(router_aux_coef=None))
    load = {name for name in whole if name.startswith("learner/router_") and name != "learner/router_loss"}
    assert load == {f"learner/router_{x}" for x in ("max_share", "entropy", "max_share/0", "max_share/1")}
    for other in (cut, *shared, weighed):
        assert {name: other[name] for name in load} == pytest.approx({name: whole[name] for name in load})
    assert whole["learner/router_loss"] == 0 < weighed["learner/router_loss"]


def test_a_dense_model_has_no_routers_and_refuses_their_key(tiny_model):
    metrics = Learner(spec_of(tiny_model)).train_step(StepSamples.of(groups_of(1))).metrics
    assert not [name for name in metrics if "router" in name]
    with pytest.raises(RecipeError, match=r"learner\.router_aux_coef=0\.1 needs a mixture of experts"):
        Learner(spec_of(tiny_model, learner={"router_aux_coef": 0.1}))


def test_routers_with_a_bias_of_their_own_are_left_to_it_and_keep_it(tiny_model, tmp_path):
    save_mixture("glm4_moe", tiny_model, tmp_path / "start")
    model = load_model(str(tmp_path / "start"))
    model.model.layers[1].mlp.gate.e_score_correction_bias.copy_(torch.tensor([0.0, 2.0, 0.0, 2.0]))
    save_model(model, load_tokenizer(str(tiny_model)), tmp_path / "biased")
    learner = Learner(spec_of(tmp_path / "biased"))
    # The largest logits are not what such a router takes, so they would tell a wrong load.
    assert not [name for name in learner.train_step(StepSamples.of(groups_of(1))).metrics if "router" in name]
    with pytest.raises(RecipeError, match=r"learner\.router_aux_coef=0\.1 needs a mixture of experts"):
        Learner(spec_of(tmp_path / "biased", learner={"router_aux_coef": 0.1}))
    learner.save_model(tmp_path / "end")
    name = "model.layers.1.mlp.gate.e_score_correction_bias"
    assert learner.weights()[name].tolist() == [0.0, 2.0, 0.0, 2.0]
    assert load_model(str(tmp_path / "end")).get_buffer(name).tolist() == [0.0, 2.0, 0.0, 2.0]
    saved = Learner(spec_of(tmp_path / "end"))
    samples = groups_of(2)[0].samples
    assert saved.logprobs_of(Sequences.of(samples)) == learner.logprobs_of(Sequences.of(samples))


def test_counts_loss_and_metrics_by_hand():
    logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 0.0, 1.0], [0.0, 2.0, 1.0]])
    assert expert_counts(logits, 1).tolist() == [2, 1, 0]
    assert expert_counts(logits, 2).tolist() == [2, 2, 2]
    even = torch.zeros(6, 3)
    assert float(balance_loss(even, torch.full((3,), 1 / 3), num_tokens=6)) == pytest.approx(1.0)
    one = torch.tensor([[100.0, 0.0, 0.0]])
    assert float(balance_loss(one, torch.tensor([1.0, 0.0, 0.0]), num_tokens=1)) == pytest.approx(3.0)
    found = load_metrics(torch.tensor([[2.0, 2.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]))
    assert found == pytest.approx({"max_share/0": 0.5, "max_share/1": 0.25, "max_share": 0.5, "entropy": 0.5})
