"""Runs an RL stage: starts its actors, trains, and writes its model. Resumes from the newest checkpoint if the learner
is lost."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlkit.errors import LearnerLost, RlkitError
from rlkit.recipe.schema import OnlineKeys
from rlkit.stages.online.actors import ActorStarter
from rlkit.stages.online.collector import SynchronousCollector
from rlkit.stages.online.evaluator import StageEvaluator
from rlkit.stages.online.progress import StageProgress
from rlkit.stages.online.step_log import StepLog
from rlkit.stages.online.train import Loop, train
from rlkit.stages.online.weight_sync import WeightSync
from rlkit.stages.stage import StageStart
from rlkit.watch.evaluated import Evaluated

if TYPE_CHECKING:
    from rlkit.stages.online.online_stage import OnlineStage


def run_online(stage: OnlineStage[Any], start: StageStart, out: Path) -> Evaluated | None:
    """Runs a stage; see `Stage.run`."""
    with ExitStack() as actors:
        run = OnlineRun.begin(stage, start, actors)
        try:
            with start.report.during(stage.name):
                after = run.learn(out)
        except KeyboardInterrupt:
            stage.kept_model = run.save_finished_steps()
            raise
        finally:
            stage.done_step = run.loop.progress.done_step
    if after is not None:
        start.report.evaluated("after", after)
    return after


@dataclass
class OnlineRun:
    """The parts of a running stage."""

    stage: OnlineStage[OnlineKeys]
    start: StageStart
    loop: Loop
    evaluated_before: bool
    """Whether the run's "before" evaluation is done."""

    @classmethod
    def begin(cls, stage: OnlineStage[Any], start: StageStart, actors: ExitStack) -> OnlineRun:
        """Starts the actors and builds the objects that use them. The exit stack `actors` ends the actors."""
        recipe, keys, data = stage.recipe, stage.keys, start.data
        log, report = start.log, start.report
        starter = ActorStarter(recipe, start.run_dir, start.base_dir, report, log.event, actors)
        place = starter.reserve(with_learner=True)
        scoring, rollout = starter.start_scorers(), starter.start_engines(start.model, place)
        stream = stage.task_stream(data.tasks, data.mixture)
        learner = starter.start_learner(keys, start.model, place)
        pools: dict[str, Any] = {"renderer": data.renderer, "rollout": rollout, "scoring": scoring, "report": report}
        collector = SynchronousCollector(stage.name, keys, recipe, stream=stream, **pools)
        evaluator = StageEvaluator(stage.name, keys, recipe, heldout=data.heldout, log=log, **pools)
        progress = StageProgress(
            stage.name,
            start.run_dir,
            start.run_id,
            recipe.checkpoint,
            learner=learner,
            collector=collector,
            evaluator=evaluator,
            log=log,
            report=report,
            data_may_differ=start.data_may_differ,
        )
        loop = Loop(
            steps=keys.steps,
            collector=collector,
            rollout=rollout,
            learner=learner,
            sync=WeightSync(recipe, data.renderer, (*data.heldout, *data.tasks), rollout, learner),
            evaluator=evaluator,
            progress=progress,
            log=StepLog(stage.name, keys, recipe.tracking, log, report),
            stop=start.stop,
        )
        return cls(stage, start, loop, start.evaluated_before)

    def learn(self, out: Path) -> Evaluated | None:
        """Trains from the newest checkpoint to the end of the stage. Restarts the learner and resumes if it is lost."""
        while True:
            try:
                return self._learn(out)
            except LearnerLost as e:
                # Nothing can be saved until the new learner has loaded a checkpoint.
                self.loop.progress.unfinished = True
                if self.start.stop.requested:
                    raise KeyboardInterrupt from e
                self.start.report.line(f"{e}; restarting the learner from the newest checkpoint")
                self.loop.learner.restart(str(e))

    def _learn(self, out: Path) -> Evaluated | None:
        report, loop = self.start.report, self.loop
        loop.learner.check_shared_folder(self.start.run_dir / "progress.json")
        first_step = loop.progress.resume()
        with report.waiting("first weight sync from the learner to the engines"):  # includes their warm-up
            loop.sync.publish(first_step - 1)
            loop.sync.check(first_step - 1)
        if first_step == 1 and not self.evaluated_before:
            self._evaluate_before()
        train(loop, first_step)
        loop.progress.save()
        with self.start.timer("evaluation"):
            after = loop.evaluator.evaluate("after the last step")
        report.update_activity("saving the model")
        loop.learner.save_model(out)
        return after

    def _evaluate_before(self) -> None:
        """Makes the "before" evaluation, the baseline of the run's last one."""
        when = f"before stage {self.stage.index} ({self.stage.keys.kind})"
        if (before := self.loop.evaluator.evaluate(when)) is not None:
            self.start.save_before(before, when)
            self.evaluated_before = True
        self.loop.sync.publish(0)  # puts the engines into the same state as without this evaluation

    def save_finished_steps(self) -> bool:
        """After Ctrl-C, saves a checkpoint and the model of the last complete step; returns whether that succeeded."""
        progress, report = self.loop.progress, self.start.report
        if progress.done_step == 0 or progress.unfinished:
            return False
        try:
            report.line(f"stopping after saving step {progress.done_step}; press Ctrl-C again to stop at once")
            with report.during(f"saving step {progress.done_step}"):
                progress.save()
                self.loop.learner.save_model(self.start.run_dir / "model")
        except RlkitError as e:  # reported only: the exit code must remain that of a stop
            report.line(f"{e}; the run will resume from its newest checkpoint")
            return False
        return True
