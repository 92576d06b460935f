"""What the model is shown: the project's only chat-template call.

Task -> template -> user turn -> chat template -> text, ending in the forced "<think>\\n" -> token ids
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rlkit.data.rows import BadRow, BadRows, OnBadRow
from rlkit.data.tasks import Demonstration, LoadedDemonstrations, LoadedTasks
from rlkit.errors import DataError
from rlkit.recipe.schema import Prompt
from rlkit.records import Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

THINK = "<think>"


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

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> None:
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
        return self._render(task.prompt, task.kind)

    def render_demonstration(self, demo: Demonstration) -> RenderedDemonstration:
        """The demonstration's prompt and reply. Prompt and reply are tokenised apart, as in sampling.

        Raises:
            DataError: thinking is forced and the reply does not begin with <think>, or the tokenizer names no end
                of text.
        """
        prompt = self._render(demo.prompt, demo.kind)
        learned = demo.response
        if prompt.forced:
            if not learned.startswith(THINK):
                raise DataError(f"the response does not begin with {THINK}, which data.prompt.force_think asks for")
            # A reply may leave out the newline that the prompt ends in.
            own = prompt.forced if learned.startswith(prompt.forced) else THINK
            learned = learned.removeprefix(own)
        end = self._tokenizer.eos_token_id
        if end is None:
            raise DataError("the model's tokenizer names no end-of-text token (eos_token)")
        completion = (*self._ids(learned), int(end))
        mask = (0,) * len(prompt.token_ids) + (1,) * len(completion)
        return RenderedDemonstration(prompt.token_ids + completion, mask)

    def _render(self, prompt: str, kind: str) -> RenderedPrompt:
        system = [{"role": "system", "content": self._prompt.system}] if self._prompt.system is not None else []
        turns = [*system, {"role": "user", "content": self._prompt.template_for(kind).format(prompt=prompt)}]
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
    """The tasks whose rendered prompt has at most `max_tokens` tokens; the others are bad rows.

    Raises:
        DataError: on_bad_row is "stop" and one is longer, or none is left.
    """

    def reason(task: Task) -> str | None:
        num_tokens = len(renderer.render(task).token_ids)
        return None if num_tokens <= max_tokens else f"the prompt has {num_tokens} tokens, more than {max_tokens}"

    kept, bad = _keep(loaded.tasks, loaded.where, reason, on_bad_row)
    return replace(loaded, tasks=tuple(kept), skipped=(*loaded.skipped, *bad))


def check_demonstrations(
    loaded: LoadedDemonstrations, renderer: PromptRenderer, max_tokens: int, on_bad_row: OnBadRow
) -> LoadedDemonstrations:
    """The demonstrations that render, to at most `max_tokens` tokens in all; as check_prompt_lengths."""

    def reason(demo: Demonstration) -> str | None:
        try:
            num_tokens = len(renderer.render_demonstration(demo).token_ids)
        except DataError as e:
            return str(e)
        return (
            None if num_tokens <= max_tokens else f"prompt and reply have {num_tokens} tokens, more than {max_tokens}"
        )

    kept, bad = _keep(loaded.demonstrations, loaded.where, reason, on_bad_row)
    return replace(loaded, demonstrations=tuple(kept), skipped=(*loaded.skipped, *bad))


def _keep(
    items: tuple[Any, ...], where: Mapping[str, str], reason: Callable[[Any], str | None], on_bad_row: OnBadRow
) -> tuple[list[Any], list[BadRow]]:
    bad = BadRows(on_bad_row)
    kept = []
    for item in items:
        why = reason(item)
        if why is None:
            kept.append(item)
        else:
            bad.add(BadRow(where[item.id], why))
    if not kept:
        raise DataError(f"no row is left of {len(items)}; the first: {bad.listed[0].where}: {bad.listed[0].reason}")
    return kept, bad.listed
