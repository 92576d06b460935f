"""All checks of a run that need no heavy import. `rlkit plan` and `rlkit train` run the same checks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rlkit.cluster.jobs import check_address, check_run_dir
from rlkit.data.builtin import check_builtin
from rlkit.errors import UsageError
from rlkit.keep.remote import check_url
from rlkit.plan.machine import Machine
from rlkit.plan.make_plan import Plan, make_plan
from rlkit.plan.model_files import check_models
from rlkit.plan.stage_plan import RowCounts
from rlkit.recipe.file_checks import builtin_sources, sources_of
from rlkit.recipe.load import LoadedRecipe
from rlkit.recipe.schema import Recipe
from rlkit.rollout.engine_arguments import check_engine_arguments
from rlkit.run.run_data import RunData, read_data
from rlkit.scoring.plugins.reward_check import check_columns, check_plugins
from rlkit.stages.registry import stages_of
from rlkit.watch.sinks import check_sinks

SMALL_BYTES = 64 * 2**20
"""`rlkit plan` reads local data up to this size, in bytes."""


@dataclass(frozen=True)
class Checked:
    """A recipe that passed all checks, except those that `plan.refusals` reports."""

    plan: Plan
    """Its plan on this machine."""
    data: RunData | None
    """Its rows; None if they were not read, or if the plan has refusals."""
    notes: tuple[str, ...]
    """Warnings about the data."""


def check_run(loaded: LoadedRecipe, *, run_dir: Path, address: str | None, read_all: bool) -> Checked:
    """Checks a recipe and makes its plan.

    Args:
        loaded: The recipe.
        run_dir: The run's folder.
        address: Address of a Ray cluster, in place of the recipe's cluster.address.
        read_all: Whether to read data that is large or on the Hub.

    Raises:
        UsageError: The recipe cannot run on any machine.
    """
    recipe = loaded.recipe
    parts = check_plugins(recipe.reward, loaded.base_dir)
    for stage in stages_of(recipe):
        list(stage.user_code(loaded.base_dir))
    check_sinks(recipe.tracking, loaded.base_dir)
    check_run_dir(run_dir, mirrored=recipe.run.mirror is not None)
    _check_writable(run_dir)
    if recipe.run.mirror is not None:
        check_url(recipe.run.mirror)
    for source in builtin_sources(recipe):
        check_builtin(source.path, source.split)
    if address is not None:
        check_address(address)
        recipe = recipe.model_copy(update={"cluster": recipe.cluster.model_copy(update={"address": address})})
    check_models(loaded)
    check_engine_arguments(recipe.rollout)
    machine = Machine.detect(run_dir)
    plan = make_plan(recipe, machine=machine, run_dir=run_dir)
    if plan.refusals:
        return Checked(plan, None, ())
    if not (read_all or _is_small(recipe)):
        return Checked(plan, None, ("the data is large or on the Hub and was not read: --deep reads it",))
    data = read_data(recipe)
    plan = make_plan(recipe, machine=machine, rows=_count(recipe, data), run_dir=run_dir)
    columns = data.columns
    return Checked(plan, data, tuple(_notes(data, check_columns(parts, columns.num_with, columns.num_tasks))))


def _check_writable(run_dir: Path) -> None:
    existing = next(path for path in (run_dir.absolute(), *run_dir.absolute().parents) if path.exists())
    why = f"{existing} is a file" if not existing.is_dir() else f"no permission to write in {existing}"
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(f"the run folder {run_dir} cannot be written: {why}; set run.dir or --run-dir")


def _count(recipe: Recipe, data: RunData) -> RowCounts:
    split = data.split(recipe)
    return RowCounts(
        tasks=None if data.tasks is None else len(split.train),
        heldout=len(split.heldout),
        demonstrations={i: len(found) for i, found in split.rows.items()},
    )


def _is_small(recipe: Recipe) -> bool:
    """Whether all data is local and small enough to read quickly."""
    paths = [source.path for source in sources_of(recipe) if not source.path.startswith("builtin:")]
    return all(Path(path).exists() for path in paths) and sum(_bytes(Path(path)) for path in paths) <= SMALL_BYTES


def _bytes(path: Path) -> int:
    files = (file for file in path.rglob("*") if file.is_file()) if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files)


def _notes(data: RunData, of_columns: list[str]) -> Iterator[str]:
    yield from of_columns
    found = [data.tasks, data.heldout, *data.rows.values()]
    skipped = [row for rows in found if rows is not None for row in rows.skipped]
    if skipped:
        yield f"{len(skipped)} bad rows are skipped; the first: {skipped[0].where}: {skipped[0].reason}"
