"""A call to a scoring process, and the result of a call that fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlkit.records import Group, Score

Scores = tuple[Score, ...]
"""One part's score of each sample."""
Needs = Mapping[str, tuple[str, ...]]
"""Parts in the order in which they run, each with the parts whose scores it needs."""


@dataclass(frozen=True, eq=False)
class ScoringCall:
    """A request to score some samples of a group by some parts, with a deadline."""

    parts: tuple[str, ...]
    """In the order in which they run."""
    group: Group
    """The samples, with the scores that these parts need of other parts."""
    share: float = 1.0
    """Time limit, as a fraction of `reward.runtime.timeout_s`."""
    alone: bool = False
    """The process gets no other call at the same time, so that a failure can only be caused by this one."""
    owner: Any = None
    """Set by the sender to recognise the result."""

    def subject(self) -> str:
        """Subject for a sentence about its failure, such as "reward part 'format'"."""
        return f"reward part {self.parts[0]!r}" if len(self.parts) == 1 else "scoring"


@dataclass(frozen=True)
class FailedCall:
    """Why a call returned no scores."""

    verdict: str
    """"plugin_error", "timeout", "memory" or "crash"."""
    reason: str
    """A sentence for the user that names the part."""
    traceback: str = ""
    """Traceback of the plugin's exception, if it raised."""
    seconds: float = 0.0
    """Time from the start of the call until its process ended; 0 if the process is still alive."""
