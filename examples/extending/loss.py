"""A loss: the plain policy gradient (REINFORCE), without importance ratio and clipping."""

import torch
from torch import Tensor

from rlkit import ClipRange, PolicyLoss, PolicyTokens


def plain_policy_gradient(tokens: PolicyTokens, ratio_C: Tensor, clip: ClipRange) -> PolicyLoss:
    nothing_is_clipped_C = torch.zeros_like(ratio_C, dtype=torch.bool)
    return PolicyLoss(-tokens.logprobs_C * tokens.advantages_C, nothing_is_clipped_C)
