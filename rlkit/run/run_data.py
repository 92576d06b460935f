"""A recipe's rows, read and checked as far as that goes without the model: no import here is heavy."""

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
    """What the recipe's data sections hold."""

    tasks: LoadedTasks | None
    """Training tasks with those that are held out of them; None where no stage needs any."""
    heldout: LoadedTasks | None
    """Tasks of `evaluation.sources`; None where it names none."""
    rows: Mapping[int, StageRows]
    """What stages learn from in place of tasks, by the stage's number."""

    @property
    def columns(self) -> TaskColumns:
        """Columns of the tasks that the reward scores."""
        tasks = [task for found in (self.tasks, self.heldout) if found is not None for task in found.tasks]
        counts = Counter(name for task in tasks for name, value in task.metadata.items() if value is not None)
        return TaskColumns(len(tasks), dict(counts))

    def split(self, recipe: Recipe) -> Split:
        """What is learned from and what is held out.

        Raises:
            DataError: nothing would be left to train on.
        """
        keys, seed = recipe.evaluation, recipe.run.seed
        both: Sequence[Task] = () if self.tasks is None else self.tasks.tasks
        rest, heldout = both, () if self.heldout is None else self.heldout.tasks
        if keys.sources is None and both:
            rest, heldout = split_holdout(both, keys.num_held_out(len(both)), seed)
        if keys.max_rows is not None and keys.max_rows < len(heldout):
            _, heldout = split_holdout(heldout, keys.max_rows, seed)
        asked = {task.wording for task in heldout}
        train = [task for task in rest if task.wording not in asked]
        if rest and not train:
            raise DataError("every training task is held out by evaluation.sources too: give it tasks of its own")
        rows = {i: found.without(asked) for i, found in self.rows.items()}
        return Split(train, heldout, rows, len(rest) - len(train))


@dataclass(frozen=True)
class TaskColumns:
    """Which columns the tasks have beside prompt and reference, for what reads them by name."""

    num_tasks: int
    """How many tasks there are, held-out ones included."""
    num_with: Mapping[str, int]
    """By column of `Task.metadata`, how many tasks have a value there; a column that no task has is not in it."""


@dataclass(frozen=True)
class Split:
    """What is learned from, and what is held out of it."""

    train: Sequence[Task]
    """Training tasks without the held-out ones."""
    heldout: Sequence[Task]
    """For the evaluations."""
    rows: Mapping[int, StageRows]
    """What stages learn from in place of tasks, by the stage's number, without rows of held-out tasks."""
    num_shared: int
    """Training tasks left out because `evaluation.sources` holds them too."""


def read_data(recipe: Recipe) -> RunData:
    """Reads every source of the recipe and checks its rows, the split, and the order in which they are drawn.

    Raises:
        DataError: a source or a row cannot be used, or too little is left to train on.
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
