"""How often a lost process is replaced, and after which pause. No Ray: child processes are replaced like this too."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from rlkit.errors import ClusterError

_LOG = logging.getLogger("rlkit.waiting")


class Backoff:
    """Pauses before replacements: none before the first, then `first_s`, twice that, four times, ... `longest_s`.

    Args:
        first_s: The pause after the second loss in a row, in seconds.
        longest_s: The longest pause, in seconds.
    """

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self.losses_in_a_row = 0
        """Losses since something last worked."""

    def count_loss(self) -> None:
        """Something was lost; what was lost together counts once."""
        self.losses_in_a_row += 1

    def worked(self) -> None:
        """Something worked: the next replacement is made at once."""
        self.losses_in_a_row = 0

    @property
    def pause_s(self) -> float:
        """The pause before the next replacement, in seconds."""
        if self.losses_in_a_row < 2:
            return 0.0
        return min(self._longest_s, self._first_s * 2.0 ** (self.losses_in_a_row - 2))

    def pause(self) -> None:
        """Waits for as long as `pause_s` says."""
        if self.pause_s:
            time.sleep(self.pause_s)


class Restarts:
    """How many lost actors of a kind may still be replaced, with pauses of 1 s, 2 s, 4 s ... a minute where none works.

    Args:
        most: Replacements in all.
        key: The recipe key that says so.
    """

    def __init__(self, most: int, key: str) -> None:
        self._left = most
        self._key = key
        self._backoff = Backoff(first_s=1.0, longest_s=60.0)

    def check(self, lost: Sequence[str]) -> None:
        """Whether so many may still be replaced.

        Raises:
            ClusterError: they may not.
        """
        if len(lost) > self._left:
            raise ClusterError(f"{'; '.join(lost)}, and {self._key} replacements are used up")

    def take(self, lost: Sequence[str]) -> None:
        """One replacement for each loss ("rollout-0 died"), all after one pause.

        Raises:
            ClusterError: that is more than may still be replaced.
        """
        self.check(lost)
        self._left -= len(lost)
        self._backoff.count_loss()
        if self._backoff.pause_s:
            _LOG.info("%s: starting anew in %g s", "; ".join(lost), self._backoff.pause_s)
        self._backoff.pause()

    def worked(self) -> None:
        """Something was done since the last replacement: the next one is made at once."""
        self._backoff.worked()
