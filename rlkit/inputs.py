"""What a run reads before any actor starts: model, tokenizer, tasks, held-out tasks and demonstrations, all checked."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlkit.data.prompts import PromptRenderer, RenderedDemonstration, check_demonstrations, check_prompt_lengths
from rlkit.data.rows import BadRow
from rlkit.data.stream import TaskStream, split_holdout
from rlkit.data.tasks import LoadedDemonstrations, LoadedTasks, Mixture, load_demonstrations, load_sources, load_tasks
from rlkit.disk import written_beside
from rlkit.errors import DataError, RecipeError
from rlkit.first_step import START_MODEL
from rlkit.learner.model import context_length, init_model, load_tokenizer
from rlkit.recipe.schema import Recipe, Rows, SftStage
from rlkit.records import Task
from rlkit.rollout.request import derive_seed

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
    demonstrations: dict[int, LoadedDemonstrations]
    """By stage number."""
    skipped: Sequence[BadRow]
    """Rows that were refused and skipped, of all sources."""
    num_shared: int = 0
    """Training tasks left out because `evaluation.sources` holds them too."""

    @property
    def told(self) -> str:
        """What was read, in a line."""
        what = [f"{len(self.train)} training tasks", f"{len(self.heldout)} held out"] if self.train else []
        return ", ".join([*what, *(f"{len(d.demonstrations)} demonstrations" for d in self.demonstrations.values())])

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

    def stream(self, recipe: Recipe, index: int) -> TaskStream:
        """A fresh stream of the training tasks for stage `index`; each stage has an order of its own."""
        assert self.loaded is not None
        seed = derive_seed(recipe.run.seed, "stream", index)
        return _stream(self.train, self.loaded.mixture, recipe.data, seed)

    def demonstrations_in_order(self, recipe: Recipe, index: int) -> list[RenderedDemonstration]:
        """What an SFT stage learns from, rendered, in an order of its own, mixed as its data asks."""
        stage = recipe.stages[index]
        assert isinstance(stage, SftStage)
        found = self.demonstrations[index]
        rendered = {d.id: self.renderer.render_demonstration(d) for d in found.demonstrations}
        stream = _stream(found.as_tasks(), found.mixture, stage.data or recipe.data, recipe.run.seed + index)
        if stage.steps is not None:
            count = stage.steps * stage.batch_size
        else:
            count = math.ceil(len(rendered) * (stage.epochs or 1.0))
        return [rendered[task.id] for task in stream.next(count)]


def _stream(tasks: Sequence[Task], mixture: Mixture, rows: Rows, seed: int) -> TaskStream:
    return TaskStream(tasks, seed=seed, mixture=mixture, domain_shares=rows.domain_shares, stratify_by=rows.stratify_by)


def read_inputs(recipe: Recipe, run_dir: Path, say: Callable[[str], None]) -> Inputs:
    """Reads and checks it all.

    Raises:
        DataError: a source or a row.
        RecipeError: a model that cannot be used.
    """
    seed, kinds = recipe.run.seed, recipe.reward.kinds
    loaded = load_tasks(recipe.data, seed=seed, kinds=kinds) if recipe.rl_stages else None
    demonstrations = {
        i: load_demonstrations(stage.data or recipe.data, seed=seed, kinds=kinds)
        for i, stage in enumerate(recipe.stages)
        if isinstance(stage, SftStage)
    }
    model_path = recipe.model.path or _make_model(recipe, loaded, demonstrations, run_dir, say)
    if Path(model_path).is_dir():
        model_path = str(Path(model_path).resolve())
    tokenizer = _open(load_tokenizer, model_path)
    renderer = PromptRenderer(tokenizer, recipe.data.prompt)
    context = int(recipe.rollout.engine.get("max_model_len") or _open(context_length, model_path))
    demonstrations = {
        i: _check_demonstrations(recipe, i, found, renderer, context) for i, found in demonstrations.items()
    }
    skipped = [row for found in demonstrations.values() for row in found.skipped]
    room = _room(recipe, context)
    if loaded is not None:
        loaded = check_prompt_lengths(loaded, renderer, room, recipe.data.on_bad_row)
        skipped += loaded.skipped
    both, heldout, bad = _split(recipe, loaded, renderer, room)
    skipped += bad
    prompts = {task.prompt for task in heldout}
    train = [task for task in both if task.prompt not in prompts]
    if both and not train:
        raise DataError("every training task is held out by evaluation.sources too: give it tasks of its own")
    demonstrations = {i: _without(found, prompts) for i, found in demonstrations.items()}
    shared = len(both) - len(train)
    return Inputs(model_path, tokenizer, renderer, loaded, train, heldout, demonstrations, skipped, shared)


def _room(recipe: Recipe, context: int) -> int:
    """Most tokens of a prompt."""
    room = recipe.data.max_prompt_tokens or context - recipe.rollout.max_tokens
    if room < 1:
        raise RecipeError(
            f"rollout.max_tokens={recipe.rollout.max_tokens} leaves no room for a prompt in the model's context of "
            f"{context} tokens: lower it"
        )
    return room


def _split(
    recipe: Recipe, loaded: LoadedTasks | None, renderer: PromptRenderer, room: int
) -> tuple[Sequence[Task], Sequence[Task], Sequence[BadRow]]:
    """(training tasks, held-out tasks, skipped rows of the held-out sources)."""
    keys, seed = recipe.evaluation, recipe.run.seed
    bad: Sequence[BadRow] = ()
    train: Sequence[Task] = () if loaded is None else loaded.tasks
    heldout: Sequence[Task] = ()
    if keys.sources:
        found = load_sources(keys.sources, recipe.data.on_bad_row, seed=seed, kinds=recipe.reward.kinds)
        found = check_prompt_lengths(found, renderer, room, recipe.data.on_bad_row)
        heldout, bad = found.tasks, found.skipped
    elif keys.sources is None and keys.holdout and train:  # an empty list: nothing is evaluated
        train, heldout = split_holdout(train, keys.holdout, seed)
    if keys.max_rows is not None and keys.max_rows < len(heldout):
        _, heldout = split_holdout(heldout, keys.max_rows, seed)
    return train, heldout, bad


def _without(found: LoadedDemonstrations, prompts: Collection[str]) -> LoadedDemonstrations:
    """The demonstrations of no held-out task: SFT must not see them either."""
    kept = tuple(d for d in found.demonstrations if d.prompt not in prompts)
    if not kept:
        raise DataError("every demonstration is of a held-out task: give evaluation.sources of their own")
    return replace(found, demonstrations=kept)


def _check_demonstrations(
    recipe: Recipe, index: int, found: LoadedDemonstrations, renderer: PromptRenderer, context: int
) -> LoadedDemonstrations:
    stage = recipe.stages[index]
    assert isinstance(stage, SftStage)
    rows = stage.data or recipe.data
    return check_demonstrations(found, renderer, stage.max_length or context, rows.on_bad_row)


def _make_model(
    recipe: Recipe,
    loaded: LoadedTasks | None,
    demonstrations: dict[int, LoadedDemonstrations],
    run_dir: Path,
    say: Callable[[str], None],
) -> str:
    """Makes the model of `model.init` in the run's folder; a resumed run finds it there."""
    assert recipe.model.init is not None
    out = run_dir / START_MODEL
    if not out.exists():
        with written_beside(out) as folder:
            init_model(recipe.model.init, _texts(recipe, loaded, demonstrations), seed=recipe.run.seed, out=folder)
        say(f"made a {recipe.model.init.architecture} model from nothing in {out}")
    return str(out)


def _texts(
    recipe: Recipe, loaded: LoadedTasks | None, demonstrations: dict[int, LoadedDemonstrations]
) -> Iterator[str]:
    """Texts like those the model will read and write, chat markers' words included."""
    prompt = recipe.data.prompt

    def shown(text: str, kind: str, reply: str) -> str:
        return f"user\n{prompt.template_for(kind).format(prompt=text)}\nassistant\n{reply}"

    texts = [shown(d.prompt, d.kind, d.response) for found in demonstrations.values() for d in found.demonstrations]
    if not texts and loaded is not None:
        texts = [shown(t.prompt, t.kind, t.reference if isinstance(t.reference, str) else "") for t in loaded.tasks]
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
