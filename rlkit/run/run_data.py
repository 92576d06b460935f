"""Reads and checks the rows of a recipe, without the model and without heavy imports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlkit.data.stream import split_holdout
from rlkit.data.tasks import LoadedTasks, load_sources, load_tasks
from rlkit.errors import DataError
from rlkit.recipe.schema import Recipe
from rlkit.records import Task
from rlkit.stages.registry import stages_of
from rlkit.stages.stage import Stage, StageRows


@dataclass(frozen=True)
class RunData:
    """All rows that the recipe names."""

    tasks: LoadedTasks | None
    """Training tasks, including those that will be held out; None if no stage needs tasks."""
    heldout: LoadedTasks | None
    """Tasks of `evaluation.sources`; None if it is not given."""
    rows: Mapping[int, StageRows]
    """By stage index: the rows of a stage that trains on rows other than tasks."""

    @property
    def columns(self) -> TaskColumns:
        """Metadata columns of the tasks that the reward scores."""
        tasks = [task for found in (self.tasks, self.heldout) if found is not None for task in found.tasks]
        counts = Counter(name for task in tasks for name, value in task.metadata.items() if value is not None)
        return TaskColumns(len(tasks), dict(counts))

    def split(self, recipe: Recipe) -> Split:
        """Splits the data into training tasks and held-out tasks.

        Raises:
            DataError: No training task is left.
        """
        keys, seed = recipe.evaluation, recipe.run.seed
        all_tasks: Sequence[Task] = () if self.tasks is None else self.tasks.tasks
        rest, heldout = all_tasks, () if self.heldout is None else self.heldout.tasks
        if keys.sources is None and all_tasks:
            rest, heldout = split_holdout(all_tasks, keys.num_held_out(len(all_tasks)), seed)
        if keys.max_rows is not None and keys.max_rows < len(heldout):
            _, heldout = split_holdout(heldout, keys.max_rows, seed)
        # Compare prompts, not ids: the same problem may be in several sources.
        heldout_prompts = {task.wording for task in heldout}
        train = [task for task in rest if task.wording not in heldout_prompts]
        if rest and not train:
            raise DataError("every training task is also in evaluation.sources: give evaluation.sources other tasks")
        rows = {i: found.without(heldout_prompts) for i, found in self.rows.items()}
        return Split(train, heldout, rows, len(rest) - len(train))


@dataclass(frozen=True)
class TaskColumns:
    """The metadata columns of the tasks, for checking reward parts that read a column by name."""

    num_tasks: int
    """Number of tasks, including held-out ones."""
    num_with: Mapping[str, int]
    """By column of `Task.metadata`: number of tasks with a value. Columns without any value are absent."""


@dataclass(frozen=True)
class Split:
    """Training tasks and held-out tasks."""

    train: Sequence[Task]
    """Training tasks without the held-out ones."""
    heldout: Sequence[Task]
    """Held-out tasks, for the evaluations."""
    rows: Mapping[int, StageRows]
    """By stage index: rows of a stage that trains on rows other than tasks, without rows of held-out tasks."""
    num_shared: int
    """Number of training tasks that were removed because they are in `evaluation.sources` too."""


def read_data(recipe: Recipe) -> RunData:
    """Reads all sources of the recipe. Checks their rows, the split and the order of the tasks.

    Raises:
        DataError: A source or row is invalid, or too few tasks are left to train on.
    """
    seed, kinds = recipe.run.seed, recipe.reward.kinds
    stages: list[Stage[Any]] = stages_of(recipe)
    tasks = load_tasks(recipe.data, seed=seed, kinds=kinds) if any(s.needs_tasks for s in stages) else None
    rows = {stage.index: found for stage in stages if (found := stage.read_rows()) is not None}
    sources = recipe.evaluation.sources
    heldout = load_sources(sources, recipe.data.on_bad_row, seed=seed, kinds=kinds) if sources else None
    data = RunData(tasks, heldout, rows)
    split = data.split(recipe)
    for stage in stages:
        stage.check_order(split.train, None if tasks is None else tasks.mixture, split.rows.get(stage.index))
    return data
