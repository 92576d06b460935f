"""Evaluates an RL stage on the held-out tasks: before and after it, and every evaluation.every steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rlkit.data.prompts import PromptRenderer
from rlkit.recipe.schema import OnlineKeys, Recipe
from rlkit.records import Task
from rlkit.rollout.rollout_pool import RolloutPool
from rlkit.scoring.processes.scoring_pool import ScoringPool
from rlkit.stages.online.evaluate import evaluate_heldout
from rlkit.watch.evaluated import Evaluated
from rlkit.watch.report import Report
from rlkit.watch.runlog import RunLog


class StageEvaluator:
    """Evaluates the weights that the engines hold, and records which steps of the stage were the best."""

    def __init__(
        self,
        name: str,
        keys: OnlineKeys,
        recipe: Recipe,
        *,
        heldout: Sequence[Task],
        renderer: PromptRenderer,
        rollout: RolloutPool,
        scoring: ScoringPool,
        log: RunLog,
        report: Report,
    ) -> None:
        self._name = name
        self._keys = keys
        self._recipe = recipe
        self._heldout = heldout
        self._renderer = renderer
        self._rollout = rollout
        self._scoring = scoring
        self._log = log
        self._report = report
        self._accuracies: dict[int, float | None] = {}

    def restore(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Restores earlier results after a resume.

        Args:
            rows: The stage's rows of evaluations.jsonl up to the checkpoint.
        """
        self._accuracies = {row["step"]: row["accuracy"] for row in rows if row["step"] < self._keys.steps}

    def best_steps(self) -> list[int]:
        """The steps of the checkpoint.keep_best best evaluations; of equal ones, the earlier steps."""
        graded = [(-accuracy, step) for step, accuracy in self._accuracies.items() if accuracy is not None]
        return [step for _, step in sorted(graded)[: self._recipe.checkpoint.keep_best]]

    def evaluate_if_due(self, step: int) -> bool:
        """Evaluates after a step if that is due and not done yet. The last step is evaluated by the stage itself.

        Returns:
            True if the step was evaluated now and is one of the best.
        """
        every = self._recipe.evaluation.every
        due = every and 0 < step < self._keys.steps and step % every == 0
        if not due or step in self._accuracies:
            return False
        result = self.evaluate(f"after step {step}")
        if result is None:
            return False
        self._report.evaluated(f"after step {step}", result)
        self._log.evaluation({"stage": self._name, "step": step, **result.summary()})
        accuracy = result.sampled.value
        self._accuracies[step] = None if math.isnan(accuracy) else accuracy
        return step in self.best_steps()

    def evaluate(self, when: str) -> Evaluated | None:
        """Evaluates the engines' weights on the held-out tasks; None if there are no such tasks."""
        return evaluate_heldout(
            self._recipe, self._heldout, self._renderer, self._rollout, self._scoring, self._report, when
        )
