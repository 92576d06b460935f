"""What a resume needs, written so that a checkpoint is either whole or not there.

"Checkpoint N": step N's update is done and the data position after it is saved; a resume starts at N + 1 after a sync.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlkit.errors import ClusterError, RlkitError


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint on disk."""

    step: int
    path: Path

    @property
    def learner_state(self) -> Path:
        """The learner's file."""
        return self.path / "learner.pt"

    def state(self) -> dict[str, Any]:
        """The driver's state: stream position and what came before."""
        state: dict[str, Any] = json.loads((self.path / "state.json").read_text(encoding="utf-8"))
        return state


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """The whole checkpoints of a stage, oldest first."""
    found = [
        Checkpoint(int(p.name.removeprefix("step-")), p)
        for p in folder.glob("step-*")
        if p.name.removeprefix("step-").isdigit() and (p / "state.json").exists()
    ]
    return sorted(found, key=lambda c: c.step)


def save_checkpoint(
    folder: Path, step: int, state: dict[str, Any], save_learner: Callable[[Path], None], *, keep_last: int
) -> Checkpoint:
    """Writes a checkpoint beside, syncs it, renames it into place, then drops the oldest beyond `keep_last`.

    Raises:
        RlkitError: the disk is full or the folder cannot be written; earlier checkpoints stay as they are.
    """
    final = folder / f"step-{step:06d}"
    beside = folder / f".step-{step:06d}.tmp"
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        save_learner(beside / "learner.pt")
        (beside / "state.json").write_text(json.dumps(state), encoding="utf-8")
        for path in (*beside.iterdir(), beside):
            _sync(path)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(beside, final)
        _sync(folder)
    except (OSError, ClusterError) as e:  # the learner's own write fails in its actor
        why = e.strerror if isinstance(e, OSError) else str(e)
        raise RlkitError(
            f"checkpoint {step} cannot be written to {folder}: {why}; earlier checkpoints are untouched: "
            "free space or set run.dir elsewhere, then run the same command again to resume"
        ) from e
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    for old in list_checkpoints(folder)[:-keep_last]:
        shutil.rmtree(old.path, ignore_errors=True)
    return Checkpoint(step, final)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
