"""Prepares a run's inputs: opens the tokenizer, creates the model of `model.init`, and checks prompt lengths."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlkit.data.prompts import PromptRenderer, check_prompt_lengths
from rlkit.data.rows import BadRow
from rlkit.data.tasks import LoadedTasks
from rlkit.disk import replaced_atomically
from rlkit.errors import RecipeError
from rlkit.keep.first_step import START_MODEL
from rlkit.models.init import init_model
from rlkit.models.pretrained import context_length
from rlkit.models.tokenizer import load_tokenizer
from rlkit.recipe.schema import Recipe
from rlkit.records import Task
from rlkit.run.run_data import RunData
from rlkit.stages.registry import stages_of
from rlkit.stages.stage import Stage, StageData, StageRows

TOKENIZER_TEXTS = 4000
"""Number of texts that train the tokenizer of a new model."""


@dataclass(frozen=True)
class Inputs:
    """The checked inputs of a run."""

    model_path: str
    """Folder or Hub name of the run's initial model."""
    tokenizer: Any
    renderer: PromptRenderer
    loaded: LoadedTasks | None
    """Training tasks, including the held-out ones; None if no stage needs tasks."""
    train: Sequence[Task]
    """Training tasks without the held-out ones; tasks with the same whole prompt count as equal."""
    heldout: Sequence[Task]
    rows: Mapping[int, StageRows]
    """By stage index: rows of a stage that trains on rows other than tasks."""
    skipped: Sequence[BadRow]
    """Bad rows of all sources that were skipped."""
    num_shared: int = 0
    """Number of training tasks that were removed because they are in `evaluation.sources` too."""

    @property
    def description(self) -> str:
        """The sizes of the data, in one line."""
        what = [f"{len(self.train)} training tasks", f"{len(self.heldout)} held out"] if self.train else []
        return ", ".join([*what, *(found.described for found in self.rows.values())])

    def describe(self, run_dir: Path, report: Callable[[str], None], log: Callable[[str], None]) -> None:
        """Reports the sizes of the data and logs every skipped row."""
        report(f"run {run_dir}: {self.description}")
        if not self.heldout:
            what = "evaluation.sources" if self.loaded is None else "evaluation.sources or evaluation.holdout"
            report(f"no held-out tasks: nothing is evaluated; to evaluate, give {what}")
        if self.num_shared:
            report(f"{self.num_shared} training tasks are also in evaluation.sources and are not trained on")
        for row in self.skipped:
            log(f"skipped {row.where}: {row.reason}")
        if self.skipped:
            first = self.skipped[0]
            count = len(self.skipped)
            report(f"skipped {count} bad rows, listed in run.log; the first: {first.where}: {first.reason}")

    def of_stage(self, index: int) -> StageData:
        """Training and evaluation data of the stage `index`."""
        mixture = None if self.loaded is None else self.loaded.mixture
        return StageData(self.renderer, self.train, mixture, self.heldout, self.rows.get(index))


def read_inputs(recipe: Recipe, data: RunData, run_dir: Path, report: Callable[[str], None]) -> Inputs:
    """Opens the model's tokenizer, creates the model of `model.init`, and checks the lengths of prompts and replies.

    Raises:
        DataError: A row does not fit the model.
        RecipeError: The model cannot be read.
    """
    model_path = recipe.model.path or _make_model(recipe, data, run_dir, report)
    if Path(model_path).is_dir():
        model_path = str(Path(model_path).resolve())
    tokenizer = _open(load_tokenizer, model_path)
    renderer = PromptRenderer(tokenizer, recipe.data.prompt)
    context = int(recipe.rollout.engine.get("max_model_len") or _open(context_length, model_path))
    fitting = _fitting_rows(recipe, data, renderer, context)
    split = fitting.split(recipe)
    loaded = [*fitting.rows.values(), fitting.tasks, fitting.heldout]
    return Inputs(
        model_path=model_path,
        tokenizer=tokenizer,
        renderer=renderer,
        loaded=fitting.tasks,
        train=split.train,
        heldout=split.heldout,
        rows=split.rows,
        skipped=[row for found in loaded if found is not None for row in found.skipped],
        num_shared=split.num_shared,
    )


def _fitting_rows(recipe: Recipe, data: RunData, renderer: PromptRenderer, context: int) -> RunData:
    """The data without rows that are too long for the model or that its chat template cannot render."""
    stages: list[Stage[Any]] = stages_of(recipe)
    rows = {i: stages[i].fit_rows(found, renderer, context) for i, found in data.rows.items()}
    max_tokens = _max_prompt_tokens(recipe, context)

    def fit(found: LoadedTasks | None) -> LoadedTasks | None:
        return None if found is None else check_prompt_lengths(found, renderer, max_tokens, recipe.data.on_bad_row)

    return RunData(fit(data.tasks), fit(data.heldout), rows)


def _max_prompt_tokens(recipe: Recipe, context: int) -> int:
    """Maximum length of a prompt, in tokens."""
    room = recipe.data.max_prompt_tokens or context - recipe.rollout.max_tokens
    if room < 1:
        raise RecipeError(
            f"rollout.max_tokens={recipe.rollout.max_tokens} leaves no room for a prompt in the model's context of "
            f"{context} tokens: lower it"
        )
    return room


def _make_model(recipe: Recipe, data: RunData, run_dir: Path, report: Callable[[str], None]) -> str:
    """Creates the model of `model.init` in the run's folder, unless an earlier start of the run did so."""
    assert recipe.model.init is not None
    out = run_dir / START_MODEL
    if not out.exists():
        with replaced_atomically(out) as folder:
            init_model(recipe.model.init, _texts(recipe, data), seed=recipe.run.seed, out=folder)
        report(f"created a {recipe.model.init.architecture} model with random weights in {out}")
    return str(out)


def _texts(recipe: Recipe, data: RunData) -> Iterator[str]:
    """Texts like those that the model will read and write, including the words of chat markers."""
    prompt = recipe.data.prompt

    def shown(text: str, kind: str, reply: str) -> str:
        return f"user\n{prompt.template_for(kind).format(prompt=text)}\nassistant\n{reply}"

    texts = [shown(*text) for found in data.rows.values() for text in found.texts()]
    if not texts and data.tasks is not None:
        tasks = data.tasks.tasks
        texts = [shown(t.prompt, t.kind, t.reference if isinstance(t.reference, str) else "") for t in tasks]
    # Draw at random instead of every n-th text: rows often alternate between kinds of task.
    yield from random.Random(recipe.run.seed).sample(texts, min(TOKENIZER_TEXTS, len(texts)))


def _open(read: Callable[[str], Any], model_path: str) -> Any:
    """Calls `read(model_path)`; raises RecipeError with the key if the model cannot be read."""
    try:
        return read(model_path)
    except (OSError, ValueError, KeyError) as e:
        first = next((line.strip() for line in str(e).splitlines() if line.strip()), type(e).__name__)
        raise RecipeError(
            f"model.path = {model_path}: cannot be read as a Hugging Face model ({first}): give a folder with config, "
            "weights and tokenizer, or a Hub name that this machine can reach"
        ) from e
