"""This process's rank in the learner, and reductions over all ranks."""

from __future__ import annotations

from dataclasses import dataclass

import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """This process's place among the learner's processes."""

    rank: int = 0
    """Number of this rank, from 0."""
    size: int = 1
    """Number of ranks."""
    second_group: dist.ProcessGroup | None = None
    """Process group of the saver thread: its collective operations must not mix with the main thread's. None if there
    is one rank."""

    def sum(self, value: Tensor) -> Tensor:
        """The sum of all ranks' tensors, on every rank."""
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value, dist.ReduceOp.SUM)
        return value

    def max(self, value: Tensor) -> Tensor:
        """The elementwise maximum of all ranks' tensors, on every rank."""
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value, dist.ReduceOp.MAX)
        return value

    def gather_tokens(self, values_C: Tensor) -> Tensor:
        """Combines per-token values: each rank has the values of its own rows and 0 elsewhere."""
        return self.sum(values_C)
