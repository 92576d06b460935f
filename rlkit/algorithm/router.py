"""Load balancing of a mixture of experts, and its metrics.

Axes: T tokens, E experts, L layers with a router.
"""

import math

import torch
from torch import Tensor


def expert_counts(router_logits_TE: Tensor, top_k: int) -> Tensor:
    """[E] float64 number of tokens for which each expert is among the `top_k` largest router logits; no gradient.

    Logits [[2, 1, 0], [2, 0, 1], [0, 2, 1]] with top 1 -> [2, 1, 0], with top 2 -> [2, 2, 2].
    """
    chosen_TK = router_logits_TE.detach().topk(top_k, dim=-1).indices
    return torch.bincount(chosen_TK.flatten(), minlength=router_logits_TE.shape[-1]).double()


def balance_loss(router_logits_TE: Tensor, shares_E: Tensor, *, num_tokens: int) -> Tensor:
    """These tokens' part of one layer's load-balancing loss (Switch Transformer, arXiv:2101.03961, eq. 4-6).

    The loss is E * sum_e f_e P_e. f_e is the fraction of the update's choices that expert e got, and P_e is the mean of
    e's router probability over the update's tokens. f is a count without gradient, so given the whole update's f the
    loss is a sum over tokens, and the parts of an update add up to the whole loss. f sums to 1 for any top-k, so an
    even load gives 1.

    Args:
        router_logits_TE: [T, E] router logits of these tokens, with gradient.
        shares_E: [E] f of the whole update.
        num_tokens: Tokens of the whole update.
    """
    probs_E = torch.softmax(router_logits_TE.float(), dim=-1).sum(0) / num_tokens
    return len(shares_E) * (shares_E.to(probs_E) * probs_E).sum()


def load_metrics(counts_LE: Tensor) -> dict[str, float]:
    """Metrics of how evenly each layer uses its experts.

    max_share: share of the busiest expert, for each layer and the maximum (1/E: even; 1/k: always the same experts).
    entropy: entropy of the shares divided by its maximum ln E, of the least even layer (1: even).

    Args:
        counts_LE: [L, E] how often each expert was chosen.
    """
    shares_LE = counts_LE.double() / counts_LE.sum(-1, keepdim=True).clamp(min=1.0)
    peaks_L = shares_LE.amax(-1)
    entropy_L = -torch.special.xlogy(shares_LE, shares_LE).sum(-1) / math.log(max(2, counts_LE.shape[-1]))
    metrics = {f"max_share/{layer}": float(peak) for layer, peak in enumerate(peaks_L)}
    return metrics | {"max_share": float(peaks_L.max()), "entropy": float(entropy_L.min())}
