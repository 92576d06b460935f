"""Builds a step's training batch from graded samples and network outputs: advantages and the critic's targets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlkit.algorithm.advantage import batch_normalized, centred, gae, group_advantages, returns_to_go
from rlkit.algorithm.batch import GradedSamples
from rlkit.algorithm.divergence import kl_estimate
from rlkit.algorithm.step_arrays import TrainBatch
from rlkit.recipe.schema import GrpoKeys, OnlineKeys, PpoKeys


@dataclass(frozen=True)
class Measured:
    """The networks' outputs for each completion token before the step's first update."""

    old_logprobs_C: Tensor | None
    """See TrainBatch."""
    reference_logprobs_C: Tensor | None
    """See TrainBatch."""
    values_C: Tensor | None
    """See TrainBatch."""


def build_batch(graded: GradedSamples, measured: Measured, stage: OnlineKeys) -> TrainBatch:
    """Builds the batch of a step.

    Args:
        graded: The samples that are used.
        measured: Network outputs for these samples; with values if the stage has a critic.
        stage: The stage's keys, which choose how advantages are computed.
    """
    penalty_C = None
    if measured.reference_logprobs_C is not None and stage.kl_in == "reward":
        assert measured.old_logprobs_C is not None
        penalty_C = stage.kl_coef * kl_estimate(measured.old_logprobs_C, measured.reference_logprobs_C, stage.kl)
    lengths_S, returns_C = graded.completion_lengths_S, None
    if isinstance(stage, GrpoKeys):
        advantages_C = compared_advantages(
            graded.rewards_S,
            lengths_S,
            graded.groups_S,
            baseline=stage.baseline,
            normalize=stage.normalize,
            penalty_C=penalty_C,
        )
    else:
        assert isinstance(stage, PpoKeys)
        assert measured.values_C is not None
        advantages_C, returns_C = critic_advantages(
            graded.rewards_S,
            lengths_S,
            measured.values_C,
            gamma=stage.gamma,
            gae_lambda=stage.gae_lambda,
            normalize=stage.normalize == "batch",
            penalty_C=penalty_C,
        )
    return TrainBatch(
        token_ids_N=graded.token_ids_N,
        lengths_S=graded.lengths_S,
        prompt_lengths_S=graded.prompt_lengths_S,
        groups_S=graded.groups_S,
        masked_S=graded.masked_S,
        sampler_logprobs_C=graded.sampler_logprobs_C,
        advantages_C=advantages_C,
        old_logprobs_C=measured.old_logprobs_C,
        reference_logprobs_C=measured.reference_logprobs_C,
        values_C=measured.values_C,
        returns_C=returns_C,
    )


def compared_advantages(
    rewards_S: Tensor,
    completion_lengths_S: Sequence[int],
    groups_S: Sequence[int],
    *,
    baseline: str,
    normalize: str,
    penalty_C: Tensor | None = None,
) -> Tensor:
    """[C] float32 advantages by comparing samples, without a critic.

    group, leave_one_out: compares each sequence with its group. All its tokens have the same advantage, and penalties
    are summed over the sequence. batch: compares each token's return with the mean over all tokens of the step
    (REINFORCE++, arXiv:2501.03262), so a penalty affects its own token and earlier ones.

    Args:
        rewards_S: [S] total reward.
        completion_lengths_S: [S] tokens that get an advantage.
        groups_S: [S] number of each sequence's group.
        baseline: "group", "leave_one_out" or "batch".
        normalize: Divide by the standard deviation of the "group", of the "batch", or "none".
        penalty_C: [C] subtracted from the reward of each token (a KL estimate times its coefficient); None: 0.
    """
    counts = list(completion_lengths_S)
    penalty_C = torch.zeros(sum(counts), dtype=torch.float64) if penalty_C is None else penalty_C.double()
    penalties = torch.split(penalty_C, counts)
    if baseline == "batch":
        advantages_C = _cat(returns_to_go(r) for r in _token_rewards(rewards_S, penalties))
        if normalize == "none":
            return centred(advantages_C).float()
        return batch_normalized(advantages_C, centre=True).float()
    totals_S = rewards_S - torch.tensor([float(p.sum()) for p in penalties], dtype=torch.float64)
    advantages_S = torch.zeros_like(totals_S)
    groups = torch.tensor(groups_S)
    for group in dict.fromkeys(groups_S):
        members = torch.nonzero(groups == group).flatten()
        advantages_S[members] = group_advantages(
            totals_S[members], baseline=baseline, divide_by_std=normalize == "group"
        )
    advantages_C = advantages_S.repeat_interleave(torch.tensor(counts, dtype=torch.int64))
    if normalize == "batch":
        advantages_C = batch_normalized(advantages_C, centre=False)
    return advantages_C.float()


def critic_advantages(
    rewards_S: Tensor,
    completion_lengths_S: Sequence[int],
    values_C: Tensor,
    *,
    gamma: float,
    gae_lambda: float,
    normalize: bool,
    penalty_C: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """([C] advantages, [C] returns for the critic), float32: GAE for each reply, with its reward at the last token.

    Args:
        rewards_S: [S] total reward.
        completion_lengths_S: [S] tokens that get an advantage.
        values_C: [C] the critic's estimate before each token.
        gamma: Discount of a later token's reward.
        gae_lambda: See `gae`.
        normalize: Scale the advantages, not the returns, to mean 0 and standard deviation 1 over the step.
        penalty_C: [C] subtracted from the reward of each token; None: 0.
    """
    counts = list(completion_lengths_S)
    penalty_C = torch.zeros_like(values_C) if penalty_C is None else penalty_C
    rewards = _token_rewards(rewards_S, torch.split(penalty_C.double(), counts))
    values = torch.split(values_C.double(), counts)
    advantages_C = _cat(gae(r, v, gamma=gamma, gae_lambda=gae_lambda) for r, v in zip(rewards, values, strict=True))
    returns_C = advantages_C + values_C.double()
    if normalize:
        advantages_C = batch_normalized(advantages_C, centre=True)
    return advantages_C.float(), returns_C.float()


def _token_rewards(rewards_S: Tensor, penalties: tuple[Tensor, ...]) -> Iterator[Tensor]:
    """Reward of each token of each sequence: minus its penalty, plus the sequence's reward at the last token."""
    for reward, penalty_T in zip(rewards_S.tolist(), penalties, strict=True):
        rewards_T = -penalty_T
        rewards_T[-1] += reward
        yield rewards_T


def _cat(parts: Iterator[Tensor]) -> Tensor:
    return torch.cat([torch.zeros(0, dtype=torch.float64), *parts])
