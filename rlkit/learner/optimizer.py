"""AdamW and its schedule."""

import math

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from rlkit.recipe.schema import Optimizer as OptimizerKeys


def build_optimizer(
    model: nn.Module, keys: OptimizerKeys, *, num_updates: int
) -> tuple[torch.optim.Optimizer, LambdaLR]:
    """AdamW (arXiv:1711.05101) with weight decay on matrices only, and the recipe's schedule over `num_updates`."""
    params = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in params if p.ndim >= 2], "weight_decay": keys.weight_decay},
        {"params": [p for p in params if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=keys.learning_rate, betas=keys.betas, eps=1e-8)
    return optimizer, LambdaLR(optimizer, lambda update: learning_rate_factor(keys, update, num_updates))


def learning_rate_factor(keys: OptimizerKeys, update: int, num_updates: int) -> float:
    """Share of the peak learning rate for update number `update` (from 0).

    Warm-up of 4 -> 1/4, 2/4, 3/4, 1; then constant, or linearly or by a cosine towards 0 after the last update.
    """
    if update < keys.warmup_steps:
        return (update + 1) / keys.warmup_steps
    done = (update - keys.warmup_steps) / max(1, num_updates - keys.warmup_steps)
    if keys.lr_schedule == "constant":
        return 1.0
    if keys.lr_schedule == "linear":
        return max(0.0, 1.0 - done)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
