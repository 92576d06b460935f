"""Evaluations of an RL stage on the held-out tasks: at its ends, and every evaluation.every steps inside it."""

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
    """Evaluates the weights that the engines hold, and knows which steps of the stage were the best so far."""

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
        """Takes up what an earlier start evaluated: rows of evaluations.jsonl, those after the checkpoint left out."""
        self._accuracies = {row["step"]: row["accuracy"] for row in rows if row["step"] < self._keys.steps}

    def best_steps(self) -> list[int]:
        """The steps of the best evaluations, checkpoint.keep_best of them; of equals the earlier."""
        graded = [(-accuracy, step) for step, accuracy in self._accuracies.items() if accuracy is not None]
        return [step for _, step in sorted(graded)[: self._recipe.checkpoint.keep_best]]

    def evaluate_if_due(self, step: int) -> bool:
        """Evaluates a step inside the stage where that is due and not done; the last step's is the stage's own.

        Returns:
            Whether it was evaluated just now, and is one of the best.
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
        """The weights in the engines on the held-out tasks; None where there are none."""
        return evaluate_heldout(
            self._recipe, self._heldout, self._renderer, self._rollout, self._scoring, self._report, when
        )
