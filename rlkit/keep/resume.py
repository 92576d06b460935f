"""Whether a start of a run goes on in its folder, begins it, or is refused, key by key."""

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
"""Folder of the last stage's model in the run's own; an earlier stage's lies in the stage's."""
DATA_KEYS = ("run", "run.seed", "data", "data.*", "stages.*.data*")
"""What is allowed by these may be other data, or another order of it."""


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
        made_with: Of this start; see RunState.
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
    if not (run_dir / RECIPE).exists():
        if resume == "must":
            raise UsageError(f"--resume must: {run_dir} holds no run to continue; start it with --resume auto")
        if run_dir.exists() and any(path.name not in FIRST_FILES for path in run_dir.iterdir()):
            raise UsageError(f"{run_dir} is not empty and holds no run: give another --run-dir or run.name")
        return _start(run_dir, loaded, made)
    state = read_state(run_dir)
    if not has_work(run_dir):
        if resume == "must":
            raise UsageError(
                f"--resume must: the run in {run_dir} ended before its first step, so there is nothing to continue; "
                "start it with --resume auto"
            )
        return _start_again(state, loaded, made)
    if resume == "never":
        raise UsageError(f"--resume never: {run_dir} already holds a run; give another run.name or --run-dir")
    _put_back(state)
    there = len(state.recipe["stages"])
    if (missing := there - len(loaded.recipe.stages)) > 0:
        raise UsageError(
            f"the run in {run_dir} was started with {there} stages and the recipe has {missing} fewer: continue it "
            "with all of them, or give another run.name"
        )
    changes = [*find_changes(state.recipe, loaded.resolved), *_find_made_otherwise(state.made_with, made)]
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
    if not all(key.startswith("stages.") for key in allowed):
        state.before = None  # of another model or other tasks, or drawn or scored otherwise
    state.data_may_differ = any(fnmatch(key, pattern) for key in allow for pattern in DATA_KEYS)
    if len(state.models) < len(loaded.recipe.stages):
        _make_room(state, loaded.recipe)
    elif _status(run_dir) == "done":
        return None
    log = RunLog(run_dir)
    for change in changes:
        log.event("changed", str(change))
    seen = state.made_with.get("files", {}) | made.get("files", {})
    state.recipe, state.made_with = loaded.resolved, made | {"files": seen}
    (run_dir / "summary.json").unlink(missing_ok=True)  # it says how an earlier start ended
    state.save()
    _write_recipe(run_dir, loaded)
    return state


def _fixed(recipe: Recipe, num_done: int) -> set[str]:
    """Harmless keys that may not differ in this run: the steps of stages that are done, and the first RL stage.

    Where that one is added, tasks are held out of the data, which the SFT stages before it may have learned from.
    """
    keys = {f"stages.{i}.steps" for i in range(num_done)}
    if recipe.rl_stages and recipe.evaluation.holdout != 0 and recipe.evaluation.sources is None:
        keys.add(f"stages.{min(recipe.rl_stages)}")
    return keys


def _find_made_otherwise(
    old: Mapping[str, Mapping[str, str]], new: Mapping[str, Mapping[str, str]]
) -> Iterator[Change]:
    """What the run was made with and is made with now; of model files only those that were seen both times."""
    seen = {key: value for key, value in old.get("files", {}).items() if key in new.get("files", {})}
    yield from find_changes(seen, {key: new["files"][key] for key in seen}, "files")
    yield from find_changes({**old, "files": None}, {**new, "files": None})


def _make_room(state: RunState, recipe: Recipe) -> None:
    """Makes the run's `model` folder free for the result of a stage that was added after the one whose it was."""
    result = state.run_dir / MODEL
    if state.models[-1:] == [MODEL]:
        own = f"{recipe.stage_name(len(state.models) - 1)}/{MODEL}"
        (state.run_dir / own).parent.mkdir(exist_ok=True)
        if result.exists():
            result.rename(state.run_dir / own)
        state.models[-1], state.after = own, None


def _put_back(state: RunState) -> None:
    """Undoes a `_make_room` that a kill kept from being written down."""
    result = state.run_dir / MODEL
    if state.models[-1:] == [MODEL] and not result.exists():
        name = f"stage-{len(state.models) - 1}-*/{MODEL}"
        for moved in state.run_dir.glob(name):
            moved.rename(result)


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
        except BlockingIOError:
            raise UsageError(f"another process is at work in {run_dir}: wait for it, or take another folder") from None
        except OSError as e:
            raise UsageError(
                f"the file system of {run_dir} cannot lock files ({e.strerror}), so that nothing keeps two starts "
                "apart: mount it with locks, or set run.dir to a local folder and run.mirror to one there"
            ) from e
        yield


def _start(run_dir: Path, loaded: LoadedRecipe, made_with: dict[str, dict[str, str]]) -> RunState:
    state = RunState(run_dir, uuid4().hex, [], recipe=loaded.resolved, made_with=made_with)
    state.save()
    _write_recipe(run_dir, loaded)
    return state


def _start_again(old: RunState, loaded: LoadedRecipe, made_with: dict[str, dict[str, str]]) -> RunState:
    """Starts a run whose earlier starts all ended before its first step, with this recipe, whatever theirs was.

    The figures of the start model are kept where nothing that they depend on differs. Those of a model made from
    nothing are not: it is made anew, from whatever the data now says.
    """
    state = RunState(old.run_dir, uuid4().hex, [], recipe=loaded.resolved, made_with=made_with, data_may_differ=True)
    changes = [*find_changes(old.recipe, loaded.resolved), *_find_made_otherwise(old.made_with, made_with)]
    if loaded.recipe.model.path is not None and all(change.harmless for change in changes):
        state.before, state.before_name, state.heldout = old.before, old.before_name, old.heldout
    clear_start(old.run_dir)
    state.save()
    _write_recipe(old.run_dir, loaded)
    return state


def describe_start(state: RunState, recipe: Recipe) -> str:
    """Says where a start takes up the run of an earlier one."""
    run_dir = state.run_dir
    if not has_work(run_dir):
        return f"an earlier start in {run_dir} ended before its first step: starting the run anew"
    names, done = [recipe.stage_name(i) for i in range(len(recipe.stages))], len(state.models)
    told = [f"{name} is done" for name in names[:done]]
    if done < len(names):
        step = position({"models": state.models}, scan(run_dir)).step
        begun = bool(RunLog(run_dir).last_step(names[done]))
        where = f"after step {step}" if step else "from its first step" + (", no checkpoint was saved" if begun else "")
        told.append(f"{names[done]} {'continues' if step else 'starts'} {where}")
    return f"continuing the run in {run_dir}: {', '.join(told)}"


def describe_stop(state: RunState, at: str, done_step: int) -> str:
    """Tells a user who stopped the run where it stands and what the same command will do.

    Args:
        state: Of the run, as it was stopped.
        at: Name of the stage that it was in; "setup" before any.
        done_step: The last step of that stage which is whole.
    """
    run_dir = state.run_dir
    if not has_work(run_dir):
        return f"stopped as you asked before the first step; the same command starts the run in {run_dir} again"
    go_on = f"the same command continues the run in {run_dir}"
    if at == "setup":
        return f"stopped as you asked before anything new was done; {go_on}"
    if any(model.startswith(f"{at}/") for model in state.models) or state.models[-1:] == [MODEL]:
        return f"stopped as you asked after the last step of {at}; {go_on}"
    if not done_step:
        return f"stopped as you asked before the first step of {at}; {go_on}"
    saved = position({"models": state.models}, scan(run_dir)).step
    if saved < done_step:
        go_on += f" after step {saved}, the last one that was saved" if saved else ", from that stage's first step"
    return f"stopped as you asked after step {done_step} of {at}; {go_on}"


def _write_recipe(run_dir: Path, loaded: LoadedRecipe) -> None:
    text = yaml.safe_dump(loaded.resolved, sort_keys=False, allow_unicode=True)
    write_atomically(run_dir / RECIPE, text)


def _status(run_dir: Path) -> str | None:
    path = run_dir / "summary.json"
    if not path.exists():
        return None
    status: str | None = json.loads(path.read_text(encoding="utf-8")).get("status")
    return status
