"""Selects a step's graded samples, splits them into updates, and packs them into micro-batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.algorithm.advantage import has_spread
from rlkit.algorithm.step_arrays import Sequences, StepSamples, TrainBatch
from rlkit.records import ScoredGroup

N = TypeVar("N", bound=np.generic)


@dataclass(frozen=True, eq=False)
class GradedSamples(Sequences):
    """The samples of a step that are used, and counts of those that are not."""

    groups_S: tuple[int, ...]
    """Number of each sequence's group in the step, ascending."""
    masked_S: tuple[bool, ...]
    """Whether a sequence is masked: it counts for baselines but not in a loss."""
    rewards_S: Tensor
    """[S] float64 total reward of each sequence."""
    sampler_logprobs_C: Tensor
    """[C] float32, log-probability of each completion token when it was sampled."""
    places_S: tuple[tuple[int, int], ...]
    """(group, sample) position of each sequence in the step's groups."""
    groups_without_spread: int
    """Groups whose graded rewards are all equal."""
    samples_unscored: int
    """Samples that a reward part could not grade."""


@dataclass(frozen=True)
class MicroBatch:
    """Several sequences, end to end, in one row. Axes: T its tokens, C its completion tokens."""

    token_ids_T: Tensor
    """[T] int64."""
    position_ids_T: Tensor
    """[T] int64, starting at 0 in each sequence."""
    lengths: tuple[int, ...]
    """Tokens of each sequence in the row; their sum is T. Attention uses them to keep the sequences apart."""
    predict_C: Tensor
    """[C] index into T of the position that predicts each completion token."""
    targets_C: Tensor
    """[C] the completion tokens."""
    sequence_C: Tensor
    """[C] number of each completion token's sequence in the row, ascending from 0."""
    places_C: Tensor
    """[C] index of each completion token among the step's completion tokens."""
    weights_C: Tensor
    """[C] float32, each token's weight in the update's loss; all 0 in a padding row, which gives every rank as many
    rows."""

    def of(self, values_C: Tensor) -> Tensor:
        """This row's part of a per-token tensor of the step, on this row's device."""
        return values_C[self.places_C.to(values_C.device)].to(self.weights_C.device)

    def to(self, device: str) -> "MicroBatch":
        """The row with all tensors on a device."""
        tensors = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return MicroBatch(**tensors, lengths=self.lengths)


def gather(step: StepSamples, *, drop_equal: bool, mask_truncated: bool) -> GradedSamples:
    """Selects the samples that are used, in the step's order.

    Args:
        step: The step's samples.
        drop_equal: Leave out groups whose rewards are all equal (dynamic sampling has replaced them).
        mask_truncated: Mask replies that were cut off at the token limit.
    """
    graded_S = ~np.isnan(step.rewards_S)
    dropped: set[int] = set()
    without_spread = 0
    places: list[tuple[int, int]] = []
    for g, size in enumerate(group_sizes(step)):
        here = slice(len(places), len(places) + size)
        differ = has_spread(torch.tensor(step.rewards_S[here][graded_S[here]]))
        without_spread += not differ
        if drop_equal and not differ:
            dropped.add(g)
        places += [(g, i) for i in range(size)]
    kept = [
        s
        for s, (group, length) in enumerate(zip(step.groups_S, step.completion_lengths_S, strict=True))
        if graded_S[s] and length and group not in dropped
    ]
    prompts = _split(step.prompt_ids_P, step.prompt_lengths_Q)
    completions = _split(step.completion_ids_C, step.completion_lengths_S)
    logprobs = _split(step.sampler_logprobs_C, step.completion_lengths_S)
    tokens = [ids for s in kept for ids in (prompts[step.prompts_S[s]], completions[s])]
    prompt_lengths = tuple(step.prompt_lengths_Q[step.prompts_S[s]] for s in kept)
    return GradedSamples(
        token_ids_N=np.concatenate([np.zeros(0, np.int32), *tokens]),
        lengths_S=tuple(n + step.completion_lengths_S[s] for n, s in zip(prompt_lengths, kept, strict=True)),
        prompt_lengths_S=prompt_lengths,
        groups_S=tuple(step.groups_S[s] for s in kept),
        masked_S=tuple(mask_truncated and step.truncated_S[s] for s in kept),
        rewards_S=torch.tensor(step.rewards_S[kept], dtype=torch.float64),
        sampler_logprobs_C=torch.from_numpy(np.concatenate([np.zeros(0, np.float32), *(logprobs[s] for s in kept)])),
        places_S=tuple(places[s] for s in kept),
        groups_without_spread=without_spread,
        samples_unscored=int((~graded_S).sum()),
    )


def _split(values: NDArray[N], lengths: Sequence[int]) -> list[NDArray[N]]:
    """Splits an array into parts of these lengths."""
    return np.split(values, list(accumulate(lengths))[:-1])


def group_sizes(step: StepSamples) -> list[int]:
    """Number of samples of each group."""
    return [int(size) for size in np.bincount(np.array(step.groups_S, np.int64))]


def informative(group: ScoredGroup) -> bool:
    """Whether a group's graded rewards differ, so that it has advantages other than 0."""
    return has_spread(torch.tensor([r for r in group.rewards if r is not None], dtype=torch.float64))


def split_updates(batch: TrainBatch | GradedSamples, num_updates: int) -> list[list[int]]:
    """Splits the step's sequences, in order, into `num_updates` parts with nearly equal numbers of groups; masked
    sequences are left out.

    7 groups in 3 updates -> groups 0-1, 2-4, 5-6.
    """
    number = {group: i for i, group in enumerate(dict.fromkeys(batch.groups_S))}
    bounds = [round(i * len(number) / num_updates) for i in range(num_updates + 1)]
    kept = [s for s, masked in enumerate(batch.masked_S) if not masked]
    return [[s for s in kept if first <= number[batch.groups_S[s]] < end] for first, end in pairwise(bounds)]


def plan_packing(lengths_S: Sequence[int], tokens_per_microbatch: int) -> list[list[int]]:
    """Assigns sequences to rows by first-fit decreasing, so that there are few rows and they are full.

    A sequence longer than the limit gets its own row. Lengths [5, 4, 3, 2, 2] at 8 -> [[0, 2], [1, 3, 4]].
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


def deal_rows(sizes_R: Sequence[int], num_ranks: int) -> list[list[int]]:
    """Distributes rows over ranks: their numbers differ by at most one; the largest row goes to the least loaded rank.

    Sizes [8, 7, 4, 3] on 2 ranks -> [[0, 3], [1, 2]].
    """
    least, one_more = divmod(len(sizes_R), num_ranks)
    dealt: list[list[int]] = [[] for _ in range(num_ranks)]
    for row in sorted(range(len(sizes_R)), key=lambda r: (-sizes_R[r], r)):
        most = least + (sum(len(rows) > least for rows in dealt) < one_more)
        open_ = [rank for rank in range(num_ranks) if len(dealt[rank]) < most]
        rank = min(open_, key=lambda k: (sum(sizes_R[r] for r in dealt[k]), k))
        dealt[rank].append(row)
    return dealt


def pack(
    batch: Sequences,
    *,
    tokens_per_microbatch: int,
    sequences: Sequence[int] | None = None,
    weights_S: Tensor | None = None,
    rank: int = 0,
    num_ranks: int = 1,
) -> list[MicroBatch]:
    """Packs sequences into rows of at most `tokens_per_microbatch` tokens. The packing does not change the summed loss.

    Args:
        batch: The step's sequences.
        tokens_per_microbatch: Most tokens of a row; a longer sequence gets its own row.
        sequences: Indices of the sequences to pack; by default all.
        weights_S: [S] weight of each completion token of a sequence in the loss; by default 0.
        rank: The rank whose rows are returned.
        num_ranks: Number of ranks. All get equally many rows; a rank with one less gets a padding row of weight 0.
    """
    chosen = list(range(len(batch.lengths_S))) if sequences is None else list(sequences)
    rows = [
        [chosen[i] for i in row] for row in plan_packing([batch.lengths_S[s] for s in chosen], tokens_per_microbatch)
    ]
    dealt = deal_rows([sum(batch.lengths_S[s] for s in row) for row in rows], num_ranks)
    weights_S = torch.zeros(len(batch.lengths_S)) if weights_S is None else weights_S
    mine = [_row(batch, rows[r], weights_S) for r in sorted(dealt[rank])]
    if len(mine) < max(map(len, dealt), default=0):
        shortest = min(chosen, key=lambda s: batch.lengths_S[s])
        mine.append(_row(batch, [shortest], torch.zeros(len(batch.lengths_S))))
    return mine


def _row(batch: Sequences, row: Sequence[int], weights_S: Tensor) -> MicroBatch:
    lengths = [batch.lengths_S[s] for s in row]
    prompts = [batch.prompt_lengths_S[s] for s in row]
    starts_T = [0, *accumulate(lengths)]
    repeats = torch.tensor([batch.completion_lengths_S[s] for s in row])
    ids = [batch.token_ids_N[batch.starts_N[s] : batch.starts_N[s + 1]].astype(np.int64) for s in row]
    return MicroBatch(
        token_ids_T=torch.from_numpy(np.concatenate(ids)),
        position_ids_T=torch.cat([torch.arange(n) for n in lengths]),
        lengths=tuple(lengths),
        predict_C=torch.cat(
            [torch.arange(t + p - 1, t + n - 1) for t, p, n in zip(starts_T, prompts, lengths, strict=False)]
        ),
        targets_C=torch.from_numpy(np.concatenate([its[p:] for its, p in zip(ids, prompts, strict=True)])),
        sequence_C=torch.arange(len(row)).repeat_interleave(repeats),
        places_C=torch.cat([torch.arange(batch.starts_C[s], batch.starts_C[s + 1]) for s in row]),
        weights_C=weights_S[list(row)].float().repeat_interleave(repeats),
    )
