"""The plan of one stage, and the interface that a stage implements for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rlkit.plan.model_size import ModelSize


@dataclass(frozen=True)
class RowCounts:
    """Row counts of the data."""

    tasks: int | None
    """Training tasks without the held-out ones; None if no stage needs tasks."""
    heldout: int
    """Held-out tasks."""
    demonstrations: Mapping[int, int]
    """By stage index: rows of a stage that trains on demonstrations instead of tasks."""


@dataclass(frozen=True)
class StagePlan:
    """The numbers of one stage. None: unknown until the data is read."""

    name: str
    """Name of the stage and of its folder in the run."""
    kind: str
    """sft, grpo, ..."""
    steps: int | None
    """RL: training steps; SFT: optimizer steps."""
    updates: int | None
    """Optimizer updates of the whole stage."""
    prompts_per_step: int = 0
    """RL: prompts per step; SFT: demonstrations per step."""
    samples_per_step: int = 0
    """prompts_per_step x samples_per_prompt; SFT: 0."""
    prompts: int | None = None
    """Prompts or demonstrations of the whole stage."""
    samples: int = 0
    """Samples of the whole stage."""
    max_tokens_per_step: int = 0
    """RL: maximum number of tokens sampled per step."""
    max_tokens: int = 0
    """RL: maximum number of tokens sampled in the whole stage."""
    steps_per_epoch: float | None = None
    """Steps of one pass over the training tasks."""


@dataclass(frozen=True)
class FilePlan:
    """A file or folder that the run writes."""

    path: str
    """Path of the file or folder."""
    gib: float | None
    """Maximum size in GiB; None if unknown."""
    what: str
    """Its content, for the user."""


class PlannedStage(Protocol):
    """The methods of a stage that the plan uses (`rlkit.stages.stage.Stage`)."""

    def plan(self, rows: RowCounts | None) -> StagePlan:
        """The numbers of the stage.

        Args:
            rows: Row counts of the data; None if it was not read.
        """

    def files(self, folder: Path, size: ModelSize) -> Iterator[FilePlan]:
        """The files that the stage writes into the run's folder, except its model.

        Args:
            folder: The run's folder.
            size: Size of the run's model.
        """
