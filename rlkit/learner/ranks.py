"""The learner's ranks: which one this process is, and sums over all of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """This process among the learner's processes."""

    rank: int = 0
    """From 0."""
    size: int = 1
    """How many there are."""
    second_group: dist.ProcessGroup | None = None
    """For exchanges of another thread, such as a save's: those of two threads in one group would mix. None: alone."""

    def sum(self, value: Tensor) -> Tensor:
        """The sum of every rank's tensor, on every rank."""
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value, dist.ReduceOp.SUM)
        return value

    def max(self, value: Tensor) -> Tensor:
        """The largest of every rank's tensor, element by element, on every rank."""
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value, dist.ReduceOp.MAX)
        return value

    def gather_tokens(self, values_C: Tensor) -> Tensor:
        """Per-token values of which each rank worked out its own rows' and left the others 0."""
        return self.sum(values_C)
