"""How far an RL stage is, and its checkpoints: what is saved of it is always of a whole step."""

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
    """The last whole step of a stage, with what a checkpoint of it holds.

    Args:
        name: The stage's; its checkpoints are in the folder of that name.
        run_dir: The run's folder.
        run_id: Marks its checkpoints.
        keys: The recipe's section.
        learner: Whose state is saved and restored.
        collector: Whose position is.
        evaluator: Whose best steps keep their checkpoints.
        log: The run's.
        report: The console.
        data_may_differ: Whether other data, or another order of it, than the checkpoint's is allowed.
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
        """The last step whose update, sync and metrics are done."""
        self.unfinished = False
        """Whether the learner may hold an update of a step that is not whole: nothing is saved of it."""
        self._position: dict[str, Any] | None = None
        """Of the data after `done_step`; None: it is where the collector is."""

    def finish_step(self, step: int) -> None:
        """Notes that the step is whole, and saves a checkpoint where one is due."""
        self.done_step, self._position = step, self._collector.position()
        self.unfinished = False
        self.saver.poll()
        if self.saver.is_due(step):
            self.begin_save()

    def begin_save(self) -> None:
        """Begins to save the last whole step, unless that is done."""
        self.saver.begin(self.done_step, self._state())

    def save(self) -> None:
        """Saves a checkpoint of the last whole step, and waits for it."""
        self.saver.save(self.done_step, self._state())

    def _state(self) -> dict[str, Any]:
        """What the driver has to remember of the last whole step."""
        return {"step": self.done_step, "stream": self._position or self._collector.position()}

    def take_up(self) -> int:
        """Takes up the newest whole checkpoint, or the stage's start where there is none; returns the first step to do.

        Raises:
            CheckpointError: there are checkpoints, and none is whole.
        """
        checkpoint = newest_checkpoint(self.saver.folder, self._run_id, self._log, self._report)
        self.saver.start_from(-1 if checkpoint is None else checkpoint.step)
        self.unfinished = True  # until what is noted here is what the learner holds
        if checkpoint is not None:
            self._resume(checkpoint)
        else:
            self._collector.go_to(None)
            self.done_step, self._position = 0, None
            self._log.keep_steps(self._name, 0)
        self._evaluator.restore(self._log.evaluations(self._name))
        self.unfinished = False
        return self.done_step + 1

    def _resume(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.state()
        self._learner.load_state(checkpoint.learner_state)
        self._go_on_drawing(state["stream"])
        self.done_step = checkpoint.step
        self._position = self._collector.position()
        self._log.keep_steps(self._name, checkpoint.step)
        self._log.event("resume", f"{self._name} continues after step {checkpoint.step}")
        self._report.line(f"{self._name} continues after step {checkpoint.step}")

    def _go_on_drawing(self, position: dict[str, Any]) -> None:
        try:
            self._collector.go_to(position)
        except DataError as e:
            if not self._data_may_differ:
                raise DataError(f"{e}, or go on with it from its beginning with --allow data") from e
            self._log.event("changed", f"{self._name} draws from the beginning of its data: {e}")
            self._collector.go_to(None)
