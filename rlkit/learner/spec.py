"""The learner's settings and the report of a step: plain records, which the driver can import without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rlkit.recipe.schema import LearnerKeys, OnlineKeys


@dataclass(frozen=True)
class LearnerSpec:
    """Everything that defines a learner."""

    model_path: str
    """Folder or Hub name of the stage's start weights."""
    stage: OnlineKeys
    """The stage's section of the recipe: the algorithm."""
    keys: LearnerKeys
    """The recipe's `learner` section: precision, packing, threads."""
    temperature: float
    """Sampling temperature; log-probs are computed at it."""
    max_tokens: int
    """Longest reply, in tokens."""
    threads: int
    """CPU threads of each rank."""
    deterministic: bool
    """Make torch raise on operations that are not deterministic."""
    seed: int
    """Seed of new adapters."""
    recipe_dir: Path = Path()
    """Folder that a `./file.py:function` in `stage.objective` is relative to; every rank must be able to read it."""

    @property
    def device(self) -> str:
        """Device that the networks run on."""
        return "cuda" if self.keys.gpus else "cpu"

    @property
    def weights_device(self) -> str:
        """Device that weights are loaded to; sharded ones move to the GPU part by part later."""
        return "cpu" if self.keys.sharded else self.device


@dataclass(frozen=True)
class UpdateReport:
    """The results of a step's updates."""

    metrics: dict[str, float]
    """Metrics by their names in metrics.jsonl."""
    advantages: tuple[tuple[float | None, ...], ...]
    """For each group and sample, the mean advantage over its tokens; None if the sample was not used in a loss."""
