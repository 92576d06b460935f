"""How far a run has come: which stages are done, and whether a folder is to be continued."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from rlkit.errors import UsageError
from rlkit.evaluate import Evaluated, Share
from rlkit.metrics import write_whole
from rlkit.recipe.load import LoadedRecipe

LOCK = ".lock"
FREE_TO_CHANGE = (
    *("run.name", "run.dir", "checkpoint", "tracking", "cluster"),
    *("rollout.num_workers", "rollout.timeout_s", "rollout.parity_limit", "rollout.kv_cache_gb"),
    *("learner.timeout_s", "learner.activation_checkpointing", "stages.*.timeout_s"),
    *("reward.runtime.num_workers", "reward.runtime.timeout_s", "reward.runtime.max_unscored"),
)
"""Keys that may differ when a run is continued: deadlines, limits and what changes no number of it."""


@dataclass
class RunState:
    """Kept in `progress.json`, written after each finished stage."""

    run_dir: Path
    models: list[str]
    """Model folder of each finished stage, below the run's folder."""
    before: Evaluated | None = None
    """The evaluation that "after" is compared with."""
    before_name: str = "before"
    after: Evaluated | None = None
    """The last evaluation of the last stage's model."""
    seconds: float = 0.0
    """Time spent by earlier starts of this run."""

    def save(self) -> None:
        """Writes progress.json, atomically."""
        state = {
            "models": self.models,
            "before": None if self.before is None else dataclasses.asdict(self.before),
            "after": None if self.after is None else dataclasses.asdict(self.after),
            "before_name": self.before_name,
            "seconds": self.seconds,
        }
        write_whole(self.run_dir / "progress.json", json.dumps(state, indent=2))


def begin(run_dir: Path, loaded: LoadedRecipe, resume: str) -> RunState | None:
    """Decides between a fresh start and going on; None: the run here is done.

    Raises:
        UsageError: there is nothing to continue, something not to be overwritten, or another recipe.
    """
    recipe_file = run_dir / "recipe.yaml"
    if not recipe_file.exists():
        if resume == "must":
            raise UsageError(f"--resume must: {run_dir} holds no run to continue; start it with --resume auto")
        if run_dir.exists() and any(path.name != LOCK for path in run_dir.iterdir()):
            raise UsageError(f"{run_dir} is not empty and holds no run: give another --run-dir or run.name")
        return _start(run_dir, loaded)
    if resume == "never":
        raise UsageError(f"--resume never: {run_dir} already holds a run; give another run.name or --run-dir")
    changed = changed_keys(yaml.safe_load(recipe_file.read_text(encoding="utf-8")), loaded.resolved)
    if changed:
        raise UsageError(
            f"the run in {run_dir} was started with another recipe: {', '.join(changed[:5])} differ"
            f"{'s' if len(changed) == 1 else ''}; continue it with its own recipe.yaml, or give another run.name"
        )
    if _status(run_dir) == "done":
        return None
    return _read(run_dir, len(loaded.recipe.stages))


def changed_keys(old: Any, new: Any, path: str = "") -> list[str]:
    """Dotted keys whose value differs and matters."""
    if old == new or any(fnmatch(path, free) for free in FREE_TO_CHANGE):
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(k for k in new if k not in old)]
        return [c for k in keys for c in changed_keys(old.get(k), new.get(k), f"{path}.{k}" if path else str(k))]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [c for i, (a, b) in enumerate(zip(old, new, strict=True)) for c in changed_keys(a, b, f"{path}.{i}")]
    return [path]


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Holds the run's folder: two starts of one run would overwrite each other.

    Raises:
        UsageError: another process holds it, or the folder cannot be written.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        file = (run_dir / LOCK).open("w")
    except OSError as e:
        raise UsageError(f"the run folder {run_dir} cannot be written: {e.strerror}; set run.dir or --run-dir") from e
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"another process is at work in {run_dir}: wait for it, or take another folder") from None
        yield


def _start(run_dir: Path, loaded: LoadedRecipe) -> RunState:
    text = yaml.safe_dump(loaded.resolved, sort_keys=False, allow_unicode=True)
    write_whole(run_dir / "recipe.yaml", text)
    return RunState(run_dir, [])


def _status(run_dir: Path) -> str | None:
    path = run_dir / "summary.json"
    if not path.exists():
        return None
    status: str | None = json.loads(path.read_text(encoding="utf-8")).get("status")
    return status


def _read(run_dir: Path, num_stages: int) -> RunState:
    path = run_dir / "progress.json"
    raw = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"models": []}
    if len(raw["models"]) < num_stages:
        # A model that an earlier start kept when it was stopped is not this run's result.
        shutil.rmtree(run_dir / "model", ignore_errors=True)
    return RunState(
        run_dir,
        raw["models"],
        before=_evaluated(raw.get("before")),
        before_name=raw.get("before_name", "before"),
        after=_evaluated(raw.get("after")),
        seconds=raw.get("seconds", 0.0),
    )


def _evaluated(raw: dict[str, Any] | None) -> Evaluated | None:
    if raw is None:
        return None
    shares = {k: None if raw[k] is None else Share(**raw[k]) for k in ("sampled", "greedy")}
    return Evaluated(**(raw | shares))
