"""Checks the reference and the metadata of a task by its kind, and infers a missing kind."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import Any

from rlkit.data.references import YES
from rlkit.data.rows import RowError, did_you_mean

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def check_kind(kind: str, kinds: Collection[str] | None) -> None:
    """Checks that there is a judge for a kind.

    Args:
        kinds: kinds that have a judge; None: any kind is accepted.

    Raises:
        RowError: no judge; the message suggests the most similar kind.
    """
    if kinds is not None and kind not in kinds:
        raise RowError(
            f'no judge for tasks of kind "{kind}"{did_you_mean(kind, kinds)}; known kinds: {", ".join(sorted(kinds))}; '
            f"a kind of your own needs reward.accuracy.judges.{kind}"
        )


def check_task(kind: str, reference: Any, metadata: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    """Checks a task of kind exact, choice or numeric; returns (reference, metadata), with choices as {letter: text}.

    Raises:
        RowError: the reference does not fit the kind, or choices or a tolerance are invalid.
    """
    if kind not in ("exact", "choice", "numeric"):
        return reference, metadata
    if kind == "choice" and metadata.get("choices") is not None:
        choices = choices_of(metadata["choices"])
        return _chosen(reference, choices), {**metadata, "choices": choices}
    for gold in reference if isinstance(reference, list) else [reference]:
        _check_gold(kind, gold)
    return reference, ({**metadata, **_tolerances(metadata)} if kind == "numeric" else metadata)


def _check_gold(kind: str, gold: Any) -> None:
    if not isinstance(gold, str) or not gold.strip():
        raise RowError(f"the reference of a task of kind {kind} must be a text")
    if kind == "choice" and not (len(gold.strip("() .")) == 1 and gold.strip("() .").isalpha()):
        raise RowError(f"without metadata.choices the reference of a choice is one letter, not {gold[:80]!r}")
    if kind == "numeric" and not any(char.isdecimal() for char in gold):
        raise RowError(f"the reference {gold[:80]!r} of a task of kind numeric is not a number")


def inferred_kind(reference: Any, metadata: Mapping[str, Any]) -> str:
    """Infers the kind of a task: code for an object, exact for true or false, choice for one of its choices.

    Everything else is math.
    """
    if isinstance(reference, Mapping):
        return "code"
    if _is_choice(reference, metadata.get("choices")):
        return "choice"
    return "exact" if reference in YES.values() else "math"


def _is_choice(reference: Any, given: Any) -> bool:
    """Whether there are choices, and the reference, if given, names one of them."""
    if given is None:
        return False
    try:
        choices = choices_of(given)
    except RowError:
        return False
    return reference is None or bool(_named(reference, choices))


def with_options(prompt: str, metadata: Mapping[str, Any]) -> str:
    """The prompt of a choice task. Appends one line per option unless the prompt contains all their texts."""
    choices: Mapping[str, str] = metadata.get("choices") or {}
    if all(text in prompt for text in choices.values()):
        return prompt
    return "\n".join([f"{prompt.rstrip()}\n", *(f"{letter}. {text}" for letter, text in choices.items())])


def choices_of(given: Any) -> dict[str, str]:
    """Choices as {letter: text}, from the forms in data sets: {"A": ...}, [...] or {"label": [...], "text": [...]}."""
    if isinstance(given, str):
        try:
            given = json.loads(given)  # CSV cells hold lists and objects as JSON text
        except ValueError as e:
            raise RowError(f"choices are not JSON ({e})") from e
    if isinstance(given, Mapping) and set(given) == {"label", "text"} and isinstance(given["text"], list):
        given = dict(zip(map(str, given["label"]), given["text"], strict=False))
    if isinstance(given, list):
        given = dict(zip(_LETTERS, given, strict=False)) if len(given) <= len(_LETTERS) else None
    if not isinstance(given, Mapping) or len(given) < 2:
        raise RowError("choices must be at least two texts: a list, or an object of letters and texts")
    for letter, text in given.items():
        if len(str(letter)) != 1 or not str(letter).isalnum() or not isinstance(text, str | int | float):
            raise RowError(f"choice {letter!r} must be a letter with a text")
    return {str(letter): str(text) for letter, text in given.items()}


def _chosen(reference: Any, choices: Mapping[str, str]) -> str:
    """The letter of the option that a reference names by letter, by text, or by number from 0 (as in MMLU)."""
    named = _named(reference, choices)
    if len(named) != 1:
        problem = "names more than one" if named else "is neither a letter nor a text"
        shown = repr(reference.strip() if isinstance(reference, str) else reference)
        why = f" ({' and '.join(sorted(named))}: by text, letter or number from 0)" if named else ""
        remedy = "give the letter of the right one as the reference"
        raise RowError(f"the reference {shown[:80]} {problem} of the choices {', '.join(choices)}{why}", remedy)
    return named.pop()


def _named(reference: Any, choices: Mapping[str, str]) -> set[str]:
    """The letters that a reference, or any text of a list, may mean."""
    golds = reference if isinstance(reference, list) else [reference]
    return {letter for gold in golds for letter in _letters(str(gold).strip(), choices)}


def letter_of_text(gold: str, given: Any) -> str:
    """The letter of the only option with this text; the text itself if there is no such option.

    "3" of ["1", "2", "3", "4"] -> "C"
    """
    try:
        choices = {} if given is None else choices_of(given)
    except RowError:
        return gold
    letters = [letter for letter, text in choices.items() if text.strip() == gold.strip()]
    return letters[0] if len(letters) == 1 else gold


def _letters(text: str, choices: Mapping[str, str]) -> set[str]:
    """The letters that a text may mean; several if a number is the text of one option and the index of another."""
    letters = [letter for letter in choices if text.strip("()").upper() == letter.upper()]
    letters = letters or [letter for letter, its_text in choices.items() if its_text.strip() == text]
    letters = letters or [letter for letter, its_text in choices.items() if its_text.strip().lower() == text.lower()]
    numbered = list(choices)[int(text) : int(text) + 1] if text.isdecimal() and len(text) < 4 else []
    return {*letters, *numbered}


def _tolerances(metadata: Mapping[str, Any]) -> dict[str, float]:
    """The tolerances that a task gives, as numbers."""
    found: dict[str, float] = {}
    for name, limit in (("tolerance", 1.0), ("abs_tolerance", math.inf)):
        if metadata.get(name) in (None, ""):
            continue
        try:
            found[name] = float(metadata[name])
        except (TypeError, ValueError):
            found[name] = math.nan
        if not 0 <= found[name] < limit:
            rule = "from 0, below 1: a share of the reference (abs_tolerance takes any)" if limit == 1 else "from 0"
            raise RowError(f"{name} is {str(metadata[name])[:40]!r}, and must be a number {rule}")
    return found
