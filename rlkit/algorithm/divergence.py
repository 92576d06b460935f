"""Measures how far two policies differ on drawn tokens: KL estimates and importance weights."""

import torch
from torch import Tensor

LOG_RATIO_LIMIT = 20.0
"""Log-ratios are clamped to +-20 nats before exp(), to keep the result finite."""


def kl_estimate(logprobs_C: Tensor, reference_logprobs_C: Tensor, kind: str) -> Tensor:
    """[C] estimates of KL(policy || reference) on tokens drawn from the policy (joschu.net/blog/kl-approx.html).

    With d = policy - reference: k1 = d (unbiased, any sign), k2 = d^2 / 2 (its gradient is the KL's), k3 = e^-d + d - 1
    (unbiased, never negative; GRPO, arXiv:2402.03300, eq. 4; d clamped to LOG_RATIO_LIMIT). d = ln 2 -> 0.693, 0.240,
    0.193.

    Args:
        logprobs_C: [C] the policy's log-probs, in nats.
        reference_logprobs_C: [C] the reference's, in nats.
        kind: "k1", "k2" or "k3".
    """
    delta_C = logprobs_C - reference_logprobs_C
    if kind == "k1":
        return delta_C
    if kind == "k2":
        return delta_C.square() / 2
    assert kind == "k3", kind
    # Clamp both terms: beyond the limit, the linear term alone would push away from the reference.
    delta_C = delta_C.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return torch.exp(-delta_C) + delta_C - 1.0


def sequence_sums(values_C: Tensor, sequence_C: Tensor) -> Tensor:
    """[C] for each token, the sum over its sequence; sequences are numbered 0, 1, ...

    [1, 2, 5], sequences [0, 0, 1] -> [3, 3, 5].
    """
    if not len(values_C):
        return values_C
    sums_S = torch.zeros(int(sequence_C[-1]) + 1, dtype=values_C.dtype, device=values_C.device)
    return sums_S.index_add(0, sequence_C, values_C)[sequence_C]


def importance_ratio(logprobs_C: Tensor, old_logprobs_C: Tensor, sequence_C: Tensor, *, level: str) -> Tensor:
    """[C] ratio of each token's probability under the policy to that under the old policy.

    token: each token's own ratio. sequence: the geometric mean over the sequence, the same for all its tokens (GSPO,
    arXiv:2507.18071, eq. 7). Log-ratios [0.2, 0.4] of one sequence -> token [e^0.2, e^0.4], sequence [e^0.3, e^0.3].

    Args:
        logprobs_C: [C] the policy's log-probs with gradient, in nats.
        old_logprobs_C: [C] the old policy's, in nats.
        sequence_C: [C] number of each token's sequence in the row, ascending.
        level: "token" or "sequence".
    """
    delta_C = logprobs_C - old_logprobs_C
    if level == "sequence":
        counts_C = sequence_sums(torch.ones_like(delta_C), sequence_C)
        delta_C = sequence_sums(delta_C, sequence_C) / counts_C
    else:
        assert level == "token", level
    return torch.exp(delta_C.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT))


def correction_weights(
    learner_logprobs_C: Tensor,
    sampler_logprobs_C: Tensor,
    sequence_C: Tensor,
    *,
    kind: str,
    level: str,
    at_most: float,
    at_least: float,
) -> Tensor:
    """[C] factors of each token's loss that correct for the difference between the sampler and the learner.

    The weight is the ratio of learner to sampler probability, of the token or of its whole sequence (the product, not
    the mean, so that the estimate is unbiased). truncate: limits it to `at_most` (truncated importance sampling,
    Ionides 2008). mask: sets it to 0 outside [at_least, at_most].

    Log-ratios [0, ln 4] at most 2 -> truncate [1, 2], mask [1, 0]; as one sequence truncate [2, 2], mask [0, 0].

    Args:
        learner_logprobs_C: [C] log-probs under the old policy of the loss's ratio, in nats.
        sampler_logprobs_C: [C] log-probs when the tokens were drawn, in nats.
        sequence_C: [C] number of each token's sequence in the row, ascending.
        kind: "truncate" or "mask".
        level: "token" or "sequence".
        at_most: Upper bound.
        at_least: Lower bound of a mask.
    """
    delta_C = learner_logprobs_C - sampler_logprobs_C
    if level == "sequence":
        delta_C = sequence_sums(delta_C, sequence_C)
    weights_C = torch.exp(delta_C.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT))
    if kind == "truncate":
        return weights_C.clamp(max=at_most)
    assert kind == "mask", kind
    inside_C = (weights_C >= at_least) & (weights_C <= at_most)
    return torch.where(inside_C, weights_C, torch.zeros_like(weights_C))
