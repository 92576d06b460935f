"""The losses token by token, against numbers worked out by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlkit.algorithm.loss import cispo_loss, clipped_policy_loss, token_weights, value_loss


def loss_of(ratio, advantage, low=0.2, high=0.2, dual_clip=None):
    logprob = torch.tensor([math.log(ratio)], requires_grad=True)
    found = clipped_policy_loss(
        torch.exp(logprob), torch.tensor([advantage]), clip_low=low, clip_high=high, dual_clip=dual_clip
    )
    (grad,) = torch.autograd.grad(found.loss_C.sum(), logprob)
    return found.loss_C.item(), float(grad), bool(found.clipped_C)


def test_the_clip_takes_the_gradient_only_where_it_would_push_further_out():
    assert loss_of(1.5, 1.0) == (pytest.approx(-1.2), 0.0, True)
    assert loss_of(1.5, -1.0) == (pytest.approx(1.5), pytest.approx(1.5), False)
    assert loss_of(0.5, -1.0) == (pytest.approx(0.8), 0.0, True)
    assert loss_of(0.5, 1.0) == (pytest.approx(-0.5), pytest.approx(-0.5), False)
    assert loss_of(1.0, 2.0) == (pytest.approx(-2.0), pytest.approx(-2.0), False)


def test_each_side_of_the_clip_has_its_own_bound():
    assert loss_of(1.25, 1.0, low=0.2, high=0.28) == (pytest.approx(-1.25), pytest.approx(-1.25), False)
    assert loss_of(1.30, 1.0, low=0.2, high=0.28) == (pytest.approx(-1.28), 0.0, True)


def test_the_dual_clip_bounds_what_a_bad_token_can_cost():
    assert loss_of(5.0, -1.0) == (pytest.approx(5.0), pytest.approx(5.0), False)
    assert loss_of(5.0, -1.0, dual_clip=3.0) == (pytest.approx(3.0), 0.0, True)
    assert loss_of(2.5, -1.0, dual_clip=3.0) == (pytest.approx(2.5), pytest.approx(2.5), False)
    assert loss_of(5.0, 1.0, dual_clip=3.0) == (pytest.approx(-1.2), 0.0, True)


def test_cispo_keeps_every_tokens_gradient_and_bounds_its_weight():
    logprobs_C = torch.tensor([-1.0, -1.0], requires_grad=True)
    ratio_C = torch.tensor([3.0, 0.1])
    found = cispo_loss(logprobs_C, ratio_C, torch.tensor([2.0, 2.0]), clip_low=1.0, clip_high=1.0)
    assert found.loss_C.tolist() == pytest.approx([4.0, 0.2])
    assert found.clipped_C.tolist() == [True, False]
    (grad_C,) = torch.autograd.grad(found.loss_C.sum(), logprobs_C)
    assert grad_C.tolist() == pytest.approx([-4.0, -0.2])


def test_the_value_clip_takes_the_larger_error():
    value, old, target = torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([1.0])
    assert value_loss(value, old, target, clip=None).item() == 0.0
    assert value_loss(value, old, target, clip=0.2).item() == pytest.approx(0.8**2 / 2)
    assert value_loss(torch.tensor([0.1]), old, target, clip=0.2).item() == pytest.approx(0.9**2 / 2)


def test_each_mean_weighs_as_its_paper_says():
    lengths_S = torch.tensor([1, 3])
    assert token_weights(lengths_S, loss_mean="token", max_tokens=10).tolist() == [0.25, 0.25]
    assert token_weights(lengths_S, loss_mean="sequence", max_tokens=10).tolist() == pytest.approx([0.5, 1 / 6])
    assert token_weights(lengths_S, loss_mean="constant", max_tokens=10).tolist() == [0.05, 0.05]


@given(st.lists(st.integers(1, 500), min_size=1, max_size=30), st.sampled_from(["token", "sequence"]))
def test_weights_add_to_one_over_all_tokens(lengths, loss_mean):
    lengths_S = torch.tensor(lengths)
    weights_S = token_weights(lengths_S, loss_mean=loss_mean, max_tokens=500)
    assert float((weights_S * lengths_S).sum()) == pytest.approx(1.0)
