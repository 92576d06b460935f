"""Advantages: how much better a sample did than its group."""

import torch
from torch import Tensor


def group_advantages(rewards_G: Tensor, *, divide_by_std: bool = True, eps: float = 1e-4) -> Tensor:
    """GRPO advantages of one group (DeepSeekMath, arXiv:2402.03300, 4.1.2).

    [0, 0, 1, 1] -> about [-1, -1, 1, 1] with the (population) standard deviation, [-0.5, -0.5, 0.5, 0.5] without
    (Dr. GRPO, arXiv:2503.20783); all equal -> all 0.

    Args:
        rewards_G: [G] total reward of each graded sample.
        divide_by_std: Divide the centred rewards by their standard deviation.
        eps: Added to the standard deviation, in reward units.
    """
    centred_G = rewards_G - rewards_G.mean()
    if not divide_by_std:
        return centred_G
    return centred_G / (rewards_G.std(correction=0) + eps)


def has_spread(rewards_G: Tensor) -> bool:
    """Whether a group says anything: all rewards equal means every advantage is 0.

    Rewards are sums of a few floats, so 1e-6 separates a real difference from rounding.
    """
    return bool(rewards_G.numel() > 1 and (rewards_G.max() - rewards_G.min()) > 1e-6)


def token_weights(completion_lengths_S: Tensor, *, loss_mean: str) -> Tensor:
    """[S] the weight of each completion token of a sequence in the update's loss; over all tokens they add to 1.

    token: 1 / (all completion tokens) (DAPO, arXiv:2503.14476, eq. 8).
    sequence: 1 / (S x its own length) (GRPO as published, arXiv:2402.03300, eq. 3).

    Lengths [1, 3] -> token [1/4, 1/4]; sequence [1/2, 1/6].

    The denominators are the whole update's, so how it is cut into micro-batches changes nothing.
    """
    lengths_S = completion_lengths_S.to(torch.float64)
    if loss_mean == "token":
        weights_S = torch.ones_like(lengths_S) / lengths_S.sum()
    else:
        assert loss_mean == "sequence", loss_mean
        weights_S = 1.0 / (len(lengths_S) * lengths_S)
    return weights_S.to(torch.float32)
