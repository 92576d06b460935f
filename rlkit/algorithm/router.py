"""What keeps the experts of a mixture evenly used, and what is reported of it.

Axes: T tokens, E experts, L layers with a router.
"""

import math

import torch
from torch import Tensor


def expert_counts(router_logits_TE: Tensor, top_k: int) -> Tensor:
    """[E] float64: how often each expert is among a token's `top_k` largest router logits. It has no gradient.

    Logits [[2, 1, 0], [2, 0, 1], [0, 2, 1]] with top 1 -> [2, 1, 0], with top 2 -> [2, 2, 2].
    """
    chosen_TK = router_logits_TE.detach().topk(top_k, dim=-1).indices
    return torch.bincount(chosen_TK.flatten(), minlength=router_logits_TE.shape[-1]).double()


def balance_loss(router_logits_TE: Tensor, shares_E: Tensor, *, num_tokens: int) -> Tensor:
    """One layer's load-balancing loss (Switch Transformer, arXiv:2101.03961, eq. 4-6), these tokens' part of it.

    E * sum_e f_e P_e, with f_e the share of all the update's choices that fell on expert e and P_e the mean over its
    tokens of e's router probability. f is a count and has no gradient, so with the whole update's f the loss is a sum
    over tokens: parts of an update add up to the loss of the whole. With f summing to 1 for any top-k, an even use of
    all experts gives 1.

    Args:
        router_logits_TE: [T, E] of these tokens, with gradient.
        shares_E: [E] f, of the whole update.
        num_tokens: Tokens of the whole update.
    """
    probs_E = torch.softmax(router_logits_TE.float(), dim=-1).sum(0) / num_tokens
    return len(shares_E) * (shares_E.to(probs_E) * probs_E).sum()


def load_metrics(counts_LE: Tensor) -> dict[str, float]:
    """How evenly each layer uses its experts.

    max_share: the busiest expert's share, by layer and the largest of all (1/E: even; 1/k: always the same ones).
    entropy: of the shares, over its maximum ln E; the least even layer's (1: even). No token is ever dropped.

    Args:
        counts_LE: [L, E] how often each expert was chosen.
    """
    shares_LE = counts_LE.double() / counts_LE.sum(-1, keepdim=True).clamp(min=1.0)
    peaks_L = shares_LE.amax(-1)
    entropy_L = -torch.special.xlogy(shares_LE, shares_LE).sum(-1) / math.log(max(2, counts_LE.shape[-1]))
    metrics = {f"max_share/{layer}": float(peak) for layer, peak in enumerate(peaks_L)}
    return metrics | {"max_share": float(peaks_L.max()), "entropy": float(entropy_L.min())}
