"""What the model is shown: the project's only chat-template call.

Task -> template -> user turn -> chat template -> text, ending in the forced "<think>\\n" -> token ids
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
    """A prompt as the model sees it."""

    text: str
    """All of it, the forced start of the reply included."""
    token_ids: tuple[int, ...]
    """[P] tokens of `text`."""
    forced: str
    """What the reply's text begins with although the model did not draw it: "<think>\\n", or "": nothing."""


@dataclass(frozen=True)
class RenderedDemonstration:
    """A demonstration as the learner sees it."""

    token_ids: tuple[int, ...]
    """[T] prompt, reply and end-of-text token."""
    completion_mask: tuple[int, ...]
    """[T] 1 on what is learned (the reply and its end), 0 on the prompt and the forced start."""


class PromptRenderer:
    """Renders tasks for sampling and demonstrations for SFT, to the same tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt: PromptKeys) -> None:
        """Takes the model's tokenizer.

        Raises:
            DataError: it has no chat template.
        """
        if not tokenizer.chat_template:
            raise DataError(
                "the model's tokenizer has no chat template: take a model that has one, or put a "
                "chat_template.jinja file into its folder"
            )
        self._tokenizer: Any = tokenizer
        self._prompt = prompt

    def render(self, task: Task) -> RenderedPrompt:
        """The task's prompt.

        Raises:
            DataError: the chat template fails on it.
        """
        return self._render(task)

    def render_demonstration(self, demo: Demonstration) -> RenderedDemonstration:
        """The demonstration's prompt and reply. Prompt and reply are tokenised apart, as in sampling.

        Raises:
            DataError: thinking is forced and the reply does not begin with <think>, or the tokenizer names no end
                of text.
        """
        prompt = self._render(demo)
        learned = demo.response
        if prompt.forced:
            if not learned.startswith(THINK):
                raise DataError(NO_THOUGHT)
            # A reply may leave out the newline that the prompt ends in.
            own = prompt.forced if learned.startswith(prompt.forced) else THINK
            learned = learned.removeprefix(own)
        end = self._tokenizer.eos_token_id
        if end is None:
            raise DataError("the model's tokenizer names no end-of-text token (eos_token)")
        completion = (*self._ids(learned), int(end))
        mask = (0,) * len(prompt.token_ids) + (1,) * len(completion)
        return RenderedDemonstration(prompt.token_ids + completion, mask)

    def _render(self, item: Task | Demonstration) -> RenderedPrompt:
        turns = [dict(message) for message in item.history]
        # A row's own system message takes the place of the recipe's.
        if self._prompt.system is not None and (not turns or turns[0]["role"] != "system"):
            turns.insert(0, {"role": "system", "content": self._prompt.system})
        asked = self._prompt.template_for(item.kind).format(prompt=item.prompt)
        turns.append({"role": "user", "content": asked})
        try:
            text: str = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except Exception as e:  # a template is the model's own program: it raises what it likes
            raise DataError(f"the model's chat template fails ({type(e).__name__}: {e})") from e
        opened = text.rpartition(THINK)[2]
        # Some templates open the think tag themselves; a second one would be one too many.
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
    """The tasks that render, to at most `max_tokens` tokens; the others are bad rows.

    Raises:
        DataError: on_bad_row is "stop" and one is longer, or none is left.
    """
    bad = BadRows(on_bad_row)

    def num_tokens(task: Task) -> int:
        return len(renderer.render(task).token_ids)

    longest = Longest(max_tokens, "the prompt has", "raise data.max_prompt_tokens or lower rollout.max_tokens")
    kept = _that_fit(loaded.tasks, loaded.where, num_tokens, longest, bad)
    return replace(loaded, tasks=kept, skipped=(*loaded.skipped, *bad.listed))


def check_demonstrations(
    loaded: LoadedDemonstrations, renderer: PromptRenderer, max_tokens: int, on_bad_row: OnBadRow, key: str = "data"
) -> LoadedDemonstrations:
    """The demonstrations that render, to at most `max_tokens` tokens in all; as check_prompt_lengths.

    Args:
        key: of their section in the recipe.
    """
    bad = BadRows(on_bad_row, f"{key}.on_bad_row")

    def num_tokens(demo: Demonstration) -> int:
        return len(renderer.render_demonstration(demo).token_ids)

    longest = Longest(max_tokens, "prompt and reply have", "raise the stage's max_length where the model allows it")
    kept = _that_fit(loaded.demonstrations, loaded.where, num_tokens, longest, bad)
    return replace(loaded, demonstrations=kept, skipped=(*loaded.skipped, *bad.listed))


@dataclass(frozen=True)
class Longest:
    """The most tokens that something may have, and how to say that it has more."""

    tokens: int
    what: str
    """"the prompt has"."""
    remedy: str
    """What to do where all are longer."""


Item = TypeVar("Item", Task, Demonstration)


def _that_fit(
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
