"""Log-probabilities and entropy of drawn tokens without ever holding [tokens x vocabulary] at once."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK_TOKENS = 512
"""Rows of logits held at once; recomputed in the backward pass."""


def _chunk(
    head: Callable[[Tensor], Tensor], hidden_KH: Tensor, targets_K: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    logits_KV = head(hidden_KH).float() / temperature
    log_z_K = torch.logsumexp(logits_KV, dim=-1)
    logprobs_K = logits_KV.gather(-1, targets_K[:, None]).squeeze(-1) - log_z_K
    with torch.no_grad():
        probs_KV = torch.exp(logits_KV - log_z_K[:, None])
        entropy_K = log_z_K - (probs_KV * logits_KV).sum(-1)
    return logprobs_K, entropy_K


def token_logprobs(
    head: Callable[[Tensor], Tensor],
    hidden_CH: Tensor,
    targets_C: Tensor,
    *,
    temperature: float,
    chunk_tokens: int = CHUNK_TOKENS,
) -> tuple[Tensor, Tensor]:
    """Log-probability of each target and entropy of its distribution, at the sampling temperature.

    Args:
        head: Output layer, [K, H] -> [K, V] logits.
        hidden_CH: [C, H] last hidden states at the positions that predict the targets.
        targets_C: [C] drawn tokens.
        temperature: Logits are divided by it, as the sampler did.
        chunk_tokens: Rows of logits held at once.

    Returns:
        logprobs_C: [C] float32 with gradient, in nats.
        entropy_C: [C] float32 without gradient, in nats.
    """
    logprobs: list[Tensor] = []
    entropies: list[Tensor] = []
    for hidden_KH, targets_K in zip(
        torch.split(hidden_CH, chunk_tokens), torch.split(targets_C, chunk_tokens), strict=True
    ):
        if torch.is_grad_enabled():
            pair = checkpoint(_chunk, head, hidden_KH, targets_K, temperature, use_reentrant=False)
        else:
            pair = _chunk(head, hidden_KH, targets_K, temperature)
        logprobs.append(pair[0])
        entropies.append(pair[1])
    return torch.cat(logprobs), torch.cat(entropies)
