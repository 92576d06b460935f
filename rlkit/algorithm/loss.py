"""The policy loss, token by token."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PolicyLoss:
    """Per-token loss and what is reported about it; axis C: completion tokens."""

    loss_C: Tensor
    """[C] with gradient."""
    ratio_C: Tensor
    """[C] importance ratio, detached."""
    clipped_C: Tensor
    """[C] bool: the clip took this token's gradient away."""


def clipped_policy_loss(
    logprobs_C: Tensor, old_logprobs_C: Tensor, advantages_C: Tensor, *, clip_low: float, clip_high: float
) -> PolicyLoss:
    """PPO's clipped surrogate (arXiv:1707.06347, eq. 7) with a bound of its own on each side (DAPO, arXiv:2503.14476).

    loss = -min(r A, clip(r, 1 - clip_low, 1 + clip_high) A) with r = exp(logprob - old).

    r = 1.5, A = 1, clip_high = 0.2 -> loss -1.2, clipped;  r = 1.5, A = -1 -> loss 1.5, not clipped.

    Args:
        logprobs_C: [C] under the weights being trained, with gradient, in nats.
        old_logprobs_C: [C] under the policy that drew the tokens.
        advantages_C: [C].
        clip_low: Bound below 1.
        clip_high: Bound above 1.
    """
    ratio_C = torch.exp(logprobs_C - old_logprobs_C)
    bounded_C = ratio_C.clamp(1.0 - clip_low, 1.0 + clip_high)
    free_C, held_C = ratio_C * advantages_C, bounded_C * advantages_C
    return PolicyLoss(
        loss_C=-torch.minimum(free_C, held_C),
        ratio_C=ratio_C.detach(),
        clipped_C=(held_C < free_C).detach(),
    )


def k3_kl(logprobs_C: Tensor, reference_logprobs_C: Tensor) -> Tensor:
    """[C] estimate of KL(policy || reference) that is never negative: e^d - d - 1 with d = reference - policy.

    Schulman's k3 (joschu.net/blog/kl-approx.html), as in GRPO (arXiv:2402.03300, eq. 4). d = 0 -> 0; d = ln 2 -> 0.307.
    """
    delta_C = reference_logprobs_C - logprobs_C
    return torch.exp(delta_C) - delta_C - 1.0


def importance_weights(old_logprobs_C: Tensor, sampler_logprobs_C: Tensor, *, cap: float = 2.0) -> Tensor:
    """[C] learner / sampler probability of each token, at most `cap`: corrects for sampling from another distribution.

    Truncated importance sampling (Ionides 2008); the learner's log-probs are of the weights that drew the samples.
    """
    return torch.exp(old_logprobs_C - sampler_logprobs_C).clamp(max=cap)
