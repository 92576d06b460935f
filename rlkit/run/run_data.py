"""A recipe's rows, read and checked as far as that goes without the model: no import here is heavy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from rlkit.data.stream import TaskStream, split_holdout
from rlkit.data.tasks import LoadedDemonstrations, LoadedTasks, Mixture, load_demonstrations, load_sources, load_tasks
from rlkit.errors import DataError
from rlkit.recipe.schema import Recipe, RowsKeys, SftKeys
from rlkit.records import Task
from rlkit.rollout.request import derive_seed


@dataclass(frozen=True)
class RunData:
    """What the recipe's data sections hold."""

    tasks: LoadedTasks | None
    """Training tasks with those that are held out of them; None where no stage needs any."""
    heldout: LoadedTasks | None
    """Tasks of `evaluation.sources`; None where it names none."""
    demonstrations: Mapping[int, LoadedDemonstrations]
    """By number of the SFT stage."""

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
        demonstrations = {i: _without(found, asked) for i, found in self.demonstrations.items()}
        return Split(train, heldout, demonstrations, len(rest) - len(train))


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
    demonstrations: Mapping[int, LoadedDemonstrations]
    """By number of the SFT stage, without those of held-out tasks."""
    num_shared: int
    """Training tasks left out because `evaluation.sources` holds them too."""


def read_data(recipe: Recipe) -> RunData:
    """Reads every source of the recipe and checks its rows, the split, and the order in which tasks are drawn.

    Raises:
        DataError: a source or a row cannot be used, or too little is left to train on.
    """
    seed, kinds = recipe.run.seed, recipe.reward.kinds
    tasks = load_tasks(recipe.data, seed=seed, kinds=kinds) if recipe.rl_stages else None
    demonstrations = {
        i: _demonstrations(recipe, i) for i, stage in enumerate(recipe.stages) if isinstance(stage, SftKeys)
    }
    sources = recipe.evaluation.sources
    heldout = load_sources(sources, recipe.data.on_bad_row, seed=seed, kinds=kinds) if sources else None
    data = RunData(tasks, heldout, demonstrations)
    _check_streams(recipe, data)
    return data


def _demonstrations(recipe: Recipe, index: int) -> LoadedDemonstrations:
    rows, key = sft_rows(recipe, index)
    return load_demonstrations(
        rows, seed=recipe.run.seed, kinds=recipe.reward.kinds, key=key, must_think=recipe.data.prompt.force_think
    )


def sft_rows(recipe: Recipe, index: int) -> tuple[RowsKeys, str]:
    """What SFT stage `index` learns from, and the key of that section: its own data, or the recipe's."""
    stage = recipe.stages[index]
    assert isinstance(stage, SftKeys)
    return (recipe.data, "data") if stage.data is None else (stage.data, f"stages.{index}.data")


def task_stream(recipe: Recipe, index: int, tasks: Sequence[Task], mixture: Mixture) -> TaskStream:
    """A fresh stream of the training tasks for RL stage `index`; each stage has an order of its own.

    Raises:
        DataError: the tasks do not fit data.domain_shares or data.stratify_by.
    """
    return _stream(tasks, mixture, recipe.data, "data", derive_seed(recipe.run.seed, "stream", index))


def demonstration_stream(recipe: Recipe, index: int, found: LoadedDemonstrations) -> TaskStream:
    """A fresh stream of SFT stage `index`'s demonstrations, in an order of its own; as task_stream."""
    return _stream(found.as_tasks(), found.mixture, *sft_rows(recipe, index), recipe.run.seed + index)


def _stream(tasks: Sequence[Task], mixture: Mixture, rows: RowsKeys, key: str, seed: int) -> TaskStream:
    shares, column = rows.domain_shares, rows.stratify_by
    return TaskStream(tasks, seed=seed, mixture=mixture, domain_shares=shares, stratify_by=column, key=key)


def _check_streams(recipe: Recipe, data: RunData) -> None:
    split = data.split(recipe)
    for index in recipe.rl_stages:
        assert data.tasks is not None
        task_stream(recipe, index, split.train, data.tasks.mixture)
    for index, found in split.demonstrations.items():
        demonstration_stream(recipe, index, found)


def _without(found: LoadedDemonstrations, asked: Collection[str]) -> LoadedDemonstrations:
    """The demonstrations of no held-out task: SFT must not see them either."""
    kept = tuple(d for d in found.demonstrations if d.wording not in asked)
    if not kept:
        raise DataError("every demonstration is of a held-out task: give evaluation.sources of their own")
    return replace(found, demonstrations=kept)
