"""Evaluates a model on held-out tasks: samples and scores as in training, without the learner."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from rlkit.records import Group, ScoredGroup, Task
from rlkit.rollout.request import DrawRequest, derive_seed
from rlkit.watch.metrics import is_right, mean, part_means

if TYPE_CHECKING:
    from rlkit.data.prompts import PromptRenderer
    from rlkit.recipe.schema import Recipe
    from rlkit.rollout.rollout_pool import RolloutPool
    from rlkit.scoring.processes.scoring_pool import ScoringPool
    from rlkit.watch.report import Report
from rlkit.watch.evaluated import Evaluated, Share


def make_requests(
    renderer: PromptRenderer,
    tasks: Sequence[Task],
    count: int,
    run_seed: int,
    purpose: str,
    step: int,
    *,
    first: int = 0,
) -> list[DrawRequest]:
    """One request for each task, for `count` samples. Seeds depend only on the run's seed and a sample's position."""
    requests = []
    for index, task in enumerate(tasks, first):
        prompt = renderer.render(task)
        seeds = tuple(derive_seed(run_seed, purpose, step, index, number) for number in range(count))
        requests.append(DrawRequest(index, task, np.array(prompt.token_ids, np.int32), prompt.forced, seeds))
    return requests


class Draws(Protocol):
    """The part of a rollout pool that evaluation uses."""

    def draw(self, requests: Sequence[DrawRequest]) -> Iterator[tuple[int, Group]]:
        """Yields (request.index, group) as groups finish."""


class Scores(Protocol):
    """The part of a scoring pool that evaluation uses."""

    def score(self, groups: Iterable[tuple[int, Group]]) -> Iterator[tuple[int, ScoredGroup]]:
        """Yields (index, scored group) as groups are scored."""


Scored = Iterator[tuple[int, ScoredGroup]]


def evaluate(
    requests: Sequence[DrawRequest], rollout: Draws, scoring: Scores, watch: Callable[[Scored], Scored] = iter
) -> Evaluated:
    """Draws and scores the requests. Greedy and sampled replies are evaluated separately.

    Args:
        requests: The samples to draw.
        rollout: Draws them.
        scoring: Scores them.
        watch: Wraps the stream of scored groups, to show progress.
    """
    greedy_indices = {r.index for r in requests if r.greedy}
    scored = dict(watch(scoring.score(rollout.draw(requests))))
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
    """Share of right replies, every task with the same weight, and Wilson's 95% interval (JASA 22, 1927).

    Replies to the same task are not independent. The interval uses the number of independent replies that would give
    the observed spread of the tasks' shares (Kish's effective sample size), between the number of tasks and of replies.
    """
    graded = [[float(is_right(s)) for s in g.parts.get("accuracy", ()) if s.value is not None] for g in groups]
    per_task = [mean(replies) for replies in graded if replies]
    n = len(per_task)
    if n == 0:
        return Share(math.nan, math.nan, math.nan, 0)
    p = mean(per_task)
    return Share(p, *wilson_interval(p, effective_number(per_task, sum(map(len, graded)))), n)


def effective_number(per_task: Sequence[float], num_replies: int) -> float:
    """Effective number of independent replies behind the tasks' shares.

    Shares [1, 0, 1, 0] of 2 replies each -> 4 (as much information as one reply each); [0.5, 0.5, 0.5, 1] -> 8.
    """
    n, p = len(per_task), mean(per_task)
    if n == 1 or p in (0.0, 1.0):
        return n  # the data does not show how replies to one task vary
    spread = sum((x - p) ** 2 for x in per_task) / (n - 1)
    return min(max(n, p * (1 - p) * n / spread), num_replies) if spread else num_replies


def wilson_interval(p: float, n: float, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a share `p` of `n`. 0.5, 100 -> (0.404, 0.596); 1, 10 -> (0.722, 1.0)."""
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def evaluate_heldout(
    recipe: Recipe,
    heldout: Sequence[Task],
    renderer: PromptRenderer,
    rollout: RolloutPool,
    scoring: ScoringPool,
    report: Report,
    when: str,
) -> Evaluated | None:
    """Evaluates sampled replies (and a greedy one, if asked) to every held-out task; None if there are no such tasks.

    The seeds are the same each time, so that evaluations can be compared."""
    if not heldout:
        return None
    keys, seed = recipe.evaluation, recipe.run.seed
    wanted = make_requests(renderer, heldout, keys.samples_per_prompt, seed, "evaluation", 0)
    if keys.greedy:
        greedy = make_requests(renderer, heldout, 1, seed, "evaluation", 0)
        wanted += [replace(r, index=r.index + len(heldout), greedy=True) for r in greedy]
    with report.waiting(f"evaluating {when} on {len(heldout)} held-out tasks"):
        return evaluate(wanted, rollout, scoring, lambda scored: report.counted(scored, len(wanted), "groups"))
