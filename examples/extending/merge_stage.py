"""A kind of stage, `merge`: the weights half way between the policy and the model that it started from.

Such averages often keep what fine-tuning has taught and lose less of what it has not (WiSE-FT, arXiv:2109.01903).
"""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from rlkit.plan.stage_plan import RowCounts, StagePlan
from rlkit.recipe.schema import StageKeys
from rlkit.stages.stage import Stage, StageStart


class MergeKeys(StageKeys):
    """The keys of a stage of the kind `merge`."""

    kind: Literal["merge"]
    """Averages two models."""
    learns: ClassVar[bool] = False
    share: float = Field(0.5, ge=0, le=1)
    """Weight of the policy; the rest is the other model's."""
    path: str | None = None
    """Folder of the other model; by default the run's start model."""


class MergeStage(Stage[MergeKeys]):
    """Loads both models, averages their weights, and saves the result."""

    Keys = MergeKeys

    def plan(self, rows: RowCounts | None) -> StagePlan:
        """One step, and no update."""
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
            for name, weight in model.named_parameters():  # a tied one once
                weight.lerp_(base[name], 1 - self.keys.share)
        with replaced_atomically(out) as folder:
            save_model(model, load_tokenizer(start.model), folder)
        self.done_step = 1
        start.report.line(f"{self.name}: averaged {start.model} and {other}")
