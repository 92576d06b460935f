"""AdamW and its learning rate schedule."""

import importlib
import math
from typing import Any

import torch
from torch import nn

from rlkit.errors import RecipeError
from rlkit.recipe.schema import OptimizerKeys


class Schedule:
    """Sets the optimizer's learning rate for the next update."""

    def __init__(self, optimizer: torch.optim.Optimizer, keys: OptimizerKeys, num_updates: int, skipped: int) -> None:
        self._optimizer = optimizer
        self._keys = keys
        self._num_updates = num_updates
        self._skipped = skipped
        self.done = 0
        self.seek(0)

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next update."""
        own = max(0, self.done - self._skipped)
        return self._keys.learning_rate * learning_rate_factor(self._keys, own, self._num_updates)

    def step(self) -> None:
        """Advances by one planned update, whether or not that update changed the weights."""
        self.seek(self.done + 1)

    def seek(self, done: int) -> None:
        """Moves to the position after `done` planned updates."""
        self.done = done
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate


def build_optimizer(
    model: nn.Module, keys: OptimizerKeys, *, num_updates: int, skipped: int = 0, kind: str
) -> tuple[torch.optim.Optimizer, Schedule]:
    """AdamW (arXiv:1711.05101), with weight decay on matrices only, and the recipe's schedule.

    Args:
        model: Its parameters that require gradients are trained.
        keys: Optimizer settings of the stage or of its critic.
        num_updates: The model's updates in the stage.
        skipped: Earlier updates of the stage that do not train this model; the schedule starts after them.
        kind: "adamw", or "adamw_8bit": bitsandbytes' AdamW with 8-bit moments (arXiv:2110.02861).

    Raises:
        RecipeError: bitsandbytes is not installed.
    """
    params = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in params if p.ndim >= 2], "weight_decay": keys.weight_decay},
        {"params": [p for p in params if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    options: dict[str, Any] = {"lr": keys.learning_rate, "betas": keys.betas, "eps": 1e-8}
    if kind == "adamw_8bit":
        optimizer: torch.optim.Optimizer = _bitsandbytes().AdamW8bit(groups, **options)
    else:
        assert kind == "adamw", kind
        # Fused: 2 to 9 times as fast as the loop on a CPU core, and deterministic to the last bit.
        optimizer = torch.optim.AdamW(groups, fused=True, **options)
    return optimizer, Schedule(optimizer, keys, num_updates, skipped)


def _bitsandbytes() -> Any:
    try:
        return importlib.import_module("bitsandbytes.optim")
    except ImportError as e:
        raise RecipeError(
            f"learner.optimizer=adamw_8bit needs the package bitsandbytes ({e}): install it, or set adamw"
        ) from e


def learning_rate_factor(keys: OptimizerKeys, update: int, num_updates: int) -> float:
    """Factor of the peak learning rate for update number `update` (from 0).

    Warm-up of 4 -> 1/4, 2/4, 3/4, 1; then constant, or decaying (linear or cosine) to 0 after the last update.
    """
    if update < keys.warmup_steps:
        return (update + 1) / keys.warmup_steps
    done = (update - keys.warmup_steps) / max(1, num_updates - keys.warmup_steps)
    if keys.lr_schedule == "constant":
        return 1.0
    if keys.lr_schedule == "linear":
        return max(0.0, 1.0 - done)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
