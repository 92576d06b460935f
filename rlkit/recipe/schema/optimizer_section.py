"""The keys of AdamW and its learning-rate schedule, shared by all training stages."""

from typing import Annotated, Literal

from pydantic import Field

from rlkit.recipe.schema.section import Section


class OptimizerKeys(Section):
    """AdamW and its learning-rate schedule."""

    learning_rate: float = Field(1e-6, gt=0, le=1)
    """Peak learning rate."""
    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Schedule after the warm-up: constant, or decay to 0 at the stage's last update."""
    warmup_steps: int = Field(0, ge=0)
    """Updates in which the learning rate rises linearly from 0."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        (0.9, 0.99), strict=False
    )
    """AdamW's two betas."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW's decoupled weight decay, on matrices only."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients with a larger norm are scaled down to this one."""
