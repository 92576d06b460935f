"""Checkpoints of an RL stage, written while the next steps go on."""

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
    """One stage's checkpoints: at most one is being written, and an older one goes only when a newer one is whole.

    The learner copies its state, goes on, and makes the checkpoint whole from a thread of its own: a run that is killed
    a moment later has it or has it not.

    Args:
        folder: Of the stage's checkpoints.
        run_id: Of the run.
        keys: The recipe's section.
        learner: Whose state is kept.
        best_steps: Steps whose checkpoints stay for their evaluation.
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

    def start_from(self, step: int) -> None:
        """The learner took up the checkpoint of a step (-1: none): what an earlier one was writing is forgotten."""
        self._draft, self._saved_step = None, step

    def is_due(self, step: int) -> bool:
        """Whether the recipe wants a checkpoint of the step that has just ended."""
        keys = self._keys
        late = keys.every_minutes is not None and time.monotonic() - self._begun_at >= 60 * keys.every_minutes
        return late or bool(keys.every and step % keys.every == 0)

    def begin(self, step: int, state: dict[str, Any]) -> None:
        """Begins to save a step unless that is done; where it fails the run goes on: the earlier ones are still whole.

        Args:
            step: The last whole one.
            state: The driver's.
        """
        if step in (self._saved_step, self._draft and self._draft.step):
            return
        self.poll(wait=True)
        with self._told():
            # What the checkpoint speaks of is on the disk before it.
            self._log.sync()
            draft = begin_checkpoint(self.folder, step, state, run_id=self.run_id)
            with _drop_where_it_fails(draft):
                self._learner.begin_save(draft.learner_state, partial(seal_checkpoint, draft))
            self._draft, self._begun_at = draft, time.monotonic()

    def poll(self, *, wait: bool = False) -> None:
        """Notes the end of the save that is going on, if it is over; `wait` for it."""
        draft = self._draft
        if draft is None:
            return
        with self._told():
            if not self._is_whole(draft, wait):
                return
            self._draft, self._saved_step = None, draft.step
            self._log.event("checkpoint", f"{self.folder.parent.name} step {draft.step}")
            self.prune()

    def _is_whole(self, draft: Draft, wait: bool) -> bool:
        """Whether the save is over; one that failed is forgotten. After Ctrl-C it can be asked again."""
        try:
            with _drop_where_it_fails(draft):
                return self._learner.saved(wait=wait)
        except CheckpointError:
            self._draft = None
            raise

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Saves a step as `begin` does, and waits for it."""
        self.begin(step, state)
        self.poll(wait=True)
        self.prune()

    def prune(self) -> None:
        """Drops what need not stay."""
        prune_checkpoints(self.folder, keep_last=self._keys.keep_last, keep=self._best_steps())

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except CheckpointError as e:
            self._log.event("checkpoint_failed", str(e))
            self._report.line(f"{e}; the run goes on without it")


@contextmanager
def _drop_where_it_fails(draft: Draft) -> Iterator[None]:
    try:
        yield
    except LearnerLost:  # no fault of the disk
        raise
    except ClusterError as e:  # the learner's own write fails in its actor
        raise draft.failed(e) from e
