"""Held-out tasks through the same stages as training, without the learner."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from rlkit.metrics import is_right, mean, part_means
from rlkit.records import Group, ScoredGroup
from rlkit.rollout.request import DrawRequest


class Draws(Protocol):
    """What evaluation needs of a rollout pool."""

    def draw(self, requests: Sequence[DrawRequest]) -> Iterator[tuple[int, Group]]:
        """Yields (request.index, group) as groups finish."""


class Scores(Protocol):
    """What evaluation needs of a scoring pool."""

    def score(self, groups: Iterable[tuple[int, Group]]) -> Iterator[tuple[int, ScoredGroup]]:
        """Yields (index, scored group) as groups are scored."""


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


def evaluate(requests: Sequence[DrawRequest], rollout: Draws, scoring: Scores) -> Evaluated:
    """Draws and scores the requests; greedy ones are counted apart from sampled ones."""
    greedy_indices = {r.index for r in requests if r.greedy}
    scored = dict(scoring.score(rollout.draw(requests)))
    ordered = [(i, scored[i]) for i in sorted(scored)]
    sampled = [group for i, group in ordered if i not in greedy_indices]
    greedy = [group for i, group in ordered if i in greedy_indices]
    return Evaluated(
        sampled=share_right(sampled),
        greedy=share_right(greedy) if greedy else None,
        parts=part_means(sampled),
        reward=mean([r for g in sampled for r in g.rewards if r is not None]),
    )


def share_right(groups: Sequence[ScoredGroup]) -> Share:
    """Share of right replies with a 95% interval over tasks.

    One reply a task: Wilson's interval (JASA 22, 1927). Several: normal, from the spread of the tasks' own shares,
    because replies to one task are not independent.
    """
    per_task = [
        mean([float(is_right(s)) for s in g.parts["accuracy"] if s.value is not None])
        for g in groups
        if any(s.value is not None for s in g.parts.get("accuracy", ()))
    ]
    n = len(per_task)
    if n == 0:
        return Share(math.nan, math.nan, math.nan, 0)
    p = mean(per_task)
    if all(len(g.samples) == 1 for g in groups):
        return Share(p, *wilson_interval(p, n), n)
    half = 1.96 * math.sqrt(mean([(x - p) ** 2 for x in per_task]) / n)
    return Share(p, max(0.0, p - half), min(1.0, p + half), n)


def wilson_interval(p: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a share. p = 0.5, n = 100 -> (0.404, 0.596); p = 1, n = 10 -> (0.722, 1.0)."""
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)
