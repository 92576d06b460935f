"""Limits how often lost processes are replaced, and pauses between replacements. Does not use Ray."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from rlkit.errors import ClusterError

_LOG = logging.getLogger("rlkit.waiting")


class Backoff:
    """Exponential backoff: no pause before the first replacement, then `first_s`, doubled each time up to `longest_s`.

    Args:
        first_s: The pause after the second loss in a row, in seconds.
        longest_s: The longest pause, in seconds.
    """

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self.losses_in_a_row = 0
        """Losses since the last success."""

    def count_loss(self) -> None:
        """Counts a loss; processes that were lost together count once."""
        self.losses_in_a_row += 1

    def reset(self) -> None:
        """Call this after a success: the next replacement has no pause."""
        self.losses_in_a_row = 0

    @property
    def pause_s(self) -> float:
        """The pause before the next replacement, in seconds."""
        if self.losses_in_a_row < 2:
            return 0.0
        return min(self._longest_s, self._first_s * 2.0 ** (self.losses_in_a_row - 2))

    def pause(self) -> None:
        """Sleeps for `pause_s` seconds."""
        if self.pause_s:
            time.sleep(self.pause_s)


class Restarts:
    """Counts the replacements that are left for actors of a kind; pauses 1 s, 2 s, 4 s ... up to a minute between them.

    Args:
        most: Total number of replacements.
        key: The recipe key that sets it, for messages.
    """

    def __init__(self, most: int, key: str) -> None:
        self._left = most
        self._key = key
        self._backoff = Backoff(first_s=1.0, longest_s=60.0)

    def check(self, lost: Sequence[str]) -> None:
        """Checks that enough replacements are left.

        Raises:
            ClusterError: there are more losses than replacements left.
        """
        if len(lost) > self._left:
            raise ClusterError(f"{'; '.join(lost)}, and {self._key} replacements are used up")

    def consume(self, lost: Sequence[str]) -> None:
        """Uses one replacement for each loss ("rollout-0 died"), and pauses once.

        Raises:
            ClusterError: there are more losses than replacements left.
        """
        self.check(lost)
        self._left -= len(lost)
        self._backoff.count_loss()
        if self._backoff.pause_s:
            _LOG.info("%s: restarting in %g s", "; ".join(lost), self._backoff.pause_s)
        self._backoff.pause()

    def reset_backoff(self) -> None:
        """Call this when the actors have done some work: the next replacement has no pause."""
        self._backoff.reset()
