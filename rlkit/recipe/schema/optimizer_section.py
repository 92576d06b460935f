"""The keys of AdamW and its schedule, which every stage that learns has."""

from typing import Annotated, Literal

from pydantic import Field

from rlkit.recipe.schema.section import Section


class OptimizerKeys(Section):
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
