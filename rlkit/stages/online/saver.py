"""Writes the checkpoints of an RL stage in the background, while training continues."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rlkit.errors import CheckpointError, ClusterError, LearnerLost
from rlkit.keep.checkpoint import (
    Draft,
    begin_checkpoint,
    prune_checkpoints,
    seal_checkpoint,
)
from rlkit.learner.learner_group import LearnerGroup
from rlkit.recipe.schema import CheckpointKeys
from rlkit.watch.report import Report
from rlkit.watch.runlog import RunLog


class Saver:
    """Writes one stage's checkpoints, one at a time, and deletes old ones after a newer one is complete.

    The learner copies its state and continues; a thread of its own writes the copy and completes the checkpoint with an
    atomic rename. So a killed run leaves either the complete checkpoint or none.

    Args:
        folder: Folder of the stage's checkpoints.
        run_id: The run's id.
        keys: The recipe's `checkpoint` section.
        learner: Its state is saved.
        log: The run's log.
        report: The console.
        best_steps: Returns the steps whose checkpoints are kept because of their evaluation.
    """

    def __init__(
        self,
        folder: Path,
        run_id: str,
        keys: CheckpointKeys,
        learner: LearnerGroup,
        log: RunLog,
        report: Report,
        best_steps: Callable[[], Collection[int]],
    ) -> None:
        self.folder = folder
        self.run_id = run_id
        self._keys = keys
        self._learner = learner
        self._log = log
        self._report = report
        self._best_steps = best_steps
        self._saved_step = -1
        self._begun_at = time.monotonic()
        self._draft: Draft | None = None

    def reset(self, step: int) -> None:
        """Call this after the learner has loaded the checkpoint of `step` (-1: none). Drops an unfinished save."""
        self._draft, self._saved_step = None, step

    def is_due(self, step: int) -> bool:
        """Whether the recipe asks for a checkpoint of the step that has just ended."""
        keys = self._keys
        late = keys.every_minutes is not None and time.monotonic() - self._begun_at >= 60 * keys.every_minutes
        return late or bool(keys.every and step % keys.every == 0)

    def begin(self, step: int, state: dict[str, Any]) -> None:
        """Begins to save a checkpoint, unless the step is saved already. A failure is reported and the run continues.

        Args:
            step: The last complete step.
            state: The driver's part of the checkpoint.
        """
        if step in (self._saved_step, self._draft and self._draft.step):
            return
        self.poll(wait=True)
        with self._report_failure():
            # The log must be on disk before the checkpoint that refers to its steps.
            self._log.sync()
            draft = begin_checkpoint(self.folder, step, state, run_id=self.run_id)
            with _drop_where_it_fails(draft):
                self._learner.begin_save(draft.learner_state, partial(seal_checkpoint, draft))
            self._draft, self._begun_at = draft, time.monotonic()

    def poll(self, *, wait: bool = False) -> None:
        """Checks whether the save in progress is done and records the result; with `wait`, waits for it."""
        draft = self._draft
        if draft is None:
            return
        with self._report_failure():
            if not self._is_whole(draft, wait):
                return
            self._draft, self._saved_step = None, draft.step
            self._log.event("checkpoint", f"{self.folder.parent.name} step {draft.step}")
            self.prune()

    def _is_whole(self, draft: Draft, wait: bool) -> bool:
        """Whether the save is done. Drops a failed save. After Ctrl-C it can be called again."""
        try:
            with _drop_where_it_fails(draft):
                return self._learner.saved(wait=wait)
        except CheckpointError:
            self._draft = None
            raise

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Saves a checkpoint like `begin` and waits until it is written."""
        self.begin(step, state)
        self.poll(wait=True)
        self.prune()

    def prune(self) -> None:
        """Deletes the checkpoints that the recipe does not ask to keep."""
        prune_checkpoints(self.folder, keep_last=self._keys.keep_last, keep=self._best_steps())

    @contextmanager
    def _report_failure(self) -> Iterator[None]:
        try:
            yield
        except CheckpointError as e:
            self._log.event("checkpoint_failed", str(e))
            self._report.line(f"{e}; the run continues without it")


@contextmanager
def _drop_where_it_fails(draft: Draft) -> Iterator[None]:
    try:
        yield
    except LearnerLost:  # not a failed write
        raise
    except ClusterError as e:  # the write failed in the learner's actor
        raise draft.failed(e) from e
