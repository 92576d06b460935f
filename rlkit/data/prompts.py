"""Renders prompts and demonstrations to token ids. The only place that applies a chat template.

Task -> template -> user message -> chat template -> text, ending with the forced "<think>\\n" -> token ids
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from rlkit.data.rows import BadRow, BadRows, OnBadRow
from rlkit.data.tasks import NO_THOUGHT, THINK, Demonstration, LoadedDemonstrations, LoadedTasks
from rlkit.errors import DataError
from rlkit.recipe.schema import PromptKeys
from rlkit.records import Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class RenderedPrompt:
    """The prompt of a task as text and tokens."""

    text: str
    """The whole prompt, including the forced start of the reply."""
    token_ids: tuple[int, ...]
    """[P] tokens of `text`."""
    forced: str
    """The forced start of the reply, which the model does not sample: "<think>\\n" or ""."""


@dataclass(frozen=True)
class RenderedDemonstration:
    """A demonstration as tokens."""

    token_ids: tuple[int, ...]
    """[T] prompt, reply and end-of-text token."""
    completion_mask: tuple[int, ...]
    """[T] 1 for tokens in the loss (the reply and its end), 0 for the prompt and the forced start."""


class PromptRenderer:
    """Renders tasks for sampling and demonstrations for SFT, in the same way."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt: PromptKeys) -> None:
        """Raises DataError if the model's tokenizer has no chat template."""
        if not tokenizer.chat_template:
            raise DataError(
                "the model's tokenizer has no chat template: use a model that has one, or put a "
                "chat_template.jinja file into its folder"
            )
        self._tokenizer: Any = tokenizer
        self._prompt = prompt

    def render(self, task: Task) -> RenderedPrompt:
        """Renders the task's prompt.

        Raises:
            DataError: the chat template fails.
        """
        return self._render(task)

    def render_demonstration(self, demo: Demonstration) -> RenderedDemonstration:
        """Renders the demonstration's prompt and reply, and tokenises them separately, as in sampling.

        Raises:
            DataError: thinking is forced and the reply does not begin with <think>, or the tokenizer has no
                end-of-text token.
        """
        prompt = self._render(demo)
        reply = demo.response
        if prompt.forced:
            if not reply.startswith(THINK):
                raise DataError(NO_THOUGHT)
            # The reply may lack the newline at the end of the forced start.
            start = prompt.forced if reply.startswith(prompt.forced) else THINK
            reply = reply.removeprefix(start)
        end = self._tokenizer.eos_token_id
        if end is None:
            raise DataError("the model's tokenizer has no end-of-text token (eos_token)")
        completion = (*self._ids(reply), int(end))
        mask = (0,) * len(prompt.token_ids) + (1,) * len(completion)
        return RenderedDemonstration(prompt.token_ids + completion, mask)

    def _render(self, item: Task | Demonstration) -> RenderedPrompt:
        turns = [dict(message) for message in item.history]
        # A row's own system message replaces the recipe's.
        if self._prompt.system is not None and (not turns or turns[0]["role"] != "system"):
            turns.insert(0, {"role": "system", "content": self._prompt.system})
        content = self._prompt.template_for(item.kind).format(prompt=item.prompt)
        turns.append({"role": "user", "content": content})
        try:
            text: str = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except Exception as e:  # a template is a program of the model and may raise anything
            raise DataError(f"the model's chat template fails ({type(e).__name__}: {e})") from e
        opened = text.rpartition(THINK)[2]
        # Some templates open the think tag themselves; do not add a second one.
        if THINK in text and not opened.strip():
            forced = THINK + opened
        else:
            forced = f"{THINK}\n" if self._prompt.force_think else ""
            text += forced
        return RenderedPrompt(text, self._ids(text), forced)

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])


def check_prompt_lengths(
    loaded: LoadedTasks, renderer: PromptRenderer, max_tokens: int, on_bad_row: OnBadRow
) -> LoadedTasks:
    """Keeps the tasks whose prompt renders to at most `max_tokens` tokens; the others are bad rows.

    Raises:
        DataError: on_bad_row is "stop" and there is a bad row, or no task is left.
    """
    bad = BadRows(on_bad_row)

    def num_tokens(task: Task) -> int:
        return len(renderer.render(task).token_ids)

    longest = Longest(max_tokens, "the prompt has", "raise data.max_prompt_tokens or lower rollout.max_tokens")
    kept = _fitting(loaded.tasks, loaded.where, num_tokens, longest, bad)
    return replace(loaded, tasks=kept, skipped=(*loaded.skipped, *bad.listed))


def check_demonstrations(
    loaded: LoadedDemonstrations, renderer: PromptRenderer, max_tokens: int, on_bad_row: OnBadRow, key: str = "data"
) -> LoadedDemonstrations:
    """Keeps the demonstrations of at most `max_tokens` tokens, prompt and reply together; see check_prompt_lengths.

    Args:
        key: key of their section in the recipe.
    """
    bad = BadRows(on_bad_row, f"{key}.on_bad_row")

    def num_tokens(demo: Demonstration) -> int:
        return len(renderer.render_demonstration(demo).token_ids)

    longest = Longest(max_tokens, "prompt and reply have", "raise the stage's max_length if the model allows it")
    kept = _fitting(loaded.demonstrations, loaded.where, num_tokens, longest, bad)
    return replace(loaded, demonstrations=kept, skipped=(*loaded.skipped, *bad.listed))


@dataclass(frozen=True)
class Longest:
    """A maximum length, and the message for items that are longer."""

    tokens: int
    what: str
    """Start of the message, such as "the prompt has"."""
    remedy: str
    """What to do if most items are longer."""


Item = TypeVar("Item", Task, Demonstration)


def _fitting(
    items: Sequence[Item], where: Mapping[str, str], num_tokens: Callable[[Item], int], longest: Longest, bad: BadRows
) -> tuple[Item, ...]:
    def check(item: Item) -> Item | BadRow:
        try:
            tokens = num_tokens(item)
        except DataError as e:
            return BadRow(where[item.id], str(e))
        if tokens <= longest.tokens:
            return item
        too_long = f"{longest.what} {tokens} tokens, more than {longest.tokens}"
        return BadRow(where[item.id], too_long, longest.remedy)

    return tuple(bad.sift(map(check, items), "the data"))
