"""Which files a run consists of, and how far it is by them. Pure but for looking."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from rlkit.keep.checkpoint import MANIFEST

RECIPE, PROGRESS = "recipe.yaml", "progress.json"
Stamp = tuple[int, int]
"""Size in bytes and time of change in nanoseconds: a file that keeps both is the same."""


class Position(NamedTuple):
    """How far a run is; the later one is the larger."""

    reopened: int
    """How often a finished stage was made longer."""
    stages: int
    """Stages that are done."""
    step: int
    """Of the newest whole checkpoint of the stage after them; 0: none."""


def scan(run_dir: Path) -> dict[str, Stamp]:
    """The files of a run by name, but for its hidden ones, those being written, and damaged checkpoints."""
    found = {}
    for folder, folders, names in os.walk(run_dir):
        folders[:] = [f for f in folders if not (f.endswith(".tmp") or f.startswith("damaged-") or f == "trainer")]
        # Hidden files are ours in the run's own folder, and part of a checkpoint in its.
        ours = folder == str(run_dir)
        for name in names:
            path = Path(folder, name)
            if name.endswith(".tmp") or (ours and name.startswith(".")):
                continue
            try:
                found[path.relative_to(run_dir).as_posix()] = stamp_of(path)
            except FileNotFoundError:  # deleted meanwhile
                continue
    return found


def position(progress: dict[str, object], names: Iterable[str]) -> Position:
    """How far the run of a `progress.json` is, given the names of all its files."""
    models = progress["models"]
    assert isinstance(models, list)
    current = re.compile(rf"stage-{len(models)}-[^/]+/checkpoints/step-(\d+)/{re.escape(MANIFEST)}")
    steps = [int(match[1]) for name in names if (match := current.fullmatch(name))]
    reopened = progress.get("reopened", 0)
    assert isinstance(reopened, int)
    return Position(reopened, len(models), max(steps, default=0))


def is_manifest(name: str) -> bool:
    """Whether this file makes a checkpoint count."""
    return checkpoint_of(name) is not None and name.endswith(f"/{MANIFEST}") and name.count("/") == 3


def checkpoint_of(name: str) -> str | None:
    """The folder of the checkpoint that a file belongs to: "stage-1-grpo/checkpoints/step-000020"."""
    match = re.match(r"[^/]+/checkpoints/step-\d+(?=/)", name)
    return match[0] if match else None


def stamp_of(path: Path) -> Stamp:
    """The stamp of a file that is there."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def progress_of(run_dir: Path) -> dict[str, object] | None:
    """The progress of the run in a folder; None: it holds none, or its progress.json cannot be read."""
    if not (run_dir / RECIPE).exists():
        return None
    try:
        progress: dict[str, object] = json.loads((run_dir / PROGRESS).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return progress
