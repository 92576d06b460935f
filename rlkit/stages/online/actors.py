"""The actors of an RL stage, or of an evaluation alone: each is started here and ends with an exit stack."""

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
    """Starts actors of a recipe.

    Args:
        recipe: Of the run.
        run_dir: Its folder: a model in it is shown by its place there.
        base_dir: The recipe's folder, for its plugins.
        report: Shows what is waited for.
        on_event: Hears of every actor that is replaced.
        actors: They end with it.
    """

    recipe: Recipe
    run_dir: Path
    base_dir: Path
    report: Report
    on_event: Callable[[str, str], None]
    actors: ExitStack

    def reserve(self, *, with_learner: bool) -> Placement:
        """Room in the cluster for the engines, and for the learner."""
        with self.report.during("waiting for room in the Ray cluster"):
            return self.actors.enter_context(Placement(self.recipe, with_learner=with_learner))

    def start_scorers(self) -> ScoringPool:
        """The scorers."""
        timeout_s = self.recipe.cluster.start_timeout_s
        with self.report.waiting("starting the scorers"):
            pool = ScoringPool(self.recipe.reward, self.base_dir, start_timeout_s=timeout_s, on_event=self.on_event)
        self.actors.callback(pool.close)
        return pool

    def start_engines(self, model: str, place: Placement) -> RolloutPool:
        """The engines, with the weights of a model."""
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
        """The learner of a stage, which starts from a model."""
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
