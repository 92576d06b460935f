"""Requests for samples, and their seeds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlkit.records import Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class DrawRequest:
    """A request for the samples of one group."""

    index: int
    """Position of the prompt in its step; results are sorted by it."""
    task: Task
    """The task of the group."""
    prompt_ids: NDArray[np.int32]
    """[P] tokens of the rendered prompt, including the forced start of the reply."""
    forced: str
    """Text that every reply begins with; it is part of Sample.response."""
    seeds: tuple[int, ...]
    """One seed for each sample."""
    greedy: bool = False
    """Always take the most likely token; only evaluations do."""
    truncated: bool = True
    """Sample with the recipe's top_p, top_k and min_p; the parity canary does not."""
    max_tokens: int | None = None
    """Longest reply in tokens; None: the recipe's limit."""


def derive_seed(run_seed: int, *path: int | str) -> int:
    """A seed that depends only on the run's seed and the sample's position, such as ("train", 3, 17, 0).

    It is 63 bits of SHA-256: neighbouring positions have unrelated seeds, and every machine derives the same ones.
    """
    digest = hashlib.sha256(repr((run_seed, *path)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
