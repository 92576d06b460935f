"""The keys of an `sft` stage."""

from typing import Literal, Self

from pydantic import Field, model_validator

from rlkit.recipe.schema.data_section import RowsKeys
from rlkit.recipe.schema.optimizer_section import OptimizerKeys
from rlkit.recipe.schema.stage_kinds import StageKeys


class SftKeys(StageKeys, OptimizerKeys):
    """Supervised fine-tuning on demonstrations, with TRL's SFTTrainer."""

    kind: Literal["sft"]
    """Supervised fine-tuning."""
    learning_rate: float = Field(2e-5, gt=0, le=1)
    """Peak learning rate."""
    data: RowsKeys | None = None
    """Demonstrations (columns prompt and response); by default the recipe's `data` section."""
    steps: int | None = Field(None, ge=1)
    """Optimizer steps; give either steps or epochs."""
    epochs: float | None = Field(None, gt=0)
    """Passes over the data; by default 1 if steps is not given."""
    batch_size: int = Field(64, ge=1)
    """Demonstrations per optimizer step, all in one forward pass."""
    max_length: int | None = Field(None, ge=8)
    """Maximum length of a demonstration, in tokens; by default the model's context length. A longer one is a bad
    row."""
    timeout_s: float = Field(86_400, gt=0)
    """Maximum duration of the stage, in seconds."""

    @property
    def own_rows(self) -> RowsKeys | None:
        """The stage's own `data` section."""
        return self.data

    def with_context(self, context: int) -> Self:
        """See StageKeys: max_length defaults to the model's context length."""
        return self if self.max_length is not None else self.model_copy(update={"max_length": context})

    @model_validator(mode="after")
    def _check_steps_or_epochs(self) -> Self:
        if self.steps is not None and self.epochs is not None:
            raise ValueError(f"give one of steps={self.steps} and epochs={self.epochs:g}, not both")
        return self
