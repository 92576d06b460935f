"""How far a run has come: which stages are done, and whether a folder is to be continued."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from rlkit.errors import UsageError
from rlkit.evaluate import Evaluated, Share
from rlkit.metrics import write_whole
from rlkit.recipe.changes import Change, find_changes
from rlkit.recipe.load import LoadedRecipe

LOCK = ".lock"


@dataclass
class RunState:
    """Kept in `progress.json`, written after each finished stage."""

    run_dir: Path
    run_id: str
    """Made once, at the run's first start; its checkpoints carry it."""
    models: list[str]
    """Model folder of each finished stage, below the run's folder."""
    made_with: dict[str, dict[str, str]] = field(default_factory=dict)
    """{"code": hash by reward part, "versions": by library, "machine": what it chose} of the newest start."""
    changes: list[str] = field(default_factory=list)
    """What differs from the start before, as text; not saved."""
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
            "run": self.run_id,
            "models": self.models,
            "made_with": self.made_with,
            "before": None if self.before is None else dataclasses.asdict(self.before),
            "after": None if self.after is None else dataclasses.asdict(self.after),
            "before_name": self.before_name,
            "seconds": self.seconds,
        }
        write_whole(self.run_dir / "progress.json", json.dumps(state, indent=2))


def begin(
    run_dir: Path,
    loaded: LoadedRecipe,
    resume: str,
    *,
    made_with: Mapping[str, Mapping[str, str]] | None = None,
    allow: Sequence[str] = (),
) -> RunState | None:
    """Decides between a fresh start and going on; None: the run here is done.

    Args:
        run_dir: The run's folder.
        loaded: The recipe.
        resume: "auto", "must" or "never".
        made_with: {"code": hash by reward part, "versions": by library, "machine": what it chose} of this start.
        allow: Keys (or sections, or `code.<part>`) that may differ although that changes the run's numbers.

    Raises:
        UsageError: there is nothing to continue, something not to be overwritten, or the recipe or the code differs.
    """
    made = {name: dict(values) for name, values in (made_with or {}).items()}
    recipe_file = run_dir / "recipe.yaml"
    if not recipe_file.exists():
        if resume == "must":
            raise UsageError(f"--resume must: {run_dir} holds no run to continue; start it with --resume auto")
        if run_dir.exists() and any(path.name != LOCK for path in run_dir.iterdir()):
            raise UsageError(f"{run_dir} is not empty and holds no run: give another --run-dir or run.name")
        return _start(run_dir, loaded, made)
    if resume == "never":
        raise UsageError(f"--resume never: {run_dir} already holds a run; give another run.name or --run-dir")
    state = _read(run_dir)
    old = yaml.safe_load(recipe_file.read_text(encoding="utf-8"))
    changes = [*find_changes(old, loaded.resolved), *find_changes(state.made_with, made)]
    longer = _reopened(changes, len(state.models))
    _refuse(run_dir, [c for c in changes if not (c in longer or _passes(c, len(state.models)) or c.allowed(allow))])
    if _status(run_dir) == "done" and not longer:
        return None
    if longer:
        state.models.pop()
        state.after = None
    if len(state.models) < len(loaded.recipe.stages):
        # A model that an earlier start kept when it was stopped, or a shorter stage's, is not this run's result.
        shutil.rmtree(run_dir / "model", ignore_errors=True)
    state.changes, state.made_with = [str(change) for change in changes], made
    _write_recipe(run_dir, loaded)
    state.save()
    return state


def _passes(change: Change, num_done: int) -> bool:
    """Whether a change may pass without being named: harmless, and no more steps of a stage that is done."""
    if change.key.startswith("versions."):
        return True
    section, _, rest = change.key.partition(".")
    of_done_stage = section == "stages" and int(rest.partition(".")[0]) < num_done
    return change.harmless and not (of_done_stage and change.key.endswith(".steps"))


def _reopened(changes: Sequence[Change], num_done: int) -> list[Change]:
    """More steps of the stage that was finished last: its checkpoint of the last step is still there to go on from."""
    return [c for c in changes if num_done and c.key == f"stages.{num_done - 1}.steps" and c.harmless]


def _refuse(run_dir: Path, changes: Sequence[Change]) -> None:
    if not changes:
        return
    told = "; ".join(map(str, changes[:5])) + ("; ..." if len(changes) > 5 else "")
    allow = " ".join(f"--allow {change.key}" for change in changes[:5])
    raise UsageError(
        f"the run in {run_dir} was started with another recipe or other code ({told}), which would change its numbers: "
        f"continue it as it was, give another run.name, or go on all the same with {allow}"
    )


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


def _start(run_dir: Path, loaded: LoadedRecipe, made_with: dict[str, dict[str, str]]) -> RunState:
    _write_recipe(run_dir, loaded)
    state = RunState(run_dir, uuid4().hex, [], made_with=made_with)
    state.save()
    return state


def _write_recipe(run_dir: Path, loaded: LoadedRecipe) -> None:
    text = yaml.safe_dump(loaded.resolved, sort_keys=False, allow_unicode=True)
    write_whole(run_dir / "recipe.yaml", text)


def _status(run_dir: Path) -> str | None:
    path = run_dir / "summary.json"
    if not path.exists():
        return None
    status: str | None = json.loads(path.read_text(encoding="utf-8")).get("status")
    return status


def _read(run_dir: Path) -> RunState:
    path = run_dir / "progress.json"
    # Killed between the run's first two files, it has done nothing yet.
    raw: dict[str, Any] = {"run": uuid4().hex, "models": []}
    if path.exists():
        raw = json.loads(path.read_text(encoding="utf-8"))
    return RunState(
        run_dir,
        raw["run"],
        raw["models"],
        made_with=raw.get("made_with", {}),
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
