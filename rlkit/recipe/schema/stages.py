"""`stages`: what is done to the model, in order."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rlkit.recipe.schema.data import Rows
from rlkit.recipe.schema.section import Section


class Optimizer(Section):
    """AdamW and its schedule, shared by every stage that learns."""

    learning_rate: float = Field(1e-6, gt=0, le=1)
    """Peak learning rate."""
    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """What follows the warm-up: stay, or fall to 0 at the stage's last update."""
    warmup_steps: int = Field(0, ge=0)
    """Updates of linear warm-up from 0."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        (0.9, 0.99), strict=False
    )
    """AdamW's decay rates."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW's decoupled weight decay, on matrices only."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients are scaled down to this norm."""


class SftStage(Optimizer):
    """Supervised fine-tuning on demonstrations (the cold start), by TRL's SFTTrainer."""

    kind: Literal["sft"]
    """Supervised fine-tuning."""
    learning_rate: float = Field(2e-5, gt=0, le=1)
    """Peak learning rate."""
    data: Rows | None = None
    """Demonstrations (columns prompt and response); by default the recipe's data."""
    steps: int | None = Field(None, ge=1)
    """Optimizer steps; give steps or epochs."""
    epochs: float | None = Field(None, gt=0)
    """Passes over the data; by default 1 where steps is not given."""
    batch_size: int = Field(64, ge=1)
    """Demonstrations an optimizer step, all in one forward pass."""
    max_length: int | None = Field(None, ge=8)
    """Longest demonstration in tokens, by default the model's context; a longer one is a bad row."""
    timeout_s: float = Field(86_400, gt=0)
    """Longest time for the stage, in seconds."""

    @model_validator(mode="after")
    def _steps_or_epochs(self) -> Self:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("give one of steps and epochs")
        return self


class GrpoStage(Optimizer):
    """Group relative policy optimisation (DeepSeekMath, arXiv:2402.03300)."""

    kind: Literal["grpo"]
    """Group relative policy optimisation."""
    steps: int = Field(ge=1)
    """Rounds of sample, score, update, sync."""
    prompts_per_step: int = Field(32, ge=1)
    """Prompts a step."""
    samples_per_prompt: int = Field(8, ge=2)
    """Samples a prompt: the group that the baseline is taken over."""
    updates_per_step: int = Field(1, ge=1)
    """Optimizer updates a step; the step's prompts are split into that many parts."""
    clip_low: float = Field(0.2, ge=0, lt=1)
    """The importance ratio is clipped from below at 1 - clip_low."""
    clip_high: float = Field(0.2, ge=0)
    """The importance ratio is clipped from above at 1 + clip_high."""
    loss_mean: Literal["token", "sequence"] = "token"
    """token: mean over all tokens (DAPO, arXiv:2503.14476); sequence: mean over sequences of their means (GRPO as
    published)."""
    normalize_by_std: bool = True
    """Divide the group's centred rewards by their standard deviation; off: Dr. GRPO (arXiv:2503.20783)."""
    kl_coef: float = Field(0.0, ge=0)
    """Weight of the KL to the stage's start model (k3 estimator); 0: no reference model is kept."""

    @model_validator(mode="after")
    def _updates_divide(self) -> Self:
        if self.updates_per_step > self.prompts_per_step:
            raise ValueError(
                f"updates_per_step={self.updates_per_step} needs at least as many prompts_per_step, "
                f"got {self.prompts_per_step}"
            )
        return self


Stage = Annotated[SftStage | GrpoStage, Field(discriminator="kind")]
