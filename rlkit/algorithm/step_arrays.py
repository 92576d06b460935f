"""Records of arrays, without text: a step's samples as the learner receives them, and the batch that it trains on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from rlkit.records import Sample, ScoredGroup

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Sequences:
    """Prompts and their completions, concatenated: the input of a network.

    Axes: S sequences, N all tokens (prompt and completion) of all sequences, C all completion tokens of all sequences.
    """

    token_ids_N: NDArray[np.int32]
    """[N] token ids."""
    lengths_S: tuple[int, ...]
    """Number of tokens of each sequence, including its prompt; they sum to N."""
    prompt_lengths_S: tuple[int, ...]
    """Number of prompt tokens of each sequence."""

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Sequences:
        """Concatenates samples."""
        return Sequences(
            token_ids_N=_concatenated([ids for s in samples for ids in (s.prompt_ids, s.token_ids)], "int32"),
            lengths_S=tuple(len(s.prompt_ids) + len(s.token_ids) for s in samples),
            prompt_lengths_S=tuple(len(s.prompt_ids) for s in samples),
        )

    @cached_property
    def completion_lengths_S(self) -> tuple[int, ...]:
        """Number of completion tokens of each sequence; they sum to C."""
        return tuple(n - p for n, p in zip(self.lengths_S, self.prompt_lengths_S, strict=True))

    @cached_property
    def starts_N(self) -> tuple[int, ...]:
        """Index along N at which each sequence begins, and N as the last entry."""
        return (0, *accumulate(self.lengths_S))

    @cached_property
    def starts_C(self) -> tuple[int, ...]:
        """Index along C at which each sequence's completion begins, and C as the last entry."""
        return (0, *accumulate(self.completion_lengths_S))

    def tokens_of(self, sequence: int) -> slice:
        """The slice of a sequence's completion tokens along C."""
        return slice(self.starts_C[sequence], self.starts_C[sequence + 1])


def _concatenated(parts: Sequence[Any], dtype: str) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *parts])


@dataclass(frozen=True, eq=False)
class StepSamples:
    """All samples of a step, graded or not, in the step's order: what the learner receives. Contains no text.

    Axes: S samples, Q distinct prompts, P all tokens of these prompts, C all completion tokens of all samples.
    """

    prompt_ids_P: NDArray[np.int32]
    """[P] tokens of all prompts; each prompt occurs once."""
    prompt_lengths_Q: tuple[int, ...]
    """Number of tokens of each prompt; they sum to P."""
    prompts_S: tuple[int, ...]
    """Index of each sample's prompt."""
    completion_ids_C: NDArray[np.int32]
    """[C] sampled tokens."""
    completion_lengths_S: tuple[int, ...]
    """Number of sampled tokens of each sample; they sum to C."""
    sampler_logprobs_C: NDArray[np.float32]
    """[C] the sampler's log-probability of each sampled token."""
    groups_S: tuple[int, ...]
    """Index of each sample's group in the step, ascending from 0."""
    rewards_S: NDArray[np.float64]
    """[S] combined reward; NaN if a part could not grade the sample."""
    truncated_S: tuple[bool, ...]
    """Whether each reply was cut at the token limit."""
    policy_versions_S: tuple[int, ...]
    """Version of the weights that sampled each sample."""

    @classmethod
    def of(cls, groups: Sequence[ScoredGroup]) -> StepSamples:
        """Concatenates the samples of a step's groups."""
        samples = [sample for group in groups for sample in group.samples]
        keys = [sample.prompt_ids.tobytes() for sample in samples]
        prompts = dict(zip(keys, (sample.prompt_ids for sample in samples), strict=True))
        number = {key: i for i, key in enumerate(prompts)}
        rewards = [math.nan if reward is None else reward for group in groups for reward in group.rewards]
        return StepSamples(
            prompt_ids_P=_concatenated(list(prompts.values()), "int32"),
            prompt_lengths_Q=tuple(map(len, prompts.values())),
            prompts_S=tuple(number[key] for key in keys),
            completion_ids_C=_concatenated([sample.token_ids for sample in samples], "int32"),
            completion_lengths_S=tuple(len(sample.token_ids) for sample in samples),
            sampler_logprobs_C=_concatenated([sample.logprobs for sample in samples], "float32"),
            groups_S=tuple(number for number, group in enumerate(groups) for _ in group.samples),
            rewards_S=_concatenated([rewards], "float64"),
            truncated_S=tuple(sample.finish_reason == "length" for sample in samples),
            policy_versions_S=tuple(sample.policy_version for sample in samples),
        )


@dataclass(frozen=True, eq=False)
class TrainBatch(Sequences):
    """The sequences that a step trains on: all inputs of the losses."""

    groups_S: tuple[int, ...]
    """Index of each sequence's group in the step, ascending."""
    masked_S: tuple[bool, ...]
    """A masked sequence counts for baselines but not in the loss."""
    sampler_logprobs_C: Tensor
    """[C] float32, the sampler's log-probability of each completion token."""
    advantages_C: Tensor
    """[C] float32, advantage of each completion token."""
    old_logprobs_C: Tensor | None
    """[C] float32, log-probabilities in the ratio's denominator; None: those of the current weights in the update."""
    reference_logprobs_C: Tensor | None
    """[C] float32, log-probabilities of the KL's reference; None without one."""
    values_C: Tensor | None
    """[C] float32, the critic's values before the step's updates; None without a critic."""
    returns_C: Tensor | None
    """[C] float32, the critic's targets; None without a critic."""
