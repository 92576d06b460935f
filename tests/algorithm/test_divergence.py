"""KL estimates, importance ratios and corrections against numbers worked out by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlkit.algorithm.divergence import correction_weights, importance_ratio, kl_estimate, sequence_sums

LN2 = math.log(2)


def test_kl_estimates_are_zero_at_equality_and_known_elsewhere():
    policy, reference = torch.tensor([-1.0, -1.0]), torch.tensor([-1.0, -1.0 - LN2])
    assert kl_estimate(policy, reference, "k1").tolist() == pytest.approx([0, LN2])
    assert kl_estimate(policy, reference, "k2").tolist() == pytest.approx([0, LN2**2 / 2])
    assert kl_estimate(policy, reference, "k3").tolist() == pytest.approx([0, 0.5 + LN2 - 1])


@given(st.floats(-5, 5), st.floats(-5, 5))
def test_k2_and_k3_are_never_negative(a, b):
    for kind in ("k2", "k3"):
        assert float(kl_estimate(torch.tensor([a]), torch.tensor([b]), kind)) >= -1e-6


def test_the_estimates_agree_on_a_known_pair_of_distributions():
    """Over all tokens, weighed by the policy, k1 and k3 are the KL itself."""
    policy, reference = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.2, 0.3, 0.5]).double()
    exact = float((policy * (policy / reference).log()).sum())
    for kind in ("k1", "k3"):
        assert float((policy * kl_estimate(policy.log(), reference.log(), kind)).sum()) == pytest.approx(exact)


def test_a_kl_far_apart_stays_finite():
    for apart in (-500.0, -21.0, -19.0, 19.0, 21.0, 500.0):
        policy = torch.tensor([apart], requires_grad=True)
        found = kl_estimate(policy, torch.tensor([0.0]), "k3")
        assert torch.isfinite(found).all()
        (slope,) = torch.autograd.grad(found.sum(), policy)
        assert float(slope) * apart >= 0  # never away from the reference


def test_sums_stay_inside_their_sequence():
    sequence_C = torch.tensor([0, 0, 1, 2, 2])
    assert sequence_sums(torch.tensor([1.0, 2, 5, 7, 8]), sequence_C).tolist() == [3, 3, 5, 15, 15]
    assert sequence_sums(torch.zeros(0), torch.zeros(0, dtype=torch.int64)).tolist() == []


def test_a_sequences_ratio_is_the_geometric_mean_of_its_tokens():
    delta_C, sequence_C = torch.tensor([0.2, 0.4, 1.0]), torch.tensor([0, 0, 1])
    token = importance_ratio(delta_C, torch.zeros(3), sequence_C, level="token")
    assert token.tolist() == pytest.approx([math.exp(0.2), math.exp(0.4), math.e])
    sequence = importance_ratio(delta_C, torch.zeros(3), sequence_C, level="sequence")
    assert sequence.tolist() == pytest.approx([math.exp(0.3), math.exp(0.3), math.e])


def weights(kind, level):
    return correction_weights(
        torch.tensor([0.0, math.log(4), math.log(0.25)]),
        torch.zeros(3),
        torch.tensor([0, 0, 1]),
        kind=kind,
        level=level,
        at_most=2.0,
        at_least=0.5,
    ).tolist()


def test_corrections_truncate_or_mask_tokens_or_sequences():
    assert weights("truncate", "token") == pytest.approx([1, 2, 0.25])
    assert weights("mask", "token") == pytest.approx([1, 0, 0])
    assert weights("truncate", "sequence") == pytest.approx([2, 2, 0.25])
    assert weights("mask", "sequence") == pytest.approx([0, 0, 0])
