"""How far two policies are apart on the tokens that were drawn: KL estimates and importance weights."""

import torch
from torch import Tensor

LOG_RATIO_LIMIT = 20.0
"""Log-ratios are held within this many nats before they are exponentiated: e^20 is as good as infinite, and finite."""


def kl_estimate(logprobs_C: Tensor, reference_logprobs_C: Tensor, kind: str) -> Tensor:
    """[C] estimates of KL(policy || reference) from tokens that the policy drew (joschu.net/blog/kl-approx.html).

    With d = policy - reference: k1 = d (unbiased, any sign), k2 = d^2 / 2 (its gradient is the KL's), k3 = e^-d + d - 1
    (unbiased, never negative; GRPO, arXiv:2402.03300, eq. 4; d held within LOG_RATIO_LIMIT). d = ln 2 -> 0.693, 0.240,
    0.193.

    Args:
        logprobs_C: [C] in nats.
        reference_logprobs_C: [C] in nats.
        kind: "k1", "k2" or "k3".
    """
    delta_C = logprobs_C - reference_logprobs_C
    if kind == "k1":
        return delta_C
    if kind == "k2":
        return delta_C.square() / 2
    assert kind == "k3", kind
    # Both terms: beyond the limit the second one alone would push away from the reference.
    delta_C = delta_C.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return torch.exp(-delta_C) + delta_C - 1.0


def sequence_sums(values_C: Tensor, sequence_C: Tensor) -> Tensor:
    """[C] for each token the sum over its sequence; sequences are numbered 0, 1, ...

    [1, 2, 5], sequences [0, 0, 1] -> [3, 3, 5].
    """
    if not len(values_C):
        return values_C
    sums_S = torch.zeros(int(sequence_C[-1]) + 1, dtype=values_C.dtype, device=values_C.device)
    return sums_S.index_add(0, sequence_C, values_C)[sequence_C]


def importance_ratio(logprobs_C: Tensor, old_logprobs_C: Tensor, sequence_C: Tensor, *, level: str) -> Tensor:
    """[C] probability of each token under the policy over that under the old one.

    token: its own ratio. sequence: the geometric mean over the sequence's tokens, the same for each of them (GSPO,
    arXiv:2507.18071, eq. 7). Log-ratios [0.2, 0.4] of one sequence -> token [e^0.2, e^0.4], sequence [e^0.3, e^0.3].

    Args:
        logprobs_C: [C] with gradient, in nats.
        old_logprobs_C: [C] in nats.
        sequence_C: [C] number of each token's sequence in the row, rising.
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
    """[C] what each token's loss is multiplied by, because another distribution than the learner's drew it.

    The weight is learner / sampler probability: of the token, or of its whole sequence (the product, not the mean: the
    estimate is then unbiased). truncate: at most `at_most` (truncated importance sampling, Ionides 2008); mask: 0 where
    it is not within [at_least, at_most], itself elsewhere.

    Log-ratios [0, ln 4] at most 2 -> truncate [1, 2], mask [1, 0]; as one sequence truncate [2, 2], mask [0, 0].

    Args:
        learner_logprobs_C: [C] under the weights that the ratio of the loss is against, in nats.
        sampler_logprobs_C: [C] as they were drawn, in nats.
        sequence_C: [C] number of each token's sequence in the row, rising.
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
