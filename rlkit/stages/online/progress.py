"""Tracks the progress of an RL stage, and saves and restores its checkpoints, always of a complete step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlkit.errors import DataError
from rlkit.keep.checkpoint import Checkpoint, newest_checkpoint
from rlkit.learner.learner_group import LearnerGroup
from rlkit.recipe.schema import CheckpointKeys
from rlkit.stages.online.collector import Collector
from rlkit.stages.online.evaluator import StageEvaluator
from rlkit.stages.online.saver import Saver
from rlkit.watch.report import Report
from rlkit.watch.runlog import RunLog


class StageProgress:
    """The last complete step of a stage and the state that its checkpoint needs.

    Args:
        name: Name of the stage, and of its folder in the run's folder.
        run_dir: The run's folder.
        run_id: The run's id, stored in its checkpoints.
        keys: The recipe's `checkpoint` section.
        learner: Its state is saved and restored.
        collector: Its position in the data is saved and restored.
        evaluator: Names the best steps; their checkpoints are kept.
        log: The run's log.
        report: The console.
        data_may_differ: Whether the data, or its order, may differ from the checkpoint's.
    """

    def __init__(
        self,
        name: str,
        run_dir: Path,
        run_id: str,
        keys: CheckpointKeys,
        *,
        learner: LearnerGroup,
        collector: Collector,
        evaluator: StageEvaluator,
        log: RunLog,
        report: Report,
        data_may_differ: bool,
    ) -> None:
        self._name = name
        self._run_id = run_id
        self._learner = learner
        self._collector = collector
        self._evaluator = evaluator
        self._log = log
        self._report = report
        self._data_may_differ = data_may_differ
        self.saver = Saver(run_dir / name / "checkpoints", run_id, keys, learner, log, report, evaluator.best_steps)
        self.done_step = 0
        """The last complete step: its update, sync and metrics are done."""
        self.unfinished = False
        """Whether the learner may hold a partial step; then its state must not be saved."""
        self._position: dict[str, Any] | None = None
        """Position in the data after `done_step`; None: the collector's current position."""

    def finish_step(self, step: int) -> None:
        """Marks the step as complete, and begins to save a checkpoint if one is due."""
        self.done_step, self._position = step, self._collector.position()
        self.unfinished = False
        self.saver.poll()
        if self.saver.is_due(step):
            self.begin_save()

    def begin_save(self) -> None:
        """Begins to save a checkpoint of the last complete step, unless it is saved already."""
        self.saver.begin(self.done_step, self._state())

    def save(self) -> None:
        """Saves a checkpoint of the last complete step and waits until it is written."""
        self.saver.save(self.done_step, self._state())

    def _state(self) -> dict[str, Any]:
        """The driver's part of the checkpoint."""
        return {"step": self.done_step, "stream": self._position or self._collector.position()}

    def resume(self) -> int:
        """Loads the newest complete checkpoint, or resets to the start if there is none; returns the next step.

        Raises:
            CheckpointError: there are checkpoints, but none is complete.
        """
        checkpoint = newest_checkpoint(self.saver.folder, self._run_id, self._log, self._report)
        self.saver.reset(-1 if checkpoint is None else checkpoint.step)
        self.unfinished = True  # until the learner's state matches `done_step`
        if checkpoint is not None:
            self._resume(checkpoint)
        else:
            self._collector.seek(None)
            self.done_step, self._position = 0, None
            self._log.keep_steps(self._name, 0)
        self._evaluator.restore(self._log.evaluations(self._name))
        self.unfinished = False
        return self.done_step + 1

    def _resume(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.state()
        self._learner.load_state(checkpoint.learner_state)
        self._restore_position(state["stream"])
        self.done_step = checkpoint.step
        self._position = self._collector.position()
        self._log.keep_steps(self._name, checkpoint.step)
        self._log.event("resume", f"{self._name} continues after step {checkpoint.step}")
        self._report.line(f"{self._name} continues after step {checkpoint.step}")

    def _restore_position(self, position: dict[str, Any]) -> None:
        try:
            self._collector.seek(position)
        except DataError as e:
            if not self._data_may_differ:
                raise DataError(f"{e}, or continue from the beginning of the new data with --allow data") from e
            self._log.event("changed", f"{self._name} draws from the beginning of its data: {e}")
            self._collector.seek(None)
