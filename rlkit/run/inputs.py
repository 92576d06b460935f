"""What a run starts from: its data, checked against the model and its tokenizer before any actor starts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlkit.data.prompts import PromptRenderer, check_prompt_lengths
from rlkit.data.rows import BadRow
from rlkit.data.tasks import LoadedTasks
from rlkit.disk import written_beside
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
"""Texts the tokenizer of a model made from nothing learns its merges from."""


@dataclass(frozen=True)
class Inputs:
    """Everything read and checked."""

    model_path: str
    """Folder or Hub name of the run's start weights."""
    tokenizer: Any
    renderer: PromptRenderer
    loaded: LoadedTasks | None
    """Training tasks; None where no stage needs any."""
    train: Sequence[Task]
    """Training tasks without the held-out ones, their prompts' whole wording compared."""
    heldout: Sequence[Task]
    rows: Mapping[int, StageRows]
    """What stages learn from in place of tasks, by the stage's number."""
    skipped: Sequence[BadRow]
    """Rows that were refused and skipped, of all sources."""
    num_shared: int = 0
    """Training tasks left out because `evaluation.sources` holds them too."""

    @property
    def told(self) -> str:
        """What was read, in a line."""
        what = [f"{len(self.train)} training tasks", f"{len(self.heldout)} held out"] if self.train else []
        return ", ".join([*what, *(found.described for found in self.rows.values())])

    def tell(self, run_dir: Path, say: Callable[[str], None], note: Callable[[str], None]) -> None:
        """Says what the run has to work with, and notes every row that was skipped."""
        say(f"run {run_dir}: {self.told}")
        if not self.heldout:
            what = "evaluation.sources" if self.loaded is None else "evaluation.sources or evaluation.holdout"
            say(f"no held-out tasks: nothing is evaluated; give {what}")
        if self.num_shared:
            say(f"{self.num_shared} training tasks are held out by evaluation.sources too, and are not trained on")
        for row in self.skipped:
            note(f"skipped {row.where}: {row.reason}")
        if self.skipped:
            first = self.skipped[0]
            say(f"skipped {len(self.skipped)} bad rows, listed in run.log; the first: {first.where}: {first.reason}")

    def of_stage(self, index: int) -> StageData:
        """What stage `index` has to learn from and to be evaluated on."""
        mixture = None if self.loaded is None else self.loaded.mixture
        return StageData(self.renderer, self.train, mixture, self.heldout, self.rows.get(index))


def read_inputs(recipe: Recipe, data: RunData, run_dir: Path, say: Callable[[str], None]) -> Inputs:
    """Opens the model's tokenizer, makes the model of `model.init`, and checks how long prompts and replies become.

    Raises:
        DataError: a row that the model cannot take.
        RecipeError: a model that cannot be used.
    """
    model_path = recipe.model.path or _make_model(recipe, data, run_dir, say)
    if Path(model_path).is_dir():
        model_path = str(Path(model_path).resolve())
    tokenizer = _open(load_tokenizer, model_path)
    renderer = PromptRenderer(tokenizer, recipe.data.prompt)
    context = int(recipe.rollout.engine.get("max_model_len") or _open(context_length, model_path))
    fitting = _that_fit(recipe, data, renderer, context)
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


def _that_fit(recipe: Recipe, data: RunData, renderer: PromptRenderer, context: int) -> RunData:
    """The data without the rows that are too long for the model, or that it cannot be shown."""
    stages: list[Stage[Any]] = stages_of(recipe)
    rows = {i: stages[i].fit_rows(found, renderer, context) for i, found in data.rows.items()}
    room = _room(recipe, context)

    def fit(found: LoadedTasks | None) -> LoadedTasks | None:
        return None if found is None else check_prompt_lengths(found, renderer, room, recipe.data.on_bad_row)

    return RunData(fit(data.tasks), fit(data.heldout), rows)


def _room(recipe: Recipe, context: int) -> int:
    """Most tokens of a prompt."""
    room = recipe.data.max_prompt_tokens or context - recipe.rollout.max_tokens
    if room < 1:
        raise RecipeError(
            f"rollout.max_tokens={recipe.rollout.max_tokens} leaves no room for a prompt in the model's context of "
            f"{context} tokens: lower it"
        )
    return room


def _make_model(recipe: Recipe, data: RunData, run_dir: Path, say: Callable[[str], None]) -> str:
    """Makes the model of `model.init` in the run's folder; a resumed run finds it there."""
    assert recipe.model.init is not None
    out = run_dir / START_MODEL
    if not out.exists():
        with written_beside(out) as folder:
            init_model(recipe.model.init, _texts(recipe, data), seed=recipe.run.seed, out=folder)
        say(f"made a {recipe.model.init.architecture} model from nothing in {out}")
    return str(out)


def _texts(recipe: Recipe, data: RunData) -> Iterator[str]:
    """Texts like those the model will read and write, chat markers' words included."""
    prompt = recipe.data.prompt

    def shown(text: str, kind: str, reply: str) -> str:
        return f"user\n{prompt.template_for(kind).format(prompt=text)}\nassistant\n{reply}"

    texts = [shown(*text) for found in data.rows.values() for text in found.texts()]
    if not texts and data.tasks is not None:
        tasks = data.tasks.tasks
        texts = [shown(t.prompt, t.kind, t.reference if isinstance(t.reference, str) else "") for t in tasks]
    # Drawn, not every n-th: rows often alternate between kinds.
    yield from random.Random(recipe.run.seed).sample(texts, min(TOKENIZER_TEXTS, len(texts)))


def _open(read: Callable[[str], Any], model_path: str) -> Any:
    try:
        return read(model_path)
    except (OSError, ValueError, KeyError) as e:
        first = next((line.strip() for line in str(e).splitlines() if line.strip()), type(e).__name__)
        raise RecipeError(
            f"model.path = {model_path}: cannot be read as a Hugging Face model ({first}): give a folder with config, "
            "weights and tokenizer, or a Hub name that this machine can reach"
        ) from e
