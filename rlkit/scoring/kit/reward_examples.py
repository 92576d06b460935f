"""The tasks for `rlkit reward test`: built-in ones of the recipe's kinds, and the recipe's own first tasks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rlkit.data.tasks import load_sources
from rlkit.errors import UsageError
from rlkit.recipe.schema import Recipe, SourceKeys
from rlkit.records import Task
from rlkit.scoring.kit.cheats import EXAMPLES, FURTHER_EXAMPLES, Example
from rlkit.scoring.kit.plugin_trial import Examples

_ROWS_READ = 200
_TASKS_OF_A_KIND = 2
_TO_A_TASK = ("choices", "tolerance", "abs_tolerance")
"""Columns that go with one task's reference, so that other examples must not copy them."""
_CODE_MAPPINGS = ("humaneval", "mbpp")


def default_examples() -> Examples:
    """The examples without a recipe: math and code."""
    return Examples(EXAMPLES, EXAMPLES, certain=False)


def first_tasks(recipe: Recipe) -> Sequence[Task]:
    """The recipe's first tasks; none if its data is not on this machine.

    Raises:
        DataError: the data is here but cannot be used.
    """
    sources = recipe.data.all_sources() if recipe.rl_stages else []
    if not all(source.path.startswith("builtin:") or Path(source.path).exists() for source in sources):
        return ()
    first = [source if source.filter else _first_rows(source) for source in sources]
    if not first:
        return ()
    return load_sources(first, recipe.data.on_bad_row, seed=recipe.run.seed, kinds=recipe.reward.kinds).tasks


def _first_rows(source: SourceKeys) -> SourceKeys:
    return source.model_copy(update={"max_rows": min(_ROWS_READ, source.max_rows or _ROWS_READ)})


def columns_of(tasks: Sequence[Task]) -> Mapping[str, int]:
    """For each column of the tasks' metadata, the number of tasks that have a value in it."""
    return Counter(name for task in tasks for name, value in task.metadata.items() if value is not None)


def recipe_examples(recipe: Recipe, tasks: Sequence[Task]) -> Examples:
    """Examples of the recipe's kinds: built-in ones, given the columns of the recipe's tasks, and the recipe's tasks.

    Args:
        tasks: the recipe's first tasks; if there are none, `data.kind` and `data.mapping` determine the kinds.

    Raises:
        UsageError: the recipe has a kind for which there is neither a built-in example nor a task.
    """
    checked: list[Example] = []
    cheated: list[Example] = []
    for kind in dict.fromkeys(task.kind for task in tasks) or _named_kinds(recipe):
        its_tasks = [task for task in tasks if task.kind == kind]
        metadata = its_tasks[0].metadata if its_tasks else {}
        columns = {name: value for name, value in metadata.items() if name not in _TO_A_TASK}
        known = [e for e in (*EXAMPLES, *FURTHER_EXAMPLES) if e.kind == kind]
        known = [replace(e, metadata={**columns, **e.metadata}) for e in known]
        # A code task has tests but no program that solves it, so there is no right reply.
        own = [] if kind == "code" else [_example(task, its_tasks) for task in its_tasks[:_TASKS_OF_A_KIND]]
        if not known and not own:
            raise UsageError(
                f"there is no task of kind {kind!r} to test the plugin on: set data.path to a file that has some"
            )
        checked += [*known, *own]
        cheated += known or own
    return Examples(tuple(checked), tuple(cheated), certain=True)


def _named_kinds(recipe: Recipe) -> Sequence[str]:
    sources = recipe.data.all_sources()
    named = [s.kind or ("code" if s.mapping in _CODE_MAPPINGS else "math" if s.mapping else None) for s in sources]
    return [kind for kind in dict.fromkeys(named) if kind is not None] or ["math", "code"]


def _example(task: Task, others: Sequence[Task]) -> Example:
    """An example whose right answer is the task's reference, and whose wrong one is another choice or task's answer."""
    right = _text(task.reference)
    choices = task.metadata.get("choices")
    answers = [*(choices if isinstance(choices, Mapping) else [_text(other.reference) for other in others]), "0", "1"]
    wrong = next(answer for answer in answers if answer != right)
    thought = f"The question is: {task.prompt}\nI work it out and find {right}."
    return Example(task.kind, task.prompt, task.reference, thought, right, wrong, task.metadata)


def _text(reference: object) -> str:
    if isinstance(reference, list | tuple) and reference and isinstance(reference[0], str):
        return reference[0]  # the first of several right answers
    return reference if isinstance(reference, str) else json.dumps(reference, default=str)
