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

from rlkit.disk import write_whole
from rlkit.errors import DataError, RlkitError, UsageError
from rlkit.evaluate import Evaluated, Share
from rlkit.recipe.changes import Change, find_changes
from rlkit.recipe.load import LoadedRecipe
from rlkit.recipe.schema import Recipe

LOCK = ".lock"
FIRST_FILES = (LOCK, "progress.json.tmp", "progress.json", "recipe.yaml.tmp")
"""What a kill may leave of a start before the folder holds a run: it does once recipe.yaml is there."""
MODEL = "model"
"""Folder of the last stage's model in the run's own; an earlier stage's lies in the stage's."""


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
    reopened: int = 0
    """How often a finished stage was made longer: a copy from before that is behind, though its stage is done."""
    heldout: str | None = None
    """Fingerprint of the held-out tasks; None: not read yet."""

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
            "reopened": self.reopened,
            "heldout": self.heldout,
        }
        write_whole(self.run_dir / "progress.json", json.dumps(state, indent=2))

    def check_heldout(self, tasks: str) -> None:
        """Checks that the run still evaluates on the tasks that it began with.

        Raises:
            DataError: the fingerprint is another one.
        """
        if self.heldout not in (None, tasks):
            raise DataError(
                f"the held-out tasks have changed since {self.run_dir} was started: its evaluations would not compare; "
                "put the data back, or start a new run"
            )
        self.heldout = tasks

    def summary(
        self, status: str, steps: int, seconds: Mapping[str, float], events: Mapping[str, int]
    ) -> dict[str, Any]:
        """What summary.json says.

        Args:
            status: "done", "stopped" or "failed".
            steps: The last stage's, so far.
            seconds: Of this start, by phase.
            events: What happened, of all starts: how often each kind.
        """
        before, after = self.before, self.after
        return {
            "status": status,
            "steps": steps,
            "policy_version": steps,
            "before": None if before is None else before.summary(),
            "after": None if after is None else after.summary(),
            "reward_before": None if before is None else before.parts,
            "reward_after": None if after is None else after.parts,
            "seconds": {"total": self.seconds, **seconds},
            "events": dict(events),
            "model": "model/" if (self.run_dir / "model").exists() else None,
        }


def unwritable(run_dir: Path, error: OSError) -> RlkitError:
    """What ends a run whose folder cannot be written any more."""
    return RlkitError(
        f"the run folder {run_dir} cannot be written: {error.strerror or error}; its checkpoints are whole: free space "
        "or make it writable, and run the same command again to continue"
    )


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
        RlkitError: the folder cannot be written.
    """
    try:
        return _begin(run_dir, loaded, resume, made_with or {}, allow)
    except OSError as e:
        raise unwritable(run_dir, e) from e


def _begin(
    run_dir: Path, loaded: LoadedRecipe, resume: str, made_with: Mapping[str, Mapping[str, str]], allow: Sequence[str]
) -> RunState | None:
    made = {name: dict(values) for name, values in made_with.items()}
    recipe_file = run_dir / "recipe.yaml"
    if not recipe_file.exists():
        if resume == "must":
            raise UsageError(f"--resume must: {run_dir} holds no run to continue; start it with --resume auto")
        if run_dir.exists() and any(path.name not in FIRST_FILES for path in run_dir.iterdir()):
            raise UsageError(f"{run_dir} is not empty and holds no run: give another --run-dir or run.name")
        return _start(run_dir, loaded, made)
    if resume == "never":
        raise UsageError(f"--resume never: {run_dir} already holds a run; give another run.name or --run-dir")
    state = _read(run_dir)
    old = yaml.safe_load(recipe_file.read_text(encoding="utf-8"))
    missing = len(old["stages"]) - len(loaded.recipe.stages)
    if missing > 0:
        raise UsageError(
            f"the run in {run_dir} was started with {len(old['stages'])} stages and the recipe has {missing} fewer: "
            "continue it with all of them, or give another run.name"
        )
    changes = [*find_changes(old, loaded.resolved), *find_changes(state.made_with, made)]
    longer = _reopened(changes, state.models)
    fixed = _fixed(loaded.recipe, len(state.models)) - {change.key for change in longer}
    _refuse(run_dir, [c for c in changes if not ((c.harmless and c.key not in fixed) or c.allowed(allow))])
    if longer:
        state.models.pop()
        state.after = None
        state.reopened += 1
    allowed = [change.key for change in changes if not change.harmless or change.key in fixed]
    if allowed:
        state.heldout = None  # what was allowed may be other tasks
    if allowed and not (state.models and all(key.startswith("stages.") for key in allowed)):
        state.before = None  # of other tasks, or drawn or scored otherwise
    if len(state.models) < len(loaded.recipe.stages):
        _make_room(state, loaded.recipe)
    elif _status(run_dir) == "done":
        return None
    state.changes, state.made_with = [str(change) for change in changes], made
    (run_dir / "summary.json").unlink(missing_ok=True)  # it says how an earlier start ended
    state.save()
    _write_recipe(run_dir, loaded)
    return state


def _fixed(recipe: Recipe, num_done: int) -> set[str]:
    """Harmless keys that may not differ in this run: the steps of stages that are done, and the first RL stage.

    Where that one is added, tasks are held out of the data, which the SFT stages before it may have learned from.
    """
    keys = {f"stages.{i}.steps" for i in range(num_done)}
    if recipe.rl_stages and recipe.evaluation.holdout and recipe.evaluation.sources is None:
        keys.add(f"stages.{min(recipe.rl_stages)}")
    return keys


def _make_room(state: RunState, recipe: Recipe) -> None:
    """Clears the run's `model` folder for the last stage's result."""
    result = state.run_dir / MODEL
    if state.models[-1:] == [MODEL]:
        # The last stage's until now; the one that was added starts from it.
        own = f"{recipe.stage_name(len(state.models) - 1)}/{MODEL}"
        (state.run_dir / own).parent.mkdir(exist_ok=True)
        if result.exists():  # else killed right after this rename
            result.rename(state.run_dir / own)
        state.models[-1], state.after = own, None
    # A model that an earlier start kept when it was stopped, or a shorter stage's, is not this run's result.
    shutil.rmtree(result, ignore_errors=True)


def _reopened(changes: Sequence[Change], models: Sequence[str]) -> list[Change]:
    """More steps of the last stage, which is done: nothing has started from its model yet."""
    done = list(models[-1:]) == [MODEL]
    return [c for c in changes if done and c.key == f"stages.{len(models) - 1}.steps" and c.harmless]


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
    state = RunState(run_dir, uuid4().hex, [], made_with=made_with)
    state.save()
    _write_recipe(run_dir, loaded)
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
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        why = "is not there" if isinstance(e, FileNotFoundError) else f"cannot be read ({e})"
        raise UsageError(f"{path} {why}, and nothing else says how far the run is: give another run.name") from e
    return RunState(
        run_dir,
        raw["run"],
        raw["models"],
        made_with=raw.get("made_with", {}),
        before=_evaluated(raw.get("before")),
        before_name=raw.get("before_name", "before"),
        after=_evaluated(raw.get("after")),
        seconds=raw.get("seconds", 0.0),
        reopened=raw.get("reopened", 0),
        heldout=raw.get("heldout"),
    )


def _evaluated(raw: dict[str, Any] | None) -> Evaluated | None:
    if raw is None:
        return None
    shares = {k: None if raw[k] is None else Share(**raw[k]) for k in ("sampled", "greedy")}
    return Evaluated(**(raw | shares))
