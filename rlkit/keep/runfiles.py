"""Lists the files of a run and derives its progress from them. Reads the disk, but writes nothing."""

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
"""Size in bytes and modification time in nanoseconds; a file with equal stamps is unchanged."""


class Position(NamedTuple):
    """The progress of a run; a later position compares as larger."""

    reopened: int
    """How often a finished stage was extended by more steps."""
    stages: int
    """Number of finished stages."""
    step: int
    """Step of the newest complete checkpoint of the next stage; 0: none."""


def scan(run_dir: Path) -> dict[str, Stamp]:
    """The files of a run by name, without hidden files, unfinished files and damaged checkpoints."""
    found = {}
    for folder, folders, names in os.walk(run_dir):
        folders[:] = [f for f in folders if not (f.endswith(".tmp") or f.startswith("damaged-") or f == "trainer")]
        # Hidden files at the top belong to rlkit (lock, mirror index); in a checkpoint they are part of it.
        is_top = folder == str(run_dir)
        for name in names:
            path = Path(folder, name)
            if name.endswith(".tmp") or (is_top and name.startswith(".")):
                continue
            try:
                found[path.relative_to(run_dir).as_posix()] = stamp_of(path)
            except FileNotFoundError:  # deleted since it was listed
                continue
    return found


def position(progress: dict[str, object], names: Iterable[str]) -> Position:
    """The position of a run, from the content of its progress.json and the names of all its files."""
    models = progress["models"]
    assert isinstance(models, list)
    current = re.compile(rf"stage-{len(models)}-[^/]+/checkpoints/step-(\d+)/{re.escape(MANIFEST)}")
    steps = [int(match[1]) for name in names if (match := current.fullmatch(name))]
    reopened = progress.get("reopened", 0)
    assert isinstance(reopened, int)
    return Position(reopened, len(models), max(steps, default=0))


def is_manifest(name: str) -> bool:
    """Whether this file is the manifest of a checkpoint, without which the checkpoint does not count."""
    return checkpoint_of(name) is not None and name.endswith(f"/{MANIFEST}") and name.count("/") == 3


def checkpoint_of(name: str) -> str | None:
    """The checkpoint folder that a file belongs to, such as "stage-1-grpo/checkpoints/step-000020"; None: none."""
    match = re.match(r"[^/]+/checkpoints/step-\d+(?=/)", name)
    return match[0] if match else None


def stamp_of(path: Path) -> Stamp:
    """The stamp of an existing file."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def progress_of(run_dir: Path) -> dict[str, object] | None:
    """Content of a run's progress.json; None: the folder contains no run, or the file cannot be read."""
    if not (run_dir / RECIPE).exists():
        return None
    try:
        progress: dict[str, object] = json.loads((run_dir / PROGRESS).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return progress
