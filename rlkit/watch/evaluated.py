"""The result of an evaluation, as used in metrics, reports and summaries."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """A share with its 95% confidence interval."""

    value: float
    low: float
    high: float
    n: int
    """Number of tasks."""


@dataclass(frozen=True)
class Evaluated:
    """Accuracy and rewards of one version of the weights on the held-out tasks."""

    sampled: Share
    """Accuracy of sampled replies at the training temperature (pass@1)."""
    greedy: Share | None
    """Accuracy of the greedy reply; None without evaluation.greedy."""
    parts: dict[str, float]
    """Mean of each reward part over the sampled replies."""
    reward: float
    """Mean total reward of the sampled replies."""

    def summary(self) -> dict[str, object]:
        """The content of "before" or "after" in summary.json."""
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
