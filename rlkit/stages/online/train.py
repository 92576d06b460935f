"""The RL training loop: sample and score -> update -> sync -> log -> save."""

from __future__ import annotations

from dataclasses import dataclass

from rlkit.cluster.stop import StopSignal
from rlkit.learner.learner_group import LearnerGroup
from rlkit.rollout.rollout_pool import RolloutPool
from rlkit.stages.online.collector import Collector
from rlkit.stages.online.evaluator import StageEvaluator
from rlkit.stages.online.progress import StageProgress
from rlkit.stages.online.step_log import StepLog
from rlkit.stages.online.weight_sync import WeightSync
from rlkit.watch.metrics import PhaseTimer


@dataclass(frozen=True)
class Loop:
    """The parts that the loop uses."""

    steps: int
    """Number of steps of the stage."""
    collector: Collector
    rollout: RolloutPool
    learner: LearnerGroup
    sync: WeightSync
    evaluator: StageEvaluator
    progress: StageProgress
    log: StepLog
    stop: StopSignal


def train(run: Loop, first_step: int = 1) -> None:
    """Runs the steps of an RL stage from `first_step` on. The engines must hold the weights of the step before it."""
    evaluate(run, first_step - 1)  # in case the run was killed between a checkpoint and its evaluation
    for step in range(first_step, run.steps + 1):
        timer = PhaseTimer()
        run.log.show_activity(step, "sampling and scoring")
        scored = run.collector.collect(step, timer)
        with run.stop.deferred():  # Ctrl-C waits for the end of the step, so only complete steps are saved
            run.progress.unfinished = True
            run.log.show_activity(step, "updating the model")
            with timer("update"):
                run.rollout.sleep()  # until the sync, if the engines share GPUs with the learner
                update = run.learner.train_step(scored, step)
            with timer("sync"):
                run.sync.publish(step)
            with timer("canary"):
                parity = run.sync.check(step)
            run.log.write(step, scored, update, parity, timer)
            run.progress.finish_step(step)
        evaluate(run, step)


def evaluate(run: Loop, step: int) -> None:
    """Evaluates a step if that is due, and saves a checkpoint if it is one of the best."""
    if run.evaluator.evaluate_if_due(step):
        run.progress.begin_save()
