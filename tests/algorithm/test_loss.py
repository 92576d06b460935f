"""The loss token by token, against numbers worked out by hand and plain formulas."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit.algorithm.logprobs import token_logprobs
from rlkit.algorithm.loss import clipped_policy_loss, importance_weights, k3_kl


def loss_of(ratio, advantage, low=0.2, high=0.2):
    logprob = torch.tensor([math.log(ratio)], requires_grad=True)
    found = clipped_policy_loss(logprob, torch.zeros(1), torch.tensor([advantage]), clip_low=low, clip_high=high)
    (grad,) = torch.autograd.grad(found.loss_C.sum(), logprob)
    return float(found.loss_C.detach()), float(grad), bool(found.clipped_C)


def test_the_clip_takes_the_gradient_only_where_it_would_push_further_out():
    assert loss_of(1.5, 1.0) == (pytest.approx(-1.2), 0.0, True)
    assert loss_of(1.5, -1.0) == (pytest.approx(1.5), pytest.approx(1.5), False)
    assert loss_of(0.5, -1.0) == (pytest.approx(0.8), 0.0, True)
    assert loss_of(0.5, 1.0) == (pytest.approx(-0.5), pytest.approx(-0.5), False)
    assert loss_of(1.0, 2.0) == (pytest.approx(-2.0), pytest.approx(-2.0), False)


def test_each_side_of_the_clip_has_its_own_bound():
    assert loss_of(1.25, 1.0, low=0.2, high=0.28) == (pytest.approx(-1.25), pytest.approx(-1.25), False)
    assert loss_of(1.30, 1.0, low=0.2, high=0.28) == (pytest.approx(-1.28), 0.0, True)


def test_k3_is_zero_at_equality_and_known_elsewhere():
    policy = torch.tensor([-1.0, -1.0])
    reference = torch.tensor([-1.0, -1.0 + math.log(2)])
    assert k3_kl(policy, reference).tolist() == pytest.approx([0.0, 2 - math.log(2) - 1])


@given(st.floats(-5, 5), st.floats(-5, 5))
def test_k3_is_never_negative(a, b):
    assert float(k3_kl(torch.tensor([a]), torch.tensor([b]))) >= -1e-6


def test_importance_weights_are_capped():
    found = importance_weights(torch.tensor([-1.0, -1.0]), torch.tensor([-1.0 - math.log(1.5), -9.0]))
    assert found.tolist() == pytest.approx([1.5, 2.0])


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(1, 17), st.floats(0.3, 3.0), st.integers(0, 10_000))
def test_chunked_logprobs_equal_the_whole_log_softmax(count, chunk, temperature, seed):
    generator = torch.Generator().manual_seed(seed)
    head = torch.nn.Linear(8, 23, bias=False, dtype=torch.float64)
    hidden_CH = torch.randn(count, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    targets_C = torch.randint(0, 23, (count,), generator=generator)
    ours, entropy_C = token_logprobs(head, hidden_CH, targets_C, temperature=temperature, chunk_tokens=chunk)
    whole_CV = torch.log_softmax(head(hidden_CH) / temperature, dim=-1)
    theirs = whole_CV.gather(-1, targets_C[:, None]).squeeze(-1)
    torch.testing.assert_close(ours.double(), theirs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(entropy_C.double(), -(whole_CV.exp() * whole_CV).sum(-1), atol=1e-5, rtol=1e-5)
    (our_grad,) = torch.autograd.grad(ours.sum(), hidden_CH, retain_graph=True)
    (their_grad,) = torch.autograd.grad(theirs.sum(), hidden_CH)
    torch.testing.assert_close(our_grad, their_grad, atol=1e-5, rtol=1e-4)
