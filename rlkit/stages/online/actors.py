"""Starts the actors of an RL stage or of an evaluation. An exit stack ends them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rlkit.cluster.placement import Placement
from rlkit.learner.learner_group import LearnerGroup
from rlkit.learner.spec import LearnerSpec
from rlkit.recipe.schema import OnlineKeys, Recipe
from rlkit.rollout.engine import EngineSpec
from rlkit.rollout.rollout_pool import RolloutPool
from rlkit.scoring.processes.scoring_pool import ScoringPool
from rlkit.watch.report import Report


@dataclass(frozen=True)
class ActorStarter:
    """Starts the actors that a recipe needs.

    Args:
        recipe: The run's recipe.
        run_dir: The run's folder; messages show models in it by their relative path.
        base_dir: The recipe's folder, for its plugins.
        report: Shows what the run is waiting for.
        on_event: Called with (kind, text) for every actor that is replaced.
        actors: Exit stack that ends the actors.
    """

    recipe: Recipe
    run_dir: Path
    base_dir: Path
    report: Report
    on_event: Callable[[str, str], None]
    actors: ExitStack

    def reserve(self, *, with_learner: bool) -> Placement:
        """Reserves resources in the cluster for the engines and, if asked, the learner."""
        with self.report.during("waiting for room in the Ray cluster"):
            return self.actors.enter_context(Placement(self.recipe, with_learner=with_learner))

    def start_scorers(self) -> ScoringPool:
        """Starts the scoring actors."""
        timeout_s = self.recipe.cluster.start_timeout_s
        with self.report.waiting("starting the scorers"):
            pool = ScoringPool(self.recipe.reward, self.base_dir, start_timeout_s=timeout_s, on_event=self.on_event)
        self.actors.callback(pool.close)
        return pool

    def start_engines(self, model: str, place: Placement) -> RolloutPool:
        """Starts the engines with the weights of a model."""
        recipe, cluster = self.recipe, self.recipe.cluster
        sleeps = cluster.placement == "together"
        spec = EngineSpec(model, recipe.rollout, recipe.learner.dtype, recipe.run.seed, sleeps=sleeps)
        engines = "1 vLLM engine" if spec.keys.num_engines == 1 else f"{spec.keys.num_engines} vLLM engines"
        with self.report.waiting(f"starting {engines} on {model.removeprefix(f'{self.run_dir}/')}"):
            pool = RolloutPool(
                spec,
                start_timeout_s=cluster.start_timeout_s,
                max_restarts=cluster.max_restarts,
                on_event=self.on_event,
                options=place.engine,
            )
        self.actors.callback(pool.close)
        return pool

    def start_learner(self, stage: OnlineKeys, model: str, place: Placement) -> LearnerGroup:
        """Starts the learner of a stage with the weights of a model."""
        recipe, ranks = self.recipe, self.recipe.learner.num_workers
        spec = LearnerSpec(
            model_path=model,
            stage=stage,
            keys=recipe.learner,
            temperature=recipe.rollout.temperature,
            max_tokens=recipe.rollout.max_tokens,
            threads=recipe.learner.num_threads,
            deterministic=recipe.run.deterministic,
            seed=recipe.run.seed,
            recipe_dir=self.base_dir.resolve(),
        )
        with self.report.waiting("starting the learner" + (f" on {ranks} ranks" if ranks > 1 else "")):
            learner = LearnerGroup(
                spec,
                start_timeout_s=recipe.cluster.start_timeout_s,
                max_restarts=recipe.cluster.max_learner_restarts,
                on_event=self.on_event,
                options=place.rank,
            )
        self.actors.callback(learner.close)
        return learner
