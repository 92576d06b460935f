"""A policy loss of your own: Simple Policy Optimization (arXiv:2401.16025) penalises the ratio and does not clip it."""

from torch import Tensor

from rlkit import ClipRange, PolicyLoss, PolicyTokens


def simple_policy_loss(tokens: PolicyTokens, ratio_C: Tensor, clip: ClipRange) -> PolicyLoss:
    """loss = -(r A - |A| (r - 1)^2 / (2 clip_high)): the best ratio of a token is 1 + clip_high where A > 0.

    r = 1.1, A = 1, clip_high = 0.2 -> -1.075, not clipped;  r = 1.4, A = 1 -> -1, clipped.

    Args:
        tokens: What is known of the tokens; all tensors are [C].
        ratio_C: [C] importance ratio, with gradient.
        clip: The stage's clip_low, clip_high and dual_clip.
    """
    distance_C = ratio_C - 1.0
    penalty_C = tokens.advantages_C.abs() * distance_C.square() / (2 * clip.high)
    return PolicyLoss(penalty_C - ratio_C * tokens.advantages_C, distance_C.detach().abs() > clip.high)
