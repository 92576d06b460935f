"""Losses of somebody's own, found by `./own_losses.py:name`."""

import torch

from rlkit import PolicyLoss

NUMBER = 3


def same_as_clip(tokens, ratio_C, clip):
    free_C = ratio_C * tokens.advantages_C
    held_C = ratio_C.clamp(1.0 - clip.low, 1.0 + clip.high) * tokens.advantages_C
    return PolicyLoss(-torch.minimum(free_C, held_C), held_C < free_C)


def pulls_without_advantage(tokens, ratio_C, clip):
    return PolicyLoss(tokens.logprobs_C.square(), torch.zeros_like(ratio_C, dtype=torch.bool))


def takes_two(tokens, ratio_C):
    return PolicyLoss(-ratio_C, ratio_C > 1)


def returns_a_tensor(tokens, ratio_C, clip):
    return -ratio_C


def returns_a_mean(tokens, ratio_C, clip):
    return PolicyLoss(-ratio_C.mean(), ratio_C > 1)


def has_no_gradient(tokens, ratio_C, clip):
    return PolicyLoss(-ratio_C.detach(), ratio_C > 1)


def raises(tokens, ratio_C, clip):
    raise ZeroDivisionError("no bound")
