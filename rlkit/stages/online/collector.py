"""Where a step's samples come from. The loop knows `Collector` alone, so that another one can stand beside this one."""

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
    """A source of scored samples, each with the version of the policy that drew it, at a position that can be saved."""

    def collect(self, step: int, timer: PhaseTimer) -> list[ScoredGroup]:
        """The scored groups of a step, in the order of their tasks; `timer` gets the phases "sample" and "score"."""

    def position(self) -> dict[str, Any]:
        """Where the data goes on after the last step that was collected."""

    def go_to(self, position: dict[str, Any] | None) -> None:
        """Goes on at a saved position; None: at the stage's start.

        Raises:
            DataError: it is a position in other data.
        """


class SynchronousCollector:
    """Samples of the current weights, drawn and scored while the learner waits for them.

    Args:
        name: The stage's.
        keys: Its section.
        recipe: Of the run.
        stream: Its tasks, at the stage's start.
        renderer: Turns a task into tokens.
        rollout: Draws.
        scoring: Scores.
        report: Shows how many groups have come.
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
        """See Collector. With dynamic sampling as many rounds as it takes to fill the step.

        Groups are scored while others are still being drawn. Groups whose rewards are all equal are among them: they
        are samples of the policy, and only the learner leaves them out.
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
        # What is left of scoring once the last group was drawn.
        timer.seconds["score"] = max(0.0, whole.seconds["both"] - timer.seconds.get("sample", 0.0))
        ordered = [scored[index] for index in sorted(scored)]
        check_unscored(ordered, self._max_unscored)
        return ordered

    def _sample(self, step: int, count: int, first: int, timer: PhaseTimer) -> Iterator[tuple[int, Group]]:
        """Groups of the next `count` tasks, numbered from `first`, each as it finishes."""
        tasks, samples = self._stream.next(count), self._keys.samples_per_prompt
        requests = make_requests(self._renderer, tasks, samples, self._seed, self._name, step, first=first)
        with timer("sample"):
            yield from self._rollout.draw(requests)

    def position(self) -> dict[str, Any]:
        """See Collector."""
        return self._stream.state_dict()

    def go_to(self, position: dict[str, Any] | None) -> None:
        """See Collector."""
        self._stream.load_state_dict(self._start if position is None else position)
