"""Rewards of sequences -> advantages of tokens, and the critic's targets."""

from collections.abc import Iterator

import torch
from torch import Tensor

from rlkit.algorithm.advantage import batch_normalized, centred, gae, group_advantages, returns_to_go
from rlkit.records import TrainBatch


def compared_advantages(
    batch: TrainBatch, rewards_S: Tensor, *, baseline: str, normalize: str, penalty_C: Tensor | None = None
) -> Tensor:
    """[C] float32 advantages without a critic.

    group, leave_one_out: each sequence against its group; all its tokens share one number, and a penalty counts by its
    sum over the sequence. batch: each token's reward to go against the mean of all tokens of the step (REINFORCE++,
    arXiv:2501.03262), so that a penalty counts from its own token backwards.

    Args:
        batch: The step's sequences.
        rewards_S: [S] total reward.
        baseline: "group", "leave_one_out" or "batch".
        normalize: "group", "batch" or "none": whose standard deviation divides.
        penalty_C: [C] taken off the reward of each token (a KL estimate times its coefficient); None: nothing.
    """
    counts = list(batch.completion_lengths_S)
    penalty_C = torch.zeros(sum(counts), dtype=torch.float64) if penalty_C is None else penalty_C.double()
    penalties = torch.split(penalty_C, counts)
    if baseline == "batch":
        advantages_C = _cat(returns_to_go(r) for r in _token_rewards(rewards_S, penalties))
        if normalize == "none":
            return centred(advantages_C).float()
        return batch_normalized(advantages_C, centre=True).float()
    totals_S = rewards_S - torch.tensor([float(p.sum()) for p in penalties], dtype=torch.float64)
    advantages_S = torch.zeros_like(totals_S)
    groups_S = torch.tensor(batch.groups_S)
    for group in dict.fromkeys(batch.groups_S):
        members = torch.nonzero(groups_S == group).flatten()
        advantages_S[members] = group_advantages(
            totals_S[members], baseline=baseline, divide_by_std=normalize == "group"
        )
    advantages_C = advantages_S.repeat_interleave(torch.tensor(counts, dtype=torch.int64))
    if normalize == "batch":
        advantages_C = batch_normalized(advantages_C, centre=False)
    return advantages_C.float()


def critic_advantages(
    batch: TrainBatch,
    rewards_S: Tensor,
    values_C: Tensor,
    *,
    gamma: float,
    gae_lambda: float,
    normalize: bool,
    penalty_C: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """([C] advantages, [C] returns for the critic), float32: GAE a reply, its reward at the last token.

    Args:
        batch: The step's sequences.
        rewards_S: [S] total reward.
        values_C: [C] the critic's estimate before each token.
        gamma: Discount of a later token's reward.
        gae_lambda: See `gae`.
        normalize: Bring the advantages to mean 0 and deviation 1 over the step; the returns stay.
        penalty_C: [C] taken off the reward of each token; None: nothing.
    """
    counts = list(batch.completion_lengths_S)
    penalty_C = torch.zeros_like(values_C) if penalty_C is None else penalty_C
    rewards = _token_rewards(rewards_S, torch.split(penalty_C.double(), counts))
    values = torch.split(values_C.double(), counts)
    advantages_C = _cat(gae(r, v, gamma=gamma, gae_lambda=gae_lambda) for r, v in zip(rewards, values, strict=True))
    returns_C = advantages_C + values_C.double()
    if normalize:
        advantages_C = batch_normalized(advantages_C, centre=True)
    return advantages_C.float(), returns_C.float()


def _token_rewards(rewards_S: Tensor, penalties: tuple[Tensor, ...]) -> Iterator[Tensor]:
    """Reward of each token of each sequence: what is taken off, and the whole reward at the end."""
    for reward, penalty_T in zip(rewards_S.tolist(), penalties, strict=True):
        rewards_T = -penalty_T
        rewards_T[-1] += reward
        yield rewards_T


def _cat(parts: Iterator[Tensor]) -> Tensor:
    return torch.cat([torch.zeros(0, dtype=torch.float64), *parts])
