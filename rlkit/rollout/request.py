"""What an engine is asked to draw."""

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
    """One group to draw."""

    index: int
    """Position of the prompt in its step; results are put back into this order."""
    task: Task
    """The task, carried along into the group."""
    prompt_ids: NDArray[np.int32]
    """[P] the rendered prompt, the forced start of the reply included."""
    forced: str
    """Text that the reply is made to begin with; it is part of Sample.response."""
    seeds: tuple[int, ...]
    """One seed a sample."""
    greedy: bool = False
    """Take the likeliest token each time (evaluation); training never does."""
    truncated: bool = True
    """Sample with the recipe's top_p, top_k and min_p; the parity canary does without them."""
    max_tokens: int | None = None
    """Most tokens of a reply, where it is not the recipe's."""


def derive_seed(run_seed: int, *path: int | str) -> int:
    """A seed that depends on nothing but the run's seed and the sample's place, such as ("train", 3, 17, 0).

    63 bits of SHA-256: neighbouring places give unrelated seeds, on every machine and worker the same.
    """
    digest = hashlib.sha256(repr((run_seed, *path)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
