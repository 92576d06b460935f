"""ScoredGroup -> TrainBatch -> packed micro-batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from rlkit.algorithm.advantage import group_advantages, has_spread, token_weights
from rlkit.records import Sample, ScoredGroup, TrainBatch


@dataclass(frozen=True)
class BatchCounts:
    """What of a step's samples went into the update, and what did not and why."""

    groups: int
    """Groups given."""
    groups_without_spread: int
    """Groups dropped because all their rewards are equal."""
    samples_unscored: int
    """Samples dropped because a reward part could not grade them."""
    samples_used: int
    """Sequences in the batch."""
    tokens_used: int
    """Tokens in the batch, prompts included."""


@dataclass(frozen=True)
class MicroBatch:
    """Several sequences end to end in one row. Axes: T its tokens, C its completion tokens."""

    token_ids_T: Tensor
    """[T] int64."""
    position_ids_T: Tensor
    """[T] int64, restarting at 0 with each sequence: attention keeps the sequences apart by it."""
    predict_C: Tensor
    """[C] index into T of the position that predicts each completion token."""
    targets_C: Tensor
    """[C] completion tokens."""
    sampler_logprobs_C: Tensor
    """[C] float32."""
    advantages_C: Tensor
    """[C] float32."""
    weights_C: Tensor
    """[C] float32, each token's share of the update's loss."""


def group_sample_advantages(group: ScoredGroup, *, divide_by_std: bool) -> tuple[float | None, ...]:
    """Advantage of each sample of a group among its graded ones; None: it is not learned from.

    Unscored samples leave the baseline; a group whose rewards are all equal says nothing and is left out whole.
    """
    graded = [i for i, reward in enumerate(group.rewards) if reward is not None]
    rewards_G = torch.tensor([group.rewards[i] for i in graded], dtype=torch.float64)
    advantages: list[float | None] = [None] * len(group.rewards)
    if has_spread(rewards_G):
        for i, advantage in zip(graded, group_advantages(rewards_G, divide_by_std=divide_by_std).tolist(), strict=True):
            advantages[i] = advantage
    return tuple(advantages)


def build_train_batch(groups: Sequence[ScoredGroup], *, divide_by_std: bool) -> tuple[TrainBatch, BatchCounts]:
    """The sequences to learn from; what stays out is counted."""
    sequences: list[tuple[Sample, float]] = []
    without_spread = 0
    for group in groups:
        advantages = group_sample_advantages(group, divide_by_std=divide_by_std)
        without_spread += all(a is None for a in advantages)
        pairs = zip(group.samples, advantages, strict=True)
        sequences.extend((s, a) for s, a in pairs if a is not None and s.token_ids)
    batch = flatten([s for s, _ in sequences], [a for _, a in sequences])
    unscored = sum(reward is None for group in groups for reward in group.rewards)
    counts = BatchCounts(len(groups), without_spread, unscored, len(sequences), len(batch.token_ids_N))
    return batch, counts


def flatten(samples: Sequence[Sample], advantages: Sequence[float]) -> TrainBatch:
    """Lays samples end to end as the loss wants them."""
    return TrainBatch(
        token_ids_N=torch.tensor([t for s in samples for t in (*s.prompt_ids, *s.token_ids)], dtype=torch.int64),
        lengths_S=tuple(len(s.prompt_ids) + len(s.token_ids) for s in samples),
        prompt_lengths_S=tuple(len(s.prompt_ids) for s in samples),
        sampler_logprobs_C=torch.tensor([x for s in samples for x in s.logprobs], dtype=torch.float32),
        advantages_S=torch.tensor(list(advantages), dtype=torch.float32),
        policy_versions_S=tuple(s.policy_version for s in samples),
    )


def split_updates(groups: Sequence[ScoredGroup], num_updates: int) -> list[list[ScoredGroup]]:
    """The step's groups in `num_updates` parts of nearly equal size, in order."""
    bounds = [round(i * len(groups) / num_updates) for i in range(num_updates + 1)]
    return [list(groups[a:b]) for a, b in pairwise(bounds)]


def plan_packing(lengths_S: Sequence[int], tokens_per_microbatch: int) -> list[list[int]]:
    """Which sequences share a row: first-fit decreasing, so rows are full and few.

    A sequence longer than the limit gets a row of its own. Lengths [5, 4, 3, 2, 2] at 8 -> [[0, 2], [1, 3, 4]].
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for s in sorted(range(len(lengths_S)), key=lambda i: (-lengths_S[i], i)):
        fit = next((r for r, free in enumerate(room) if free >= lengths_S[s]), None)
        if fit is None:
            rows.append([s])
            room.append(tokens_per_microbatch - lengths_S[s])
        else:
            rows[fit].append(s)
            room[fit] -= lengths_S[s]
    return rows


def pack(batch: TrainBatch, *, tokens_per_microbatch: int, loss_mean: str) -> list[MicroBatch]:
    """Cuts an update into rows of at most `tokens_per_microbatch` tokens; the sum of their losses stays the same."""
    lengths_S = torch.tensor(batch.lengths_S)
    completion_S = lengths_S - torch.tensor(batch.prompt_lengths_S)
    weights_S = token_weights(completion_S, loss_mean=loss_mean)
    tokens = torch.split(batch.token_ids_N, list(batch.lengths_S))
    sampler = torch.split(batch.sampler_logprobs_C, completion_S.tolist())
    microbatches = []
    for row in plan_packing(batch.lengths_S, tokens_per_microbatch):
        starts = [0, *torch.cumsum(lengths_S[row], 0).tolist()]
        predict = [
            torch.arange(start + batch.prompt_lengths_S[s] - 1, start + batch.lengths_S[s] - 1)
            for start, s in zip(starts, row, strict=False)
        ]
        repeats = completion_S[row]
        microbatches.append(
            MicroBatch(
                token_ids_T=torch.cat([tokens[s] for s in row]),
                position_ids_T=torch.cat([torch.arange(batch.lengths_S[s]) for s in row]),
                predict_C=torch.cat(predict),
                targets_C=torch.cat([tokens[s][batch.prompt_lengths_S[s] :] for s in row]),
                sampler_logprobs_C=torch.cat([sampler[s] for s in row]),
                advantages_C=batch.advantages_S[row].repeat_interleave(repeats),
                weights_C=weights_S[row].repeat_interleave(repeats),
            )
        )
    return microbatches
