"""Maps a row's columns to the parts of a task: the built-in mappings and the user's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rlkit.data.code_mappings import apps, humaneval, livecodebench, mbpp
from rlkit.data.columns import Columns, RowColumns, RowDraft, beside, id_of, text_of
from rlkit.data.kinds import inferred_kind, letter_of_text
from rlkit.data.own_columns import OwnColumns
from rlkit.data.recognise import Need, complete
from rlkit.data.references import gold_text
from rlkit.data.rows import RowError
from rlkit.data.worked import last_boxed, thought_reply, without_calculator
from rlkit.recipe.schema import SourceKeys
from rlkit.recipe.schema.data_section import Mapping

Mapper = Callable[[Columns], RowDraft]


def mapping_for(source: SourceKeys, columns: Columns, need: Need, place: str) -> Mapper:
    """The source's mapping; infers it from the columns of the first row if the recipe gives none.

    Every column that the mapping does not read becomes metadata of the task.

    Args:
        need: what the stage needs besides the prompt.
        place: key of the source in the recipe, such as "data.sources.1".
    Raises:
        RowError: the mapping cannot be inferred.
    """
    name = source.mapping or ("plain" if source.fields else detect(columns, need))
    if name == "plain":
        fields = complete(source.fields, columns, need, place)
        named = source.fields.model_fields_set if source.fields else None
        reader: Mapper = OwnColumns(fields, named, need, source.kind, place)
    else:
        reader = _of_kind(READY[name], source.kind, place)

    def mapped(row: Columns) -> RowDraft:
        columns = RowColumns(row)
        draft = reader(columns)
        metadata = {**columns.unread, **draft.metadata}
        return replace(draft, kind=draft.kind or inferred_kind(draft.reference, metadata), metadata=metadata)

    return mapped


def _of_kind(mapping: Mapper, kind: str | None, place: str) -> Mapper:
    """A built-in mapping that gives tasks the source's kind, if the source names one."""

    def mapped(row: Columns) -> RowDraft:
        try:
            draft = mapping(row)
        except RowError as e:
            raise RowError(str(e), f"name the columns of your own with {place}.fields") from e
        if draft.kind == "code" and kind not in (None, "code"):
            raise RowError(f"{place}.kind is {kind}, but the row is a task of kind code", f"leave {place}.kind out")
        if kind == "code" and draft.kind is None:
            what = f"{place}.kind is code, but the row has an answer and no tests of a program"
            raise RowError(
                what, f"leave {place}.kind out, or name the column of the tests with {place}.fields.reference"
            )
        draft = replace(draft, kind=draft.kind or kind)
        return _naming_an_option(draft, row) if draft.kind in (None, "choice") else draft

    return mapped


def _naming_an_option(draft: RowDraft, row: Columns) -> RowDraft:
    """Replaces a reference that is the text of an option by the option's letter.

    A worked answer "3" is never an index of an option, unlike a number in a column of its own.
    """
    gold, given = draft.reference, beside(row, "answer")
    if not isinstance(gold, str) or isinstance(given, int):
        return draft
    gold = letter_of_text(gold, beside(row, "choices"))
    worked = given is None or "####" in str(given)
    return replace(draft, reference=gold, kind=draft.kind or ("math" if worked and gold.isdecimal() else None))


def detect(columns: Columns, need: Need) -> Mapping:
    """Name of the built-in mapping that fits a row's columns; "plain" if none does."""
    if need == "response" and any(name in columns for name in ("response", "completion")):
        return "plain"  # the user's own replies
    # The most specific first: HumanEval and MBPP rows have a prompt column too.
    signs: tuple[tuple[Mapping, tuple[set[str], ...]], ...] = (
        ("humaneval", ({"prompt"}, {"entry_point"}, {"test"})),
        ("livecodebench", ({"question_content"}, {"public_test_cases"})),
        ("apps", ({"question"}, {"input_output"})),
        ("mbpp", ({"test_list"}, {"text", "prompt"})),
        ("gsm8k", ({"question"}, {"answer"})),
        ("math", ({"problem"}, {"solution", "answer"})),
    )
    fitting = (name for name, sets in signs if all(any(c in columns for c in s) for s in sets))
    further = {"gsm8k": _is_gsm8k, "math": _is_math}
    return next((name for name in fitting if name not in further or further[name](columns, need)), "plain")


def _is_gsm8k(columns: Columns, need: Need) -> bool:
    return isinstance(columns["answer"], str) and "####" in columns["answer"]


def _is_math(columns: Columns, need: Need) -> bool:
    solution, answer = columns.get("solution"), columns.get("answer")
    if need == "response":
        return isinstance(solution, str) and (answer is not None or last_boxed(solution) is not None)
    return answer is None or (isinstance(answer, str | int | float) and not isinstance(answer, bool))


def gsm8k(row: Columns) -> RowDraft:
    """GSM8K: the last line of the answer column is "#### 1,234"."""
    worked, mark, gold = text_of(row, "answer").rpartition("####")
    gold = gold.strip().replace(",", "").removeprefix("$")
    if not mark:
        raise RowError('the answer has no "####" before its final number (to use other columns, name them in fields)')
    if not gold:
        raise RowError('there is nothing after "####" in the answer')
    reply = thought_reply(without_calculator(worked), gold)
    return RowDraft(prompt=text_of(row, "question"), reference=gold, response=reply)


def math_mapping(row: Columns) -> RowDraft:
    """MATH: `answer`, or the last \\boxed{} of `solution`."""
    solution = text_of(row, "solution") if row.get("solution") is not None else ""
    # MATH-500 has both columns; answer is the cleaned one.
    given = gold_text(row["answer"], "answer") if row.get("answer") is not None else last_boxed(solution)
    if given is None:
        raise RowError("the solution has no complete \\boxed{} and there is no answer column")
    metadata: dict[str, Any] = {}
    domain, level = beside(row, "subject" if "subject" in row else "type"), beside(row, "level")
    if domain is not None:
        metadata["domain"] = domain
    if level is not None:
        digits = re.fullmatch(r"(?:Level )?(\d+)", str(level))
        metadata["difficulty"] = int(digits[1]) if digits else level
    return RowDraft(
        prompt=text_of(row, "problem"),
        reference=given,
        response=thought_reply(solution, given) if solution else None,
        id=id_of(row.get("unique_id")),
        metadata=metadata,
    )


READY: dict[str, Mapper] = {
    "gsm8k": gsm8k,
    "math": math_mapping,
    "humaneval": humaneval,
    "mbpp": mbpp,
    "apps": apps,
    "livecodebench": livecodebench,
}
