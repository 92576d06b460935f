"""What a plan holds of each stage, and what it asks a kind of stage for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rlkit.plan.model_size import ModelSize


@dataclass(frozen=True)
class RowCounts:
    """How many rows the data holds."""

    tasks: int | None
    """Training tasks, the held-out ones taken out; None where no stage needs any."""
    heldout: int
    """Held-out tasks."""
    demonstrations: Mapping[int, int]
    """Rows that a stage learns from in place of tasks, by the stage's number."""


@dataclass(frozen=True)
class StagePlan:
    """One stage in numbers; null: cannot be told before the data is read."""

    name: str
    """Its folder in the run."""
    kind: str
    """sft, grpo, ..."""
    steps: int | None
    """RL: rounds of sample, score, update, sync; SFT: optimizer steps."""
    updates: int | None
    """Optimizer updates in all."""
    prompts_per_step: int = 0
    """RL: prompts a step; SFT: demonstrations a step."""
    samples_per_step: int = 0
    """prompts_per_step x samples_per_prompt; SFT: 0."""
    prompts: int | None = None
    """Prompts, or demonstrations, in all."""
    samples: int = 0
    """Samples in all."""
    max_tokens_per_step: int = 0
    """RL: tokens drawn in a step, at most."""
    max_tokens: int = 0
    """RL: tokens drawn in all, at most."""
    steps_per_epoch: float | None = None
    """Steps that one pass over the training tasks takes."""


@dataclass(frozen=True)
class FilePlan:
    """Something the run writes."""

    path: str
    """Where."""
    gib: float | None
    """Size at most, where it can be told."""
    what: str
    """What it is for."""


class PlannedStage(Protocol):
    """What a plan asks a stage for (`rlkit.stages.stage.Stage`)."""

    def plan(self, rows: RowCounts | None) -> StagePlan:
        """The stage in numbers.

        Args:
            rows: What the data holds, where it was read.
        """

    def files(self, folder: Path, size: ModelSize) -> Iterator[FilePlan]:
        """What the stage writes into the run's folder, beside its model.

        Args:
            folder: The run's.
            size: Of the run's model.
        """
