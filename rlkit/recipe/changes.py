"""Compares the recipe that a run was started with and the recipe that it is resumed with. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import zip_longest
from typing import Any

HARMLESS = (
    *("run.name", "run.dir", "run.mirror*", "checkpoint.*", "tracking.*", "cluster.*", "evaluation.every"),
    *("rollout.num_workers", "rollout.threads", "rollout.gpus_per_worker", "rollout.timeout_s"),
    *("rollout.parity_limit", "rollout.kv_cache_gb", "reward.runtime.*", "stages.*.timeout_s"),
    *("learner.num_workers", "learner.threads", "learner.gpus_per_worker", "learner.cpu_offload"),
    *("learner.timeout_s", "learner.activation_checkpointing", "learner.tokens_per_microbatch", "versions.*"),
)
"""Keys that may differ when a run is resumed: deadlines, limits, placement, and keys that change its numbers only by
rounding (into how many ranks or micro-batches a sum is split)."""


@dataclass(frozen=True)
class Change:
    """One key whose value differs."""

    key: str
    """Dotted path."""
    old: Any
    """Value that the run was started with."""
    new: Any
    """Value that the run is resumed with."""

    @property
    def harmless(self) -> bool:
        """Whether the change needs no permission: a key in HARMLESS, more steps, or a stage added at the end."""
        if re.fullmatch(r"stages\.\d+", self.key):
            return self.old is None
        if fnmatch(self.key, "stages.*.steps"):
            return isinstance(self.old, int) and isinstance(self.new, int) and self.new > self.old
        return any(fnmatch(self.key, pattern) for pattern in HARMLESS)

    def allowed(self, keys: Sequence[str]) -> bool:
        """Whether `keys` lists this key or a section that contains it."""
        return any(self.key == key or self.key.startswith(f"{key}.") for key in keys)

    def __str__(self) -> str:
        return f"{self.key}: {_short(self.old)} -> {_short(self.new)}"


def find_changes(old: Any, new: Any, key: str = "") -> Iterator[Change]:
    """Yields every key whose value differs, at any depth. None as a value means that the key is absent."""
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for name in (*old, *(k for k in new if k not in old)):
            yield from find_changes(old.get(name), new.get(name), f"{key}.{name}" if key else str(name))
    elif isinstance(old, list) and isinstance(new, list):
        for i, (a, b) in enumerate(zip_longest(old, new)):
            yield from find_changes(a, b, f"{key}.{i}")
    else:
        yield Change(key, old, new)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
