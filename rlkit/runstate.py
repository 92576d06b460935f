"""How far a run has come: which stages are done, and whether a folder is to be continued."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rlkit.errors import UsageError
from rlkit.evaluate import Evaluated, Share
from rlkit.recipe.load import LoadedRecipe

FREE_TO_CHANGE = ("run.name", "run.dir", "checkpoint", "tracking", "cluster", "rollout.num_workers")
"""Keys that may differ when a run is continued: they change no number of it."""


@dataclass
class RunState:
    """Kept in `progress.json`, written after each finished stage."""

    run_dir: Path
    models: list[str]
    """Model folder of each finished stage."""
    before: Evaluated | None = None
    """The evaluation that "after" is compared with."""
    before_name: str = "before"
    seconds: float = 0.0
    """Time spent by earlier starts of this run."""
    resumed: bool = False

    def save(self) -> None:
        """Writes progress.json, atomically."""
        state = {
            "models": self.models,
            "before": None if self.before is None else dataclasses.asdict(self.before),
            "before_name": self.before_name,
            "seconds": self.seconds,
        }
        beside = self.run_dir / "progress.json.tmp"
        beside.write_text(json.dumps(state, indent=2), encoding="utf-8")
        beside.replace(self.run_dir / "progress.json")


def begin(run_dir: Path, loaded: LoadedRecipe, resume: str) -> RunState | None:
    """Decides between a fresh start and going on; None: the run here is done.

    Raises:
        UsageError: there is nothing to continue, something not to be overwritten, or another recipe.
    """
    recipe_file = run_dir / "recipe.yaml"
    if not recipe_file.exists():
        if resume == "must":
            raise UsageError(f"--resume must: {run_dir} holds no run to continue; start it with --resume auto")
        if run_dir.exists() and any(run_dir.iterdir()):
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
    return _read(run_dir)


def changed_keys(old: Any, new: Any, path: str = "") -> list[str]:
    """Dotted keys whose value differs and matters."""
    if path in FREE_TO_CHANGE or old == new:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(k for k in new if k not in old)]
        return [c for k in keys for c in changed_keys(old.get(k), new.get(k), f"{path}.{k}" if path else str(k))]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [c for i, (a, b) in enumerate(zip(old, new, strict=True)) for c in changed_keys(a, b, f"{path}.{i}")]
    return [path]


def _start(run_dir: Path, loaded: LoadedRecipe) -> RunState:
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(loaded.resolved, sort_keys=False, allow_unicode=True)
        (run_dir / "recipe.yaml").write_text(text, encoding="utf-8")
    except OSError as e:
        raise UsageError(f"the run folder {run_dir} cannot be written: {e.strerror}; set run.dir or --run-dir") from e
    return RunState(run_dir, [])


def _status(run_dir: Path) -> str | None:
    path = run_dir / "summary.json"
    if not path.exists():
        return None
    status: str | None = json.loads(path.read_text(encoding="utf-8")).get("status")
    return status


def _read(run_dir: Path) -> RunState:
    # A model that an earlier start kept when it was stopped is not this run's result.
    shutil.rmtree(run_dir / "model", ignore_errors=True)
    path = run_dir / "progress.json"
    if not path.exists():
        return RunState(run_dir, [], resumed=True)
    raw = json.loads(path.read_text(encoding="utf-8"))
    before = None
    if raw["before"] is not None:
        shares = {k: None if raw["before"][k] is None else Share(**raw["before"][k]) for k in ("sampled", "greedy")}
        before = Evaluated(**(raw["before"] | shares))
    return RunState(run_dir, raw["models"], before, raw["before_name"], raw["seconds"], resumed=True)
