"""THE LOOP: sample and score -> update -> sync -> log -> save, one line a stage."""

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
    """What the loop works with."""

    steps: int
    """Of the stage."""
    collector: Collector
    rollout: RolloutPool
    learner: LearnerGroup
    sync: WeightSync
    evaluator: StageEvaluator
    progress: StageProgress
    log: StepLog
    stop: StopSignal


def train(run: Loop, first_step: int = 1) -> None:
    """Runs the steps of an RL stage from `first_step` on. The engines hold the weights of the step before it."""
    evaluate(run, first_step - 1)  # where a run was killed between a checkpoint and its evaluation
    for step in range(first_step, run.steps + 1):
        timer = PhaseTimer()
        run.log.at(step, "sampling and scoring")
        scored = run.collector.collect(step, timer)
        with run.stop.deferred():  # from here on a step is finished, so that what is kept is whole
            run.progress.unfinished = True
            run.log.at(step, "updating the model")
            with timer("update"):
                run.rollout.sleep()  # until the sync, where engines share GPUs with the learner
                update = run.learner.train_step(scored, step)
            with timer("sync"):
                run.sync.publish(step)
            with timer("canary"):
                parity = run.sync.check(step)
            run.log.write(step, scored, update, parity, timer)
            run.progress.finish_step(step)
        evaluate(run, step)


def evaluate(run: Loop, step: int) -> None:
    """Evaluates a step where that is due; a checkpoint of one of the best steps is kept."""
    if run.evaluator.evaluate_if_due(step):
        run.progress.begin_save()
