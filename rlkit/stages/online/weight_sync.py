"""Copies the learner's weights to every engine after each step's last update, and checks them by the parity gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rlkit.data.prompts import PromptRenderer
from rlkit.learner.learner_group import LearnerGroup
from rlkit.recipe.schema import Recipe
from rlkit.records import Task
from rlkit.rollout.rollout_pool import RolloutPool
from rlkit.stages.online.evaluate import make_requests
from rlkit.stages.online.parity import CANARY_PROMPTS, CANARY_TOKENS, check_parity, max_logprob_gap, worst


class WeightSync:
    """Publishes the learner's weights to the engines and compares the log-probs of both.

    Args:
        recipe: The run's recipe.
        renderer: Turns a task into tokens.
        tasks: The first of them are the canary, with the same seeds after every sync.
        rollout: The engines.
        learner: Source of the weights.
    """

    def __init__(
        self,
        recipe: Recipe,
        renderer: PromptRenderer,
        tasks: Sequence[Task],
        rollout: RolloutPool,
        learner: LearnerGroup,
    ) -> None:
        self._recipe = recipe
        self._rollout = rollout
        self._learner = learner
        requests = make_requests(renderer, tasks[:CANARY_PROMPTS], 1, recipe.run.seed, "canary", 0)
        self._canary = [replace(r, max_tokens=CANARY_TOKENS, truncated=False) for r in requests]

    def publish(self, version: int) -> None:
        """Loads the learner's weights into every engine as policy version `version`."""
        self._rollout.load(self._learner.publish(), version)

    def check(self, version: int) -> float:
        """Draws the canary on every engine and checks the log-probs; returns the largest gap, in nats.

        Raises:
            ParityError: the gap is above the recipe's limit.
        """
        gaps = []
        for groups in self._rollout.draw_on_each(self._canary):
            samples = [group.samples[0] for group in groups]
            gaps.append(max_logprob_gap(samples, self._learner.logprobs_of(samples)))
        gap = worst(gaps)
        check_parity(gap, limit=self._recipe.parity_limit, version=version, precision=self._recipe.learner.computes_in)
        return gap
