"""Collects a step's samples. The loop depends only on the `Collector` protocol, so another one can be added."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from rlkit.algorithm.batch import informative
from rlkit.data.prompts import PromptRenderer
from rlkit.data.stream import TaskStream
from rlkit.recipe.schema import OnlineKeys, Recipe
from rlkit.records import Group, ScoredGroup
from rlkit.rollout.rollout_pool import RolloutPool
from rlkit.scoring.combine import check_unscored
from rlkit.scoring.processes.scoring_pool import ScoringPool
from rlkit.stages.online.evaluate import make_requests
from rlkit.watch.metrics import PhaseTimer
from rlkit.watch.report import Report


class Collector(Protocol):
    """A source of scored samples, each with the policy version that drew it. Its position in the data can be saved."""

    def collect(self, step: int, timer: PhaseTimer) -> list[ScoredGroup]:
        """The scored groups of a step, in task order. Adds the phases "sample" and "score" to `timer`."""

    def position(self) -> dict[str, Any]:
        """Position in the data after the last collected step."""

    def seek(self, position: dict[str, Any] | None) -> None:
        """Moves to a saved position; None: to the start of the stage.

        Raises:
            DataError: the position belongs to other data.
        """


class SynchronousCollector:
    """Draws and scores samples with the current weights while the learner waits.

    Args:
        name: Name of the stage.
        keys: The stage's section of the recipe.
        recipe: The run's recipe.
        stream: The stage's tasks, at their beginning.
        renderer: Turns a task into tokens.
        rollout: Draws samples.
        scoring: Scores them.
        report: Shows the number of finished groups.
    """

    def __init__(
        self,
        name: str,
        keys: OnlineKeys,
        recipe: Recipe,
        *,
        stream: TaskStream,
        renderer: PromptRenderer,
        rollout: RolloutPool,
        scoring: ScoringPool,
        report: Report,
    ) -> None:
        self._name = name
        self._keys = keys
        self._seed = recipe.run.seed
        self._max_unscored = recipe.reward.runtime.max_unscored
        self._stream = stream
        self._start = stream.state_dict()
        self._renderer = renderer
        self._rollout = rollout
        self._scoring = scoring
        self._report = report

    def collect(self, step: int, timer: PhaseTimer) -> list[ScoredGroup]:
        """See Collector. Dynamic sampling draws in rounds until the step has enough informative groups.

        Groups are scored while others are still being drawn. The result includes the groups whose rewards are all
        equal: metrics count them, and the learner leaves them out.
        """
        scored: dict[int, ScoredGroup] = {}
        whole = PhaseTimer()
        for _ in range(self._keys.sampling_rounds):
            missing = self._keys.prompts_per_step
            if self._keys.sampling_rounds > 1:
                missing -= sum(informative(group) for group in scored.values())
            if missing == 0:
                break
            with whole("both"):
                groups = self._scoring.score(self._sample(step, missing, len(scored), timer), step)
                scored |= self._report.counted(groups, missing, "groups")
        # Scoring overlaps with sampling; the phase "score" is the time after the last group was drawn.
        timer.seconds["score"] = max(0.0, whole.seconds["both"] - timer.seconds.get("sample", 0.0))
        ordered = [scored[index] for index in sorted(scored)]
        check_unscored(ordered, self._max_unscored)
        return ordered

    def _sample(self, step: int, count: int, first: int, timer: PhaseTimer) -> Iterator[tuple[int, Group]]:
        """Yields the groups of the next `count` tasks, numbered from `first`, as they finish."""
        tasks, samples = self._stream.next(count), self._keys.samples_per_prompt
        requests = make_requests(self._renderer, tasks, samples, self._seed, self._name, step, first=first)
        with timer("sample"):
            yield from self._rollout.draw(requests)

    def position(self) -> dict[str, Any]:
        """See Collector."""
        return self._stream.state_dict()

    def seek(self, position: dict[str, Any] | None) -> None:
        """See Collector."""
        self._stream.load_state_dict(self._start if position is None else position)
