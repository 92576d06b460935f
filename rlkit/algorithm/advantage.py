"""Advantages: how much better a sample or a token did than expected."""

import torch
from torch import Tensor

EPS = 1e-4
"""Added to standard deviations, in reward units."""


def group_advantages(rewards_G: Tensor, *, baseline: str = "group", divide_by_std: bool = False) -> Tensor:
    """[G] advantages of one group, in float64; all equal -> all exactly 0.

    group: subtracts the group's mean (DeepSeekMath, arXiv:2402.03300, 4.1.2). [0, 0, 1, 1] -> [-0.5, -0.5, 0.5, 0.5]
    (Dr. GRPO, arXiv:2503.20783); divided by the (population) standard deviation, about [-1, -1, 1, 1] (GRPO).
    leave_one_out: subtracts the others' mean (RLOO, arXiv:2402.14740, eq. 8). [0, 0, 1, 1] -> [-2/3, -2/3, 2/3, 2/3].

    Args:
        rewards_G: [G] total reward of each graded sample.
        baseline: "group" or "leave_one_out".
        divide_by_std: Divide by the group's standard deviation.
    """
    rewards_G = rewards_G.double()
    if not has_spread(rewards_G):
        return torch.zeros_like(rewards_G)
    advantages_G = rewards_G - rewards_G.mean()
    if baseline == "leave_one_out":
        # r - (sum - r) / (G - 1), in terms of the group's own mean.
        advantages_G = advantages_G * (len(rewards_G) / (len(rewards_G) - 1))
    else:
        assert baseline == "group", baseline
    return advantages_G / (rewards_G.std(correction=0) + EPS) if divide_by_std else advantages_G


def has_spread(rewards_G: Tensor) -> bool:
    """Whether the rewards of a group differ; if all are equal, every advantage is 0.

    Rewards are sums of a few floats, so 1e-6 separates a real difference from rounding.
    """
    return bool(rewards_G.numel() > 1 and (rewards_G.max() - rewards_G.min()) > 1e-6)


def centred(values_C: Tensor) -> Tensor:
    """[C] values minus their mean; all equal -> all exactly 0, despite the rounding of the mean."""
    return values_C - values_C.mean() if has_spread(values_C) else torch.zeros_like(values_C)


def batch_normalized(advantages_C: Tensor, *, centre: bool) -> Tensor:
    """[C] advantages divided by their standard deviation over a step's tokens, optionally centred first (REINFORCE++,
    arXiv:2501.03262, eq. 10; PPO's usual whitening).

    [1, 1, 3, 3] centred -> about [-1, -1, 1, 1]; not centred -> about [1, 1, 3, 3].

    Args:
        advantages_C: [C] advantages of all completion tokens.
        centre: Subtract the mean first; not needed if each group's mean is subtracted already.
    """
    if not advantages_C.numel():
        return advantages_C
    return (centred(advantages_C) if centre else advantages_C) / (advantages_C.std(correction=0) + EPS)


def returns_to_go(rewards_T: Tensor) -> Tensor:
    """[T] sum of each token's reward and all later rewards. [0, -1, 3] -> [2, 2, 3]."""
    return rewards_T.flip(0).cumsum(0).flip(0)


def gae(rewards_T: Tensor, values_T: Tensor, *, gamma: float, gae_lambda: float) -> Tensor:
    """[T] float64 generalised advantage estimates of one reply (arXiv:1506.02438, eq. 16). The value after it is 0.

    Rewards [0, 1], values [0.5, 0.5], gamma 1, lambda 0.5 -> deltas [0, 0.5] -> [0.25, 0.5].

    Args:
        rewards_T: [T] reward of each token.
        values_T: [T] the critic's estimate before each token.
        gamma: Discount of a later token's reward.
        gae_lambda: 0: one-step differences; 1: sum of rewards minus the value.
    """
    advantages: list[float] = []
    following = next_value = 0.0
    # Python numbers, because a tensor operation for each token would be much slower.
    for reward, value in zip(reversed(rewards_T.tolist()), reversed(values_T.tolist()), strict=True):
        following = reward + gamma * next_value - value + gamma * gae_lambda * following
        advantages.append(following)
        next_value = value
    return torch.tensor(advantages[::-1], dtype=torch.float64)
