"""Decides whether `rlkit train` starts a new run, resumes the run in its folder, or refuses, key by key."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from uuid import uuid4

import yaml

from rlkit.disk import write_atomically
from rlkit.errors import UsageError
from rlkit.keep.first_step import FIRST_FILES, LOCK, clear_start, has_work
from rlkit.keep.runfiles import RECIPE, position, scan
from rlkit.keep.runstate import RunState, read_state, unwritable
from rlkit.recipe.changes import Change, find_changes
from rlkit.recipe.load import LoadedRecipe
from rlkit.recipe.schema import Recipe
from rlkit.watch.runlog import RunLog

MODEL = "model"
"""Folder of the last stage's model, in the run's folder; models of earlier stages are in the stages' folders."""
DATA_KEYS = ("run", "run.seed", "data", "data.*", "stages.*.data*")
"""If --allow names one of these, the run may continue with other data or in another order."""


def begin(
    run_dir: Path,
    loaded: LoadedRecipe,
    resume: str,
    *,
    provenance: Mapping[str, Mapping[str, str]] | None = None,
    allow: Sequence[str] = (),
) -> RunState | None:
    """Starts a new run or resumes the one in the folder. Returns its state; None if that run is done.

    Args:
        run_dir: The run's folder.
        loaded: The recipe.
        resume: "auto", "must" or "never".
        provenance: That of this start; see RunState.
        allow: Keys (or sections, or `code.<part>`) that may differ although that changes the run's numbers.

    Raises:
        UsageError: There is no run to resume, the folder contains other files, or the recipe or the code differs.
        RlkitError: The folder cannot be written.
    """
    try:
        return _begin(run_dir, loaded, resume, provenance or {}, allow)
    except OSError as e:
        raise unwritable(run_dir, e) from e


def _begin(
    run_dir: Path, loaded: LoadedRecipe, resume: str, provenance: Mapping[str, Mapping[str, str]], allow: Sequence[str]
) -> RunState | None:
    current = {name: dict(values) for name, values in provenance.items()}
    if not (run_dir / RECIPE).exists():
        if resume == "must":
            raise UsageError(f"--resume must: {run_dir} contains no run to resume; start one with --resume auto")
        if run_dir.exists() and any(path.name not in FIRST_FILES for path in run_dir.iterdir()):
            raise UsageError(f"{run_dir} is not empty and contains no run: set another --run-dir or run.name")
        return _start(run_dir, loaded, current)
    state = read_state(run_dir)
    if not has_work(run_dir):
        if resume == "must":
            raise UsageError(
                f"--resume must: the run in {run_dir} ended before its first step, so there is nothing to resume; "
                "start it with --resume auto"
            )
        return _start_again(state, loaded, current)
    if resume == "never":
        raise UsageError(f"--resume never: {run_dir} already contains a run; set another run.name or --run-dir")
    _undo_unsaved_move(state)
    num_stages = len(state.recipe["stages"])
    if (missing := num_stages - len(loaded.recipe.stages)) > 0:
        raise UsageError(
            f"the run in {run_dir} was started with {num_stages} stages and the recipe has {missing} fewer: resume it "
            "with all of them, or set another run.name"
        )
    changes = [*find_changes(state.recipe, loaded.resolved), *_provenance_changes(state.provenance, current)]
    extended = _reopened(changes, state.models)
    fixed = _fixed(loaded.recipe, len(state.models)) - {change.key for change in extended}
    _refuse(run_dir, [c for c in changes if not ((c.harmless and c.key not in fixed) or c.allowed(allow))])
    if extended:
        state.models.pop()
        state.after = None
        state.reopened += 1
    allowed = [change.key for change in changes if not change.harmless or change.key in fixed]
    if allowed:
        state.heldout = None  # the held-out tasks may differ now
    if not all(key.startswith("stages.") for key in allowed):
        state.before = None  # it may be of another model, other tasks, or another sampling or reward
    state.data_may_differ = any(fnmatch(key, pattern) for key in allow for pattern in DATA_KEYS)
    if len(state.models) < len(loaded.recipe.stages):
        _move_result(state, loaded.recipe)
    elif _status(run_dir) == "done":
        return None
    log = RunLog(run_dir)
    for change in changes:
        log.event("changed", str(change))
    files = state.provenance.get("files", {}) | current.get("files", {})
    state.recipe, state.provenance = loaded.resolved, current | {"files": files}
    (run_dir / "summary.json").unlink(missing_ok=True)  # it is of an earlier start
    state.save()
    _write_recipe(run_dir, loaded)
    return state


def _fixed(recipe: Recipe, num_done: int) -> set[str]:
    """Harmless keys that may not differ in this run: the steps of finished stages, and the first RL stage.

    Adding a first RL stage holds out tasks of the training data, which earlier SFT stages may have trained on.
    """
    keys = {f"stages.{i}.steps" for i in range(num_done)}
    if recipe.rl_stages and recipe.evaluation.holdout != 0 and recipe.evaluation.sources is None:
        keys.add(f"stages.{min(recipe.rl_stages)}")
    return keys


def _provenance_changes(old: Mapping[str, Mapping[str, str]], new: Mapping[str, Mapping[str, str]]) -> Iterator[Change]:
    """Changes in provenance since the run's start. Compares only the model files that both starts could hash."""
    both = {key: value for key, value in old.get("files", {}).items() if key in new.get("files", {})}
    yield from find_changes(both, {key: new["files"][key] for key in both}, "files")
    yield from find_changes({**old, "files": None}, {**new, "files": None})


def _move_result(state: RunState, recipe: Recipe) -> None:
    """Moves the run's `model` folder into the last finished stage's folder: a later stage's result needs the name."""
    result = state.run_dir / MODEL
    if state.models[-1:] == [MODEL]:
        own = f"{recipe.stage_name(len(state.models) - 1)}/{MODEL}"
        (state.run_dir / own).parent.mkdir(exist_ok=True)
        if result.exists():
            result.rename(state.run_dir / own)
        state.models[-1], state.after = own, None


def _undo_unsaved_move(state: RunState) -> None:
    """Undoes a `_move_result` after which a kill prevented saving the state."""
    result = state.run_dir / MODEL
    if state.models[-1:] == [MODEL] and not result.exists():
        name = f"stage-{len(state.models) - 1}-*/{MODEL}"
        for moved in state.run_dir.glob(name):
            moved.rename(result)


def _reopened(changes: Sequence[Change], models: Sequence[str]) -> list[Change]:
    """Changes that add steps to the last stage after it was finished; allowed because no stage started from it yet."""
    done = list(models[-1:]) == [MODEL]
    return [c for c in changes if done and c.key == f"stages.{len(models) - 1}.steps" and c.harmless]


def _refuse(run_dir: Path, changes: Sequence[Change]) -> None:
    if not changes:
        return
    listed = "; ".join(map(str, changes[:5])) + ("; ..." if len(changes) > 5 else "")
    allow = " ".join(f"--allow {change.key}" for change in changes[:5])
    raise UsageError(
        f"the run in {run_dir} was started with another recipe or other code ({listed}), which would change its "
        f"numbers: undo the change, set another run.name, or resume anyway with {allow}"
    )


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Locks the run's folder during the block, because two starts of one run would overwrite each other.

    Raises:
        UsageError: Another process has locked it, or the folder cannot be written or locked.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        file = (run_dir / LOCK).open("w")
    except OSError as e:
        raise UsageError(f"the run folder {run_dir} cannot be written: {e.strerror}; set run.dir or --run-dir") from e
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another process uses {run_dir}: wait for it, or set another run.name") from None
        except OSError as e:
            raise UsageError(
                f"the file system of {run_dir} cannot lock files ({e.strerror}), so two starts of the run could "
                "overwrite each other: mount it with locks, or set run.dir to a local folder and run.mirror to this one"
            ) from e
        yield


def _start(run_dir: Path, loaded: LoadedRecipe, provenance: dict[str, dict[str, str]]) -> RunState:
    state = RunState(run_dir, uuid4().hex, [], recipe=loaded.resolved, provenance=provenance)
    state.save()
    _write_recipe(run_dir, loaded)
    return state


def _start_again(old: RunState, loaded: LoadedRecipe, provenance: dict[str, dict[str, str]]) -> RunState:
    """Starts a run again whose earlier starts all ended before the first step; the recipe may differ.

    Keeps the evaluation of the initial model if nothing that it depends on has changed. Never keeps that of a new
    model (model.init), because the model is created again from the current data.
    """
    state = RunState(old.run_dir, uuid4().hex, [], recipe=loaded.resolved, provenance=provenance, data_may_differ=True)
    changes = [*find_changes(old.recipe, loaded.resolved), *_provenance_changes(old.provenance, provenance)]
    if loaded.recipe.model.path is not None and all(change.harmless for change in changes):
        state.before, state.before_name, state.heldout = old.before, old.before_name, old.heldout
    clear_start(old.run_dir)
    state.save()
    _write_recipe(old.run_dir, loaded)
    return state


def describe_start(state: RunState, recipe: Recipe) -> str:
    """Describes for the user where a resume continues the run."""
    run_dir = state.run_dir
    if not has_work(run_dir):
        return f"an earlier start in {run_dir} ended before its first step: starting the run again"
    names, done = [recipe.stage_name(i) for i in range(len(recipe.stages))], len(state.models)
    parts = [f"{name} is done" for name in names[:done]]
    if done < len(names):
        step = position({"models": state.models}, scan(run_dir)).step
        begun = bool(RunLog(run_dir).last_step(names[done]))
        where = f"after step {step}" if step else "from its first step" + (", no checkpoint was saved" if begun else "")
        parts.append(f"{names[done]} {'continues' if step else 'starts'} {where}")
    return f"continuing the run in {run_dir}: {', '.join(parts)}"


def describe_stop(state: RunState, stage: str, done_step: int) -> str:
    """Describes for the user where the run was stopped and what the same command will do next.

    Args:
        state: State of the stopped run.
        stage: Name of the stage that was running; "setup" before the first.
        done_step: The last completed step of that stage.
    """
    run_dir = state.run_dir
    if not has_work(run_dir):
        return f"stopped as you asked before the first step; the same command starts the run in {run_dir} again"
    next_start = f"the same command continues the run in {run_dir}"
    if stage == "setup":
        return f"stopped as you asked before anything new was done; {next_start}"
    if any(model.startswith(f"{stage}/") for model in state.models) or state.models[-1:] == [MODEL]:
        return f"stopped as you asked after the last step of {stage}; {next_start}"
    if not done_step:
        return f"stopped as you asked before the first step of {stage}; {next_start}"
    saved = position({"models": state.models}, scan(run_dir)).step
    if saved < done_step:
        next_start += f" after step {saved}, the last one that was saved" if saved else ", from that stage's first step"
    return f"stopped as you asked after step {done_step} of {stage}; {next_start}"


def _write_recipe(run_dir: Path, loaded: LoadedRecipe) -> None:
    text = yaml.safe_dump(loaded.resolved, sort_keys=False, allow_unicode=True)
    write_atomically(run_dir / RECIPE, text)


def _status(run_dir: Path) -> str | None:
    path = run_dir / "summary.json"
    if not path.exists():
        return None
    status: str | None = json.loads(path.read_text(encoding="utf-8")).get("status")
    return status
