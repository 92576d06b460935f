"""What a learner is made from and what its step gives; plain records, so that the driver need not load a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rlkit.recipe.schema import LearnerKeys, OnlineKeys


@dataclass(frozen=True)
class LearnerSpec:
    """Everything a learner is made from."""

    model_path: str
    """Folder or Hub name of the stage's start weights."""
    stage: OnlineKeys
    """The algorithm's keys."""
    keys: LearnerKeys
    """Precision, packing, threads."""
    temperature: float
    """Sampling temperature: log-probs are compared at it."""
    max_tokens: int
    """Most tokens of a reply."""
    threads: int
    """CPU threads of each rank."""
    deterministic: bool
    """Refuse torch operations whose result depends on timing."""
    seed: int
    """Of what is drawn before the first update: new adapters."""
    recipe_dir: Path = Path()
    """Folder that a `./file.py:function` of `stage.objective` is relative to; every rank sees it."""

    @property
    def device(self) -> str:
        """Where the networks run."""
        return "cuda" if self.keys.gpus else "cpu"

    @property
    def weights_device(self) -> str:
        """Where weights are loaded: what is sharded goes to its device part by part."""
        return "cpu" if self.keys.sharded else self.device


@dataclass(frozen=True)
class UpdateReport:
    """What a step's updates did."""

    metrics: dict[str, float]
    """By name, as in metrics.jsonl."""
    advantages: tuple[tuple[float | None, ...], ...]
    """By group and sample, the mean over its tokens; None: the sample was in no loss."""
