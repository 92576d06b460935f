"""Advantages, GAE and their shaping against numbers worked out by hand and plain loops."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlkit.algorithm.advantage import EPS, batch_normalized, gae, group_advantages, has_spread, returns_to_go
from rlkit.algorithm.shape import compared_advantages, critic_advantages
from tests.learner.reference import plain_gae

rewards = st.lists(st.floats(0, 1, allow_nan=False), min_size=2, max_size=16)


def float64(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_grpo_advantages_are_centred_and_scaled_by_the_population_std():
    found = group_advantages(float64(0, 0, 1, 1), divide_by_std=True)
    assert found.tolist() == pytest.approx([-0.5 / (0.5 + EPS)] * 2 + [0.5 / (0.5 + EPS)] * 2)
    # mean 0.5, population variance (0.25 + 0.01 + 0.16) / 3 = 0.14
    found = group_advantages(float64(0, 0.6, 0.9), divide_by_std=True)
    scale = 0.14**0.5 + EPS
    assert found.tolist() == pytest.approx([-0.5 / scale, 0.1 / scale, 0.4 / scale])


def test_without_the_std_advantages_are_only_centred():
    assert group_advantages(float64(0, 0.6, 0.9)).tolist() == pytest.approx([-0.5, 0.1, 0.4])


def test_leave_one_out_takes_off_the_mean_of_the_others():
    # 0 - (0.6 + 0.9) / 2, 0.6 - 0.45, 0.9 - 0.3
    found = group_advantages(float64(0, 0.6, 0.9), baseline="leave_one_out")
    assert found.tolist() == pytest.approx([-0.75, 0.15, 0.6])


@given(rewards)
def test_advantages_add_to_nothing_and_equal_rewards_have_exactly_none(values):
    rewards_G = float64(*values)
    assert abs(float(group_advantages(rewards_G).sum())) < 1e-9
    equal_G = torch.full((4,), values[0], dtype=torch.float64)
    assert not has_spread(equal_G)
    assert group_advantages(equal_G, divide_by_std=True).tolist() == [0.0] * 4


@given(rewards, st.floats(-3, 3), st.sampled_from(["group", "leave_one_out"]), st.booleans())
def test_adding_a_constant_to_a_groups_rewards_changes_nothing(values, shift, baseline, divide):
    rewards_G = float64(*values)
    ours = group_advantages(rewards_G, baseline=baseline, divide_by_std=divide)
    theirs = group_advantages(rewards_G + shift, baseline=baseline, divide_by_std=divide)
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-6)


def test_a_single_sample_has_no_spread():
    assert not has_spread(torch.tensor([0.7]))
    assert has_spread(torch.tensor([0.7, 0.71]))


def test_batch_normalisation_centres_where_asked():
    scale = 1.0 + EPS
    assert batch_normalized(float64(1, 1, 3, 3), centre=True).tolist() == pytest.approx(
        [-1 / scale] * 2 + [1 / scale] * 2
    )
    assert batch_normalized(float64(1, 1, 3, 3), centre=False).tolist() == pytest.approx(
        [1 / scale] * 2 + [3 / scale] * 2
    )
    assert batch_normalized(float64(), centre=True).tolist() == []


def test_returns_to_go_add_up_from_the_end():
    assert returns_to_go(float64(0, -1, 3)).tolist() == [2, 2, 3]


def test_gae_by_hand():
    # deltas: 0 + 0.5 - 0.5 = 0;  1 + 0 - 0.5 = 0.5;  then 0 + 0.5 x 0.5
    found = gae(float64(0, 1), float64(0.5, 0.5), gamma=1.0, gae_lambda=0.5)
    assert found.tolist() == pytest.approx([0.25, 0.5])


@given(
    st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2)), min_size=1, max_size=12),
    st.floats(0.1, 1),
    st.floats(0, 1),
)
def test_gae_equals_its_definition_as_a_sum(pairs, gamma, gae_lambda):
    rewards_T, values_T = [r for r, _ in pairs], [v for _, v in pairs]
    found = gae(float64(*rewards_T), float64(*values_T), gamma=gamma, gae_lambda=gae_lambda)
    assert found.tolist() == pytest.approx(plain_gae(rewards_T, values_T, gamma, gae_lambda), abs=1e-9)


def test_gae_at_lambda_one_is_rewards_less_values_and_at_zero_one_step():
    rewards_T, values_T = float64(1, 2, 4), float64(0.5, 1, 3)
    assert gae(rewards_T, values_T, gamma=1.0, gae_lambda=1.0).tolist() == pytest.approx([6.5, 5, 1])
    assert gae(rewards_T, values_T, gamma=1.0, gae_lambda=0.0).tolist() == pytest.approx([1.5, 4, 1])


def test_a_groups_advantage_is_shared_by_all_tokens_and_other_groups_do_not_matter():
    lengths, groups = (2, 1, 1, 2), (0, 0, 1, 1)
    found = compared_advantages(float64(0, 1, 5, 5), lengths, groups, baseline="group", normalize="none")
    assert found.tolist() == pytest.approx([-0.5, -0.5, 0.5, 0, 0, 0])


def test_a_penalty_counts_by_its_sum_where_groups_are_compared():
    lengths, groups = (2, 1), (0, 0)
    found = compared_advantages(
        float64(1, 1), lengths, groups, baseline="group", normalize="none", penalty_C=torch.tensor([0.1, 0.3, 0.0])
    )
    # Totals 0.6 and 1.
    assert found.tolist() == pytest.approx([-0.2, -0.2, 0.2])


def test_a_penalty_counts_from_its_token_backwards_where_the_step_is_the_baseline():
    lengths, groups = (2, 1), (0, 1)
    found = compared_advantages(
        float64(1, 0), lengths, groups, baseline="batch", normalize="none", penalty_C=torch.tensor([0.1, 0.2, 0.0])
    )
    # To go: 0.7, 0.8, 0; their mean 0.5.
    assert found.tolist() == pytest.approx([0.2, 0.3, -0.5])


def test_the_steps_spread_divides_centred_groups_without_centring_again():
    lengths, groups = (1, 1, 1, 1), (0, 0, 1, 1)
    found = compared_advantages(float64(0, 1, 0, 3), lengths, groups, baseline="group", normalize="batch")
    scale = ((0.25 + 0.25 + 2.25 + 2.25) / 4) ** 0.5 + EPS
    assert found.tolist() == pytest.approx([-0.5 / scale, 0.5 / scale, -1.5 / scale, 1.5 / scale])


def test_the_critics_returns_are_advantages_plus_values_before_normalisation():
    lengths = (2, 1)
    values_C = torch.tensor([0.5, 0.5, 0.25])
    for normalize in (False, True):
        advantages_C, returns_C = critic_advantages(
            float64(1, 0), lengths, values_C, gamma=1.0, gae_lambda=0.5, normalize=normalize
        )
        assert returns_C.tolist() == pytest.approx([0.75, 1.0, 0.0])
        raw = float64(0.25, 0.5, -0.25)
        expected = batch_normalized(raw, centre=True) if normalize else raw
        assert advantages_C.tolist() == pytest.approx(expected.tolist(), abs=1e-6)
