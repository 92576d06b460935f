"""Which column is the prompt, the reference or the reply, told from the names that data sets use."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

from rlkit.data.chat_messages import conversation_of, messages_of
from rlkit.data.columns import Columns, column
from rlkit.data.rows import RowError, some
from rlkit.errors import nearest
from rlkit.recipe.schema import FieldsKeys

Need = Literal["reference", "response"]
"""What a stage reads of a row beside its prompt: a task's reference, or a demonstration's response."""

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
"""By key of `fields`, the columns that are taken for it, the first that a row has."""
ABOUT = ("context", "passage", "document", "story", "article")
"""Columns of a text that a question beside it is about."""


def complete(fields: FieldsKeys | None, row: Columns, need: Need, place: str) -> FieldsKeys:
    """The user's fields, with the columns that they leave out told from those of the source's first row.

    Args:
        place: of the source in the recipe, such as "data" or "stages.0.data".
    Raises:
        RowError: no column is known to hold the prompt, or what the stage reads beside it.
    """
    fields = fields or FieldsKeys()
    named = fields.model_fields_set
    found: dict[str, str | None] = {key: getattr(fields, key) for key in ("prompt", need) if key in named}
    if "prompt" not in found:
        found["prompt"] = _first(row, NAMES["prompt"], found.values())
    if found["prompt"] is None:
        keys = _keys(row, ["prompt", *([] if need in found else [need])], place)
        alone = "; a prompt and what belongs to it must stand in columns of their own" if "text" in row else ""
        raise RowError(f"cannot tell what the columns {some(sorted(row))} hold{alone}", f"name them with {keys}")
    if "prompt" not in named:
        _check_alone(row, found["prompt"], place)
    if need not in found:
        found[need] = _first(row, NAMES[need], found.values())
    if need == "response" and found[need] is None and not _has_reply(row, found["prompt"]):
        talk = None if "prompt" in named else next((name for name in CONVERSATIONS if _has_reply(row, name)), None)
        found["prompt"] = talk or found["prompt"]
        if talk is None:
            raise RowError(
                _nothing("no response to learn from", row), f"name its column with {_keys(row, [need], place)}"
            )
    if need == "reference" and found[need] is None:
        what = _nothing("no reference to check an answer against", row)
        raise RowError(what, f"name its column with {_keys(row, [need], place)}")
    other = "response" if need == "reference" else "reference"
    if other not in named:
        found[other] = other if other in row else None
    return fields.model_copy(update=found)


def _first(row: Columns, names: Iterable[str], taken: Collection[str | None]) -> str | None:
    """The key's own name where the row has it, else the first column that is not null, else the first one."""
    there = {name: column(row, name, required=False) for name in names if name not in taken}
    own = next(iter(there), None)
    if own is not None and own in row:
        return own
    null = next((name for name in there if name in row), None)
    return next((name for name, value in there.items() if value is not None), null)


def _check_alone(row: Columns, prompt: str, place: str) -> None:
    """Refuses a question beside the text that it is about: alone it cannot be answered."""
    about = next((name for name in ABOUT if isinstance(row.get(name), str) and row[name].strip()), None)
    if about is not None and prompt in ("question", "query"):
        raise RowError(
            f"cannot tell whether the prompt is {prompt} alone or {about} too",
            f'say so with {place}.fields.prompt, such as "{{{about}}}\\n\\n{{{prompt}}}"',
        )


def _has_reply(row: Columns, name: str | None) -> bool:
    """Whether the column holds messages that end in a reply."""
    messages = messages_of(row.get(name)) if name else None
    try:
        return messages is not None and conversation_of(messages, str(name)).response is not None
    except RowError:
        return False


def _keys(row: Columns, keys: Sequence[str], place: str) -> str:
    """The keys that name columns, with columns whose names are nearly the usual ones."""
    found = {key: near for key in keys for name in NAMES[key][::-1] if (near := nearest(name, row, cutoff=0.75))}
    if not found:
        return " and ".join(f"{place}.fields.{key}" for key in keys)
    return f"{place}.fields, such as {{{', '.join(f'{key}: {near}' for key, near in found.items())}}}"


def _nothing(what: str, row: Columns) -> str:
    return f"{what}: none of the columns {some(sorted(row), 20)} is known to hold one"
