"""Computes a step's metrics from its records."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rlkit.records import Score, ScoredGroup


class PhaseTimer:
    """Wall-clock seconds by phase: `with timer("sample"): ...`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Adds the time of the block to the phase."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.monotonic() - began

    def metrics(self) -> dict[str, float]:
        """Seconds as metrics: `time/<phase>`, and their sum as `time/step`."""
        figures = {f"time/{phase}": seconds for phase, seconds in self.seconds.items()}
        return figures | {"time/step": sum(self.seconds.values())}


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; NaN for no values."""
    return math.fsum(values) / len(values) if values else math.nan


def is_right(score: Score) -> bool:
    """Whether an accuracy score counts as fully right."""
    return score.value is not None and score.value >= 1.0


def accuracy(groups: Sequence[ScoredGroup]) -> float:
    """Share of fully right replies among the graded ones; NaN if the recipe has no accuracy part."""
    graded = [s for g in groups for s in g.parts.get("accuracy", ()) if s.value is not None]
    return mean([float(is_right(s)) for s in graded])


def part_means(groups: Sequence[ScoredGroup]) -> dict[str, float]:
    """Mean value of each part over the samples that it graded."""
    names = list(groups[0].parts) if groups else []
    return {n: mean([s.value for g in groups for s in g.parts[n] if s.value is not None]) for n in names}


def reward_metrics(groups: Sequence[ScoredGroup]) -> dict[str, float]:
    """Metrics of a step's rewards, parts, verdicts, lengths and unscored samples.

    `time/reward/<part>` is the time that the part's plugin took for all groups, in seconds of one process.
    """
    rewards = [r for g in groups for r in g.rewards if r is not None]
    samples = [s for g in groups for s in g.samples]
    total = mean(rewards)
    metrics = {
        "reward/total": total,
        "reward/total_std": _std(rewards),
        "accuracy": accuracy(groups),
        "samples": float(len(samples)),
        "samples/unscored": float(len(samples) - len(rewards)),
        "samples/cut_at_max_tokens": mean([float(s.finish_reason == "length") for s in samples]),
        "samples/tokens": float(sum(s.num_tokens for s in samples)),
        "samples/tokens_mean": mean([float(s.num_tokens) for s in samples]),
    }
    for name, value in part_means(groups).items():
        metrics[f"reward/{name}"] = value
        metrics |= _spread_metrics(groups, name)
        verdicts = Counter(s.verdict for g in groups for s in g.parts[name] if s.verdict)
        metrics |= {f"verdicts/{name}/{verdict}": float(n) for verdict, n in sorted(verdicts.items())}
        metrics[f"time/reward/{name}"] = math.fsum(g.seconds.get(name, 0.0) for g in groups)
    return metrics | _code_metrics(groups)


def _spread_metrics(groups: Sequence[ScoredGroup], name: str) -> dict[str, float]:
    """A part's standard deviation, number of failures, and correlation with accuracy.

    A part that rises while its correlation falls may be exploited by the policy. The correlation is NaN if part or
    accuracy does not vary. Samples that the part does not apply to are counted in `verdicts/<part>/not_applicable`.
    """
    scores = [s for g in groups for s in g.parts[name]]
    values = [s.value for s in scores if s.value is not None]
    figures = {
        f"reward/{name}_std": _std(values),
        f"failed/{name}": float(sum(s.value is None and s.applies for s in scores)),
    }
    if name == "accuracy" or not all("accuracy" in g.parts for g in groups):
        return figures
    right = [s.value for g in groups for s in g.parts["accuracy"]]
    pairs = [(s.value, r) for s, r in zip(scores, right, strict=True) if s.value is not None and r is not None]
    return figures | {f"with_accuracy/{name}": _correlation(pairs)}


def _std(values: Sequence[float]) -> float:
    middle = mean(values)
    return math.sqrt(mean([(value - middle) ** 2 for value in values])) if values else math.nan


def _correlation(pairs: Sequence[tuple[float, float]]) -> float:
    """Pearson correlation; NaN if a side does not vary. [(0, 1), (1, 3), (2, 5)] -> 1"""
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    spread = _std(a) * _std(b)
    if not pairs or not spread > 1e-12:
        return math.nan
    return mean([(x - mean(a)) * (y - mean(b)) for x, y in pairs]) / spread


def _code_metrics(groups: Sequence[ScoredGroup]) -> dict[str, float]:
    """Share of hidden tests passed. If it falls behind the visible tests, the policy exploits those."""
    hidden = [found["hidden"] for found in _evidence(groups) if "hidden" in found]
    total = sum(int(counts["total"]) for counts in hidden)
    return {"code/hidden_passed": sum(int(counts["passed"]) for counts in hidden) / total} if total else {}


def sandbox_tiers(groups: Sequence[ScoredGroup]) -> list[str]:
    """The sandbox tiers that isolated the programs in these groups."""
    return sorted({str(found["tier"]) for found in _evidence(groups) if found.get("tier")})


def _evidence(groups: Sequence[ScoredGroup]) -> list[Mapping[str, Any]]:
    """The evidence of the accuracy part, for each sample that has a mapping there."""
    scores = [score for group in groups for score in group.parts.get("accuracy", ())]
    return [score.evidence for score in scores if isinstance(score.evidence, Mapping)]
