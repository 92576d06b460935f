"""One call of a scoring process, and what a call gives that fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlkit.records import Group, Score

Scores = tuple[Score, ...]
"""Of one part, a score for each sample."""
Needs = Mapping[str, tuple[str, ...]]
"""Parts in the order in which they run, each with the parts whose scores it needs."""


@dataclass(frozen=True, eq=False)
class ScoringCall:
    """Some parts over some samples of one group, within a deadline."""

    parts: tuple[str, ...]
    """In the order in which they run."""
    group: Group
    """With the scores that the parts need of others."""
    share: float = 1.0
    """Of `reward.runtime.timeout_s`: the call's deadline."""
    alone: bool = False
    """It goes to its process without other calls, before or behind it, so that what happens there is its own doing."""
    owner: Any = None
    """Whoever sent it; comes back with its result."""

    def subject(self) -> str:
        """What a sentence about its failure begins with."""
        return f"reward part {self.parts[0]!r}" if len(self.parts) == 1 else "scoring"


@dataclass(frozen=True)
class FailedCall:
    """What came of a call in place of scores."""

    verdict: str
    """"plugin_error", "timeout", "memory" or "crash"."""
    reason: str
    """A sentence that names the part."""
    traceback: str = ""
    """Of what the plugin raised."""
    seconds: float = 0.0
    """From when its process began with it until it was ended; 0 where the process lives on."""
