"""Infers which column is the prompt, the reference or the reply, from column names that data sets use."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

from rlkit.data.chat_messages import conversation_of, messages_of
from rlkit.data.columns import Columns, column
from rlkit.data.rows import RowError, some
from rlkit.errors import nearest
from rlkit.recipe.schema import FieldsKeys

Need = Literal["reference", "response"]
"""What a stage needs of a row besides its prompt: a task's reference, or a demonstration's response."""

CONVERSATIONS = ("messages", "conversations", "conversation")
NAMES: Mapping[str, tuple[str, ...]] = {
    "prompt": ("prompt", "question", "problem", "instruction", "query", "input", *CONVERSATIONS),
    "reference": (
        "reference",
        "reward_model.ground_truth",
        "ground_truth",
        "answer",
        "final_answer",
        "expected_answer",
        "reference_answer",
        "correct_answer",
        "gold_answer",
        "gold",
        "answerKey",
        "answers",
        "target",
        "label",
        "solution",
        "input_output",
        "verification_info.ground_truth",
        "verification_info",
        "test_cases",
        "tests",
    ),
    "response": ("response", "completion", "reply", "output", "answer", "solution"),
}
"""By key of `fields`: usual column names, the preferred first."""
ABOUT = ("context", "passage", "document", "story", "article")
"""Columns with a text that a question in another column refers to."""


def complete(fields: FieldsKeys | None, row: Columns, need: Need, place: str) -> FieldsKeys:
    """Completes the user's fields with columns inferred from the source's first row.

    Args:
        place: key of the source in the recipe, such as "data" or "stages.0.data".
    Raises:
        RowError: no column is known to hold the prompt, or the reference or response that the stage needs.
    """
    fields = fields or FieldsKeys()
    named = fields.model_fields_set
    found: dict[str, str | None] = {key: getattr(fields, key) for key in ("prompt", need) if key in named}
    if "prompt" not in found:
        found["prompt"] = _first(row, NAMES["prompt"], found.values())
    if found["prompt"] is None:
        keys = _keys(row, ["prompt", *([] if need in found else [need])], place)
        separate = "; prompt and reply must be separate columns" if "text" in row else ""
        raise RowError(
            f"cannot tell which of the columns {some(sorted(row))} is the prompt{separate}", f"name them with {keys}"
        )
    if "prompt" not in named:
        _check_no_context(row, found["prompt"], place)
    if need not in found:
        found[need] = _first(row, NAMES[need], found.values())
    if need == "response" and found[need] is None and not _has_reply(row, found["prompt"]):
        chat = None if "prompt" in named else next((name for name in CONVERSATIONS if _has_reply(row, name)), None)
        found["prompt"] = chat or found["prompt"]
        if chat is None:
            raise RowError(
                _no_column("no response to learn from", row), f"name its column with {_keys(row, [need], place)}"
            )
    if need == "reference" and found[need] is None:
        what = _no_column("no reference to check an answer against", row)
        raise RowError(what, f"name its column with {_keys(row, [need], place)}")
    other = "response" if need == "reference" else "reference"
    if other not in named:
        found[other] = other if other in row else None
    return fields.model_copy(update=found)


def _first(row: Columns, names: Iterable[str], taken: Collection[str | None]) -> str | None:
    """The preferred name if the row has it, else the first column that is not null, else the first column."""
    values = {name: column(row, name, required=False) for name in names if name not in taken}
    preferred = next(iter(values), None)
    if preferred is not None and preferred in row:
        return preferred
    null = next((name for name in values if name in row), None)
    return next((name for name, value in values.items() if value is not None), null)


def _check_no_context(row: Columns, prompt: str, place: str) -> None:
    """Raises RowError if the question refers to a text in another column, without which it cannot be answered."""
    about = next((name for name in ABOUT if isinstance(row.get(name), str) and row[name].strip()), None)
    if about is not None and prompt in ("question", "query"):
        raise RowError(
            f"cannot tell whether the prompt is {prompt} alone or includes {about}",
            f'give {place}.fields.prompt, such as "{{{about}}}\\n\\n{{{prompt}}}"',
        )


def _has_reply(row: Columns, name: str | None) -> bool:
    """Whether the column holds messages that end with a reply."""
    messages = messages_of(row.get(name)) if name else None
    try:
        return messages is not None and conversation_of(messages, str(name)).response is not None
    except RowError:
        return False


def _keys(row: Columns, keys: Sequence[str], place: str) -> str:
    """The recipe keys to give, with suggestions for columns whose names are similar to the usual ones."""
    found = {key: near for key in keys for name in NAMES[key][::-1] if (near := nearest(name, row, cutoff=0.75))}
    if not found:
        return " and ".join(f"{place}.fields.{key}" for key in keys)
    return f"{place}.fields, such as {{{', '.join(f'{key}: {near}' for key, near in found.items())}}}"


def _no_column(what: str, row: Columns) -> str:
    return f"{what}: none of the columns {some(sorted(row), 20)} is known to hold one"
