"""The losses of single tokens; the caller weights and sums them."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PolicyLoss:
    """The loss of each token, and whether it was clipped; axis C: completion tokens."""

    loss_C: Tensor
    """[C] loss with gradient."""
    clipped_C: Tensor
    """[C] bool: whether a bound, and not the ratio, determines this token's loss."""


def clipped_policy_loss(
    ratio_C: Tensor, advantages_C: Tensor, *, clip_low: float, clip_high: float, dual_clip: float | None = None
) -> PolicyLoss:
    """PPO's clipped surrogate (arXiv:1707.06347, eq. 7) with separate bounds on each side (DAPO, arXiv:2503.14476).

    loss = -min(r A, clip(r, 1 - clip_low, 1 + clip_high) A); with a dual clip c (arXiv:1912.09729, eq. 5) it is at most
    -c A if A is negative.

    r = 1.5, A = 1, clip_high = 0.2 -> -1.2, clipped;  r = 1.5, A = -1 -> 1.5, not clipped;  r = 5, A = -1, c = 3 -> 3.

    Args:
        ratio_C: [C] importance ratio with gradient.
        advantages_C: [C] advantages.
        clip_low: The ratio counts as at least 1 - clip_low.
        clip_high: The ratio counts as at most 1 + clip_high.
        dual_clip: Bound of the ratio if the advantage is negative, above 1; None: no such bound.
    """
    free_C = ratio_C * advantages_C
    held_C = ratio_C.clamp(1.0 - clip_low, 1.0 + clip_high) * advantages_C
    gain_C = torch.minimum(free_C, held_C)
    clipped_C = held_C < free_C
    if dual_clip is not None:
        floor_C = dual_clip * advantages_C
        below_C = (advantages_C < 0) & (gain_C < floor_C)
        gain_C = torch.where(below_C, floor_C, gain_C)
        clipped_C = clipped_C | below_C
    return PolicyLoss(-gain_C, clipped_C.detach())


def cispo_loss(
    logprobs_C: Tensor, ratio_C: Tensor, advantages_C: Tensor, *, clip_low: float, clip_high: float
) -> PolicyLoss:
    """REINFORCE weighted by the clipped importance ratio, without its gradient (CISPO, arXiv:2506.13585, eq. 4).

    loss = -clip(r, 1 - clip_low, 1 + clip_high) A logprob. r = 3, A = 2, logprob = -1, clip_high = 1 -> 4, clipped.

    Args:
        logprobs_C: [C] log-probs with gradient, in nats.
        ratio_C: [C] importance ratio.
        advantages_C: [C] advantages.
        clip_low: The ratio counts as at least 1 - clip_low; 1: no bound.
        clip_high: The ratio counts as at most 1 + clip_high.
    """
    ratio_C = ratio_C.detach()
    held_C = ratio_C.clamp(1.0 - clip_low, 1.0 + clip_high)
    return PolicyLoss(-held_C * advantages_C * logprobs_C, held_C != ratio_C)


def value_loss(values_C: Tensor, old_values_C: Tensor, returns_C: Tensor, *, clip: float | None) -> Tensor:
    """[C] half the squared error of the critic. With a clip, the larger of this and the error of the value clamped to
    within `clip` of the old value (as in the code released with arXiv:1707.06347).

    Value 1, old 0, return 1 -> 0;  clipped at 0.2: the clamped value is 0.2 -> 0.32.

    Args:
        values_C: [C] values with gradient, in reward units.
        old_values_C: [C] values before the step's updates.
        returns_C: [C] targets.
        clip: Largest change of a value, in reward units; None: unlimited.
    """
    loss_C = (values_C - returns_C).square()
    if clip is not None:
        held_C = old_values_C + (values_C - old_values_C).clamp(-clip, clip)
        loss_C = torch.maximum(loss_C, (held_C - returns_C).square())
    return loss_C / 2


def token_weights(completion_lengths_S: Tensor, *, loss_mean: str, max_tokens: int) -> Tensor:
    """[S] float64 weight of each completion token of a sequence in the update's loss.

    token: 1 / (all completion tokens) (DAPO, arXiv:2503.14476, eq. 8).
    sequence: 1 / (S x the sequence's length) (GRPO as published, arXiv:2402.03300, eq. 3).
    constant: 1 / (S x max_tokens) (Dr. GRPO, arXiv:2503.20783).

    Lengths [1, 3], max_tokens 10 -> token [1/4, 1/4]; sequence [1/2, 1/6]; constant [1/20, 1/20].

    The denominators are those of the whole update, so splitting it into micro-batches and ranks changes nothing.

    Args:
        completion_lengths_S: [S] completion tokens of each sequence.
        loss_mean: "token", "sequence" or "constant".
        max_tokens: Longest possible reply, in tokens.
    """
    lengths_S = completion_lengths_S.double()
    count = len(lengths_S)
    if loss_mean == "token":
        return torch.ones_like(lengths_S) / lengths_S.sum()
    if loss_mean == "sequence":
        return 1.0 / (count * lengths_S)
    assert loss_mean == "constant", loss_mean
    return torch.full_like(lengths_S, 1.0 / (count * max_tokens))
