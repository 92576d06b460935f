"""Whether a run has done anything yet. Until its first step is whole its folder is free for another start."""

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
"""What a kill may leave of a start before recipe.yaml is there."""
START_MODEL = "start"
"""Folder of the model that `model.init` makes in the run's own."""
WORK = re.compile(
    r"(stage-[^/]+/)?model(/|$)"
    r"|stage-[^/]+/rollouts/step-\d+\.parquet$"
    r"|stage-[^/]+/checkpoints/(damaged-)?step-\d+(/|$)"
    rf"|stage-[^/]+/checkpoints/\.step-[^/]+\.tmp/{re.escape(MANIFEST)}$"  # a checkpoint that lacks only its name
)
"""Names of files that hold what a run has learned or sampled."""


def has_work(run_dir: Path) -> bool:
    """Whether the run in a folder has done anything: see `shows_work`."""
    metrics = run_dir / METRICS
    names = (path.relative_to(run_dir).as_posix() for path in run_dir.rglob("*"))
    return shows_work(progress_of(run_dir) or {}, names, metrics.read_bytes() if metrics.exists() else b"")


def shows_work(progress: Mapping[str, object], names: Iterable[str], metrics: bytes) -> bool:
    """Whether a finished stage, a checkpoint, or the metrics or samples of one whole step are there.

    A run without any of these is no run yet: there is nothing to continue, and a start begins it anew.

    Args:
        progress: Of its progress.json.
        names: Of all its files.
        metrics: Its metrics.jsonl; a line without an end is of a step that was cut off.
    """
    return bool(progress.get("models")) or b"\n" in metrics or any(map(WORK.match, names))


def is_free(run_dir: Path) -> bool:
    """Whether a folder is empty, or holds nothing but a start that ended before its first step."""
    names = {path.name for path in run_dir.iterdir()}
    return names <= set(FIRST_FILES) or (progress_of(run_dir) is not None and not has_work(run_dir))


def clear_start(run_dir: Path) -> None:
    """Deletes what a start that ended before its first step has left, but for run.log, recipe.yaml and progress.json.

    Files that are not of a run stay.
    """
    for name in (METRICS, EVALUATIONS, EVENTS, "summary.json"):
        (run_dir / name).unlink(missing_ok=True)
    shutil.rmtree(run_dir / START_MODEL, ignore_errors=True)
    for stage in run_dir.glob("stage-[0-9]*-*"):
        for name in ("checkpoints", "rollouts", "trainer"):
            shutil.rmtree(stage / name, ignore_errors=True)
        with suppress(OSError):  # it holds something else
            stage.rmdir()


def make_room(run_dir: Path) -> None:
    """Empties a free folder for a run that is to be copied into it. The recipe, which makes it a run's, goes first."""
    (run_dir / RECIPE).unlink(missing_ok=True)
    clear_start(run_dir)
