"""What an evaluation found: shares with their intervals, as metrics, reports and summaries show them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """A share with its 95% interval."""

    value: float
    low: float
    high: float
    n: int
    """Tasks it was measured on."""


@dataclass(frozen=True)
class Evaluated:
    """What a set of weights does on the held-out tasks."""

    sampled: Share
    """Accuracy of sampled replies at the training temperature (pass@1)."""
    greedy: Share | None
    """Accuracy of the greedy reply, where it was asked for."""
    parts: dict[str, float]
    """Mean of each reward part over the sampled replies."""
    reward: float
    """Mean total reward of the sampled replies."""

    def summary(self) -> dict[str, object]:
        """As in summary.json's "before" and "after"."""
        figures: dict[str, object] = {
            "accuracy": self.sampled.value,
            "n": self.sampled.n,
            "interval": [self.sampled.low, self.sampled.high],
            "reward": self.reward,
        }
        if self.greedy is not None:
            figures["greedy_accuracy"] = self.greedy.value
            figures["greedy_interval"] = [self.greedy.low, self.greedy.high]
        return figures
