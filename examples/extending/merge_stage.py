"""A stage kind, `merge`: averages the weights of the policy and of the model that the run started from.

Such averages often keep what fine-tuning taught the model and forget less of its other abilities (WiSE-FT,
arXiv:2109.01903).
"""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from rlkit.plan.stage_plan import RowCounts, StagePlan
from rlkit.recipe.schema import StageKeys
from rlkit.stages.stage import Stage, StageStart


class MergeKeys(StageKeys):
    """The keys of a `merge` stage."""

    kind: Literal["merge"]
    """Averages two models."""
    learns: ClassVar[bool] = False
    share: float = Field(0.5, ge=0, le=1)
    """Weight of the policy; the other model gets 1 - share."""
    path: str | None = None
    """Folder of the other model; by default the run's initial model."""


class MergeStage(Stage[MergeKeys]):
    """Loads both models, averages their weights, and saves the result."""

    Keys = MergeKeys

    def plan(self, rows: RowCounts | None) -> StagePlan:
        """One step without an optimizer update."""
        return StagePlan(name=self.name, kind="merge", steps=1, updates=0)

    def run(self, start: StageStart, out: Path) -> None:
        """See Stage."""
        import torch

        from rlkit.disk import replaced_atomically
        from rlkit.models.pretrained import load_model
        from rlkit.models.save import save_model
        from rlkit.models.tokenizer import load_tokenizer

        other = self.keys.path or self.recipe.model.path or str(start.run_dir / "start")
        model, base = load_model(start.model), dict(load_model(other).named_parameters())
        with torch.no_grad():
            for name, weight in model.named_parameters():  # yields tied weights once
                weight.lerp_(base[name], 1 - self.keys.share)
        with replaced_atomically(out) as folder:
            save_model(model, load_tokenizer(start.model), folder)
        self.done_step = 1
        start.report.line(f"{self.name}: averaged {start.model} and {other}")
