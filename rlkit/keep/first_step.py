"""Whether a run has completed its first step. Until then, another start may replace it in its folder."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from rlkit.keep.checkpoint import MANIFEST
from rlkit.keep.runfiles import RECIPE, progress_of
from rlkit.watch.runlog import EVALUATIONS, EVENTS, METRICS

LOCK = ".lock"
FIRST_FILES = (LOCK, "progress.json.tmp", "progress.json", "recipe.yaml.tmp")
"""Files that may exist when a start is killed before it has written recipe.yaml."""
START_MODEL = "start"
"""Folder, in the run's folder, of the new model that `model.init` creates."""
WORK = re.compile(
    r"(stage-[^/]+/)?model(/|$)"
    r"|stage-[^/]+/rollouts/step-\d+\.parquet$"
    r"|stage-[^/]+/checkpoints/(damaged-)?step-\d+(/|$)"
    rf"|stage-[^/]+/checkpoints/\.step-[^/]+\.tmp/{re.escape(MANIFEST)}$"  # a complete checkpoint, not yet renamed
)
"""Names of files that contain results of a run: models, samples, checkpoints."""


def has_work(run_dir: Path) -> bool:
    """Whether the run in a folder has results that a resume continues from: see `shows_work`."""
    metrics = run_dir / METRICS
    names = (path.relative_to(run_dir).as_posix() for path in run_dir.rglob("*"))
    return shows_work(progress_of(run_dir) or {}, names, metrics.read_bytes() if metrics.exists() else b"")


def shows_work(progress: Mapping[str, object], names: Iterable[str], metrics: bytes) -> bool:
    """Whether there is a finished stage, a checkpoint, or the metrics or samples of one complete step.

    Without any of these there is nothing to resume, and the next start begins the run again.

    Args:
        progress: Content of its progress.json.
        names: Names of all its files.
        metrics: Content of its metrics.jsonl. A line without a line end belongs to a step that was interrupted.
    """
    return bool(progress.get("models")) or b"\n" in metrics or any(map(WORK.match, names))


def is_free(run_dir: Path) -> bool:
    """Whether a folder is empty, or contains only a start that ended before its first step."""
    names = {path.name for path in run_dir.iterdir()}
    return names <= set(FIRST_FILES) or (progress_of(run_dir) is not None and not has_work(run_dir))


def clear_start(run_dir: Path) -> None:
    """Deletes the files of a start that ended before its first step, except run.log, recipe.yaml and progress.json.

    Files that rlkit did not write stay.
    """
    for name in (METRICS, EVALUATIONS, EVENTS, "summary.json"):
        (run_dir / name).unlink(missing_ok=True)
    shutil.rmtree(run_dir / START_MODEL, ignore_errors=True)
    for stage in run_dir.glob("stage-[0-9]*-*"):
        for name in ("checkpoints", "rollouts", "trainer"):
            shutil.rmtree(stage / name, ignore_errors=True)
        with suppress(OSError):  # not empty: it contains other files
            stage.rmdir()


def make_room(run_dir: Path) -> None:
    """Empties a free folder before a run is downloaded into it.

    Deletes recipe.yaml first: without it the folder does not count as a run, wherever this is interrupted.
    """
    (run_dir / RECIPE).unlink(missing_ok=True)
    clear_start(run_dir)
