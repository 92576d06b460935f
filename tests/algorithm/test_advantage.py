"""Advantages and loss weights against numbers worked out by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlkit.algorithm.advantage import group_advantages, has_spread, token_weights

rewards = st.lists(st.floats(0, 1, allow_nan=False), min_size=2, max_size=16)


def test_grpo_advantages_are_centred_and_scaled_by_the_population_std():
    found = group_advantages(torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64), eps=0.0)
    assert found.tolist() == [-1.0, -1.0, 1.0, 1.0]
    # mean 0.5, population variance (0.25 + 0.01 + 0.16) / 3 = 0.14
    found = group_advantages(torch.tensor([0.0, 0.6, 0.9], dtype=torch.float64), eps=0.0)
    assert found.tolist() == pytest.approx([-0.5 / 0.14**0.5, 0.1 / 0.14**0.5, 0.4 / 0.14**0.5])


def test_without_the_std_advantages_are_only_centred():
    found = group_advantages(torch.tensor([0.0, 0.6, 0.9], dtype=torch.float64), divide_by_std=False)
    assert found.tolist() == pytest.approx([-0.5, 0.1, 0.4])


@given(rewards)
def test_advantages_add_to_nothing_and_equal_rewards_have_none(values):
    rewards_G = torch.tensor(values, dtype=torch.float64)
    assert abs(float(group_advantages(rewards_G).sum())) < 1e-6 * max(1, len(values)) / 1e-4
    assert not has_spread(torch.full((4,), values[0], dtype=torch.float64))


@given(rewards, st.floats(-3, 3))
def test_adding_a_constant_to_a_groups_rewards_changes_nothing(values, shift):
    rewards_G = torch.tensor(values, dtype=torch.float64)
    for divide in (True, False):
        ours = group_advantages(rewards_G, divide_by_std=divide)
        theirs = group_advantages(rewards_G + shift, divide_by_std=divide)
        torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-6)


def test_a_single_sample_has_no_spread():
    assert not has_spread(torch.tensor([0.7]))
    assert has_spread(torch.tensor([0.7, 0.71]))


def test_token_mean_weighs_every_token_alike_and_sequence_mean_every_sequence():
    lengths_S = torch.tensor([1, 3])
    assert token_weights(lengths_S, loss_mean="token").tolist() == [0.25, 0.25]
    assert token_weights(lengths_S, loss_mean="sequence").tolist() == pytest.approx([0.5, 1 / 6])


@given(st.lists(st.integers(1, 500), min_size=1, max_size=30), st.sampled_from(["token", "sequence"]))
def test_weights_add_to_one_over_all_tokens(lengths, loss_mean):
    lengths_S = torch.tensor(lengths)
    assert float((token_weights(lengths_S, loss_mean=loss_mean) * lengths_S).sum()) == pytest.approx(1.0, abs=1e-5)
