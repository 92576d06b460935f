"""Log-probs, entropy and all their gradients equal a plain float64 reference, however they are chunked."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rlkit.algorithm.logprobs import LogitForm, token_logprobs
from tests.tensor_sizes import TensorSizes

FORMS = [LogitForm(), LogitForm(scale=0.25), LogitForm(cap=3.0), LogitForm(scale=2.0, cap=5.0)]


class Wrapped(nn.Module):
    """A head that is not a plain linear layer, as an adapter makes it."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, hidden):
        return self.inner(hidden)


def inputs(num_tokens, hidden_size, vocabulary, bias, dtype=torch.float32):
    g = torch.Generator().manual_seed(num_tokens + 1000 * vocabulary)
    head = nn.Linear(hidden_size, vocabulary, bias=bias)
    for parameter in head.parameters():
        parameter.data.normal_(std=0.7, generator=g)
    hidden = torch.randn(num_tokens, hidden_size, generator=g)
    targets = torch.randint(0, vocabulary, (num_tokens,), generator=g)
    weights = torch.randn(2, num_tokens, generator=g)
    return head.to(dtype), hidden.to(dtype), targets, weights


def reference(head, hidden, targets, weights, temperature, form):
    """The published formulas, in float64, on one tensor of all logits."""
    weight, bias = (None if p is None else p.detach().double().requires_grad_() for p in (head.weight, head.bias))
    hidden = hidden.detach().double().requires_grad_()
    logits = nn.functional.linear(hidden, weight, bias) * form.scale
    if form.cap is not None:
        logits = form.cap * torch.tanh(logits / form.cap)
    log_probs = torch.log_softmax(logits / temperature, -1)
    entropy = -(log_probs.exp() * log_probs).sum(-1)
    drawn = log_probs.gather(-1, targets[:, None])[:, 0]
    ((weights[0] * drawn).sum() + (weights[1] * entropy).sum()).backward()
    return drawn, entropy, hidden.grad, weight.grad, None if bias is None else bias.grad


def distance(ours, theirs):
    return float((ours.double() - theirs).norm() / theirs.norm())


@settings(max_examples=60)
@given(
    num_tokens=st.integers(1, 40),
    vocabulary=st.integers(2, 70),
    chunk_tokens=st.integers(1, 45),
    temperature=st.sampled_from([0.3, 1.0, 1.7]),
    form=st.sampled_from(FORMS),
    bias=st.booleans(),
    losses=st.sampled_from([(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]),
    drop_unused=st.booleans(),
    wrapped=st.booleans(),
)
def test_values_and_gradients_equal_the_reference(
    num_tokens, vocabulary, chunk_tokens, temperature, form, bias, losses, drop_unused, wrapped
):
    head, hidden, targets, weights = inputs(num_tokens, 12, vocabulary, bias)
    hidden.requires_grad_()
    weights = weights * torch.tensor(losses)[:, None]
    logprobs, entropy = token_logprobs(
        Wrapped(head) if wrapped else head,
        hidden,
        targets,
        temperature=temperature,
        form=form,
        chunk_tokens=chunk_tokens,
    )
    # A loss may leave one of the two out, or weigh it by 0.
    pairs = zip(weights, (logprobs, entropy), losses, strict=True)
    terms = [(w * x).sum() for w, x, used in pairs if used or not drop_unused]
    sum(terms).backward()
    expected = reference(head, hidden, targets, weights, temperature, form)
    assert logprobs.dtype == entropy.dtype == torch.float32
    torch.testing.assert_close(logprobs.double(), expected[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(entropy.double(), expected[1], atol=1e-5, rtol=1e-5)
    grads = [hidden.grad, head.weight.grad, head.bias.grad if bias else None]
    for ours, theirs in zip(grads, expected[2:], strict=True):
        # One sure token's gradient is a small difference of terms around 1, whose rounding it keeps.
        assert theirs is None or float((ours.double() - theirs).norm()) < 1e-5 * max(float(theirs.norm()), 1.0)


def test_by_hand():
    # Two words with logits 0 and ln 3 at temperature 1: 1/4 and 3/4; at temperature 1/2 the logits double: 1/10, 9/10.
    head = nn.Linear(1, 2, bias=False)
    head.weight.data = torch.tensor([[0.0], [1.0]])
    hidden, targets = torch.tensor([[3.0]]).log(), torch.tensor([1])
    logprobs, entropy = token_logprobs(head, hidden, targets, temperature=1.0)
    assert logprobs.exp().item() == pytest.approx(0.75)
    assert entropy.item() == pytest.approx(0.5623351)
    assert token_logprobs(head, hidden, targets, temperature=0.5)[0].exp().item() == pytest.approx(0.9)


@pytest.mark.parametrize("how", ["weights", "autocast"])
def test_bfloat16_products_keep_float32_statistics(how):
    head, hidden, targets, weights = inputs(64, 32, 5000, bias=False, dtype=torch.bfloat16)
    expected = reference(head, hidden, targets, weights, 1.0, LogitForm())
    if how == "autocast":
        head, hidden = head.float(), hidden.float()
    hidden.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        logprobs, entropy = token_logprobs(head, hidden, targets, temperature=1.0, chunk_tokens=10)
    ((weights[0] * logprobs).sum() + (weights[1] * entropy).sum()).backward()
    assert head.weight.grad.dtype == head.weight.dtype
    assert hidden.grad.dtype == hidden.dtype
    # Logits up to 32 are off by up to 2^-4 in bfloat16, and a log-prob is a difference of two; sums do not add to it.
    assert float((logprobs - expected[0]).detach().abs().max()) < 2**-3
    assert float((entropy - expected[1]).detach().abs().mean()) < 0.02
    assert distance(hidden.grad, expected[2]) < 0.02
    assert distance(head.weight.grad, expected[3]) < 0.02


def test_a_frozen_head_gets_no_gradient_and_a_tied_one_gets_both():
    head, hidden, targets, _ = inputs(9, 12, 20, bias=False)
    head.requires_grad_(False)
    hidden.requires_grad_()
    token_logprobs(head, hidden, targets, temperature=1.0)[0].sum().backward()
    assert head.weight.grad is None
    assert hidden.grad.abs().sum() > 0

    tied = nn.Embedding(20, 12)
    nn.init.normal_(tied.weight, std=0.3)
    head.weight = tied.weight
    token_logprobs(head, tied(targets), targets, temperature=1.0)[0].sum().backward()
    ours = tied.weight.grad.clone()
    double = tied.weight.detach().double().requires_grad_()
    torch.log_softmax(double[targets] @ double.t(), -1).gather(-1, targets[:, None]).sum().backward()
    assert distance(ours, double.grad) < 1e-5


def test_no_tokens_give_zero_gradients():
    head, hidden, targets, _ = inputs(3, 12, 20, bias=True)
    logprobs, entropy = token_logprobs(head, hidden[:0].requires_grad_(), targets[:0], temperature=1.0)
    (logprobs.sum() + entropy.sum()).backward()
    assert not head.weight.grad.any()
    assert not head.bias.grad.any()


def test_without_gradients_nothing_is_kept():
    head, hidden, targets, _ = inputs(9, 12, 20, bias=True)
    with torch.no_grad():
        logprobs, entropy = token_logprobs(head, hidden, targets, temperature=1.0)
    assert logprobs.grad_fn is None
    assert entropy.grad_fn is None


@pytest.mark.parametrize("wrapped", [False, True])
def test_no_tensor_of_all_tokens_by_the_vocabulary_is_made(wrapped):
    head, hidden, targets, weights = inputs(64, 8, 500, bias=False)
    hidden.requires_grad_()
    with TensorSizes() as made:
        logprobs, entropy = token_logprobs(
            Wrapped(head) if wrapped else head, hidden, targets, temperature=1.0, chunk_tokens=8
        )
        ((logprobs + entropy) * weights[0]).sum().backward()
    assert max(made.sizes) == 8 * 500
