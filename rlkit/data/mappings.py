"""Columns -> the parts of a task: the ready mappings and the user's own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from rlkit.data.code_mappings import apps, humaneval, livecodebench, mbpp
from rlkit.data.code_shapes import code_reference, looks_like_code
from rlkit.data.columns import Columns, Draft, column, gold_text, id_of, text_of
from rlkit.data.rows import RowError
from rlkit.recipe.schema import Fields, Source


def mapping_for(source: Source, columns: Columns) -> Callable[[Columns], Draft] | None:
    """The source's mapping, told from the columns where the recipe names none; None where they do not tell."""
    if source.fields is not None:
        fields = source.fields
        return lambda row: from_fields(row, fields, fields.model_fields_set, source.kind)
    name = source.mapping or detect(columns)
    if name == "plain":
        return lambda row: plain(row, source.kind)
    return _of_kind(READY[name], source.kind) if name else None


def _of_kind(mapping: Callable[[Columns], Draft], kind: str | None) -> Callable[[Columns], Draft]:
    """A mapping whose tasks, where they are of kind math, are of another kind."""

    def mapped(row: Columns) -> Draft:
        draft = mapping(row)
        if kind is None or kind == draft.kind:
            return draft
        if draft.kind == "code":
            raise RowError(f"data.kind is {kind} and the row is a task of kind code")
        return replace(draft, kind=kind)

    return mapped


def detect(columns: Columns) -> str | None:
    """Name of the ready mapping that a row's columns fit."""
    # Most telling first: HumanEval and MBPP rows have a prompt column too.
    signs = (
        ("humaneval", ({"prompt"}, {"entry_point"}, {"test"})),
        ("livecodebench", ({"question_content"}, {"public_test_cases"})),
        ("apps", ({"question"}, {"input_output"})),
        ("mbpp", ({"test_list"}, {"text", "prompt"})),
        ("gsm8k", ({"question"}, {"answer"})),
        ("math", ({"problem"}, {"solution", "answer"})),
        ("plain", ({"prompt"}, {"reference", "response"})),
    )
    return next((name for name, sets in signs if all(any(c in columns for c in s) for s in sets)), None)


def gsm8k(row: Columns) -> Draft:
    """GSM8K: the answer's last line is "#### 1,234"."""
    worked, mark, gold = text_of(row, "answer").rpartition("####")
    gold = gold.strip().replace(",", "").removeprefix("$")
    if not mark:
        raise RowError('the answer has no "####" before its final number (name columns of your own in fields)')
    if not gold:
        raise RowError('nothing follows "####" in the answer')
    # <<48/2=24>> are calculator calls of the data set's authors, not reasoning.
    worked = re.sub(r"<<[^>]*>>", "", worked).strip()
    return Draft(prompt=text_of(row, "question"), reference=gold, response=_reply(worked, gold))


def math_mapping(row: Columns) -> Draft:
    """MATH: `answer`, or the last \\boxed{} of `solution`."""
    solution = text_of(row, "solution") if row.get("solution") is not None else ""
    # MATH-500 has both; the answer column is then the cleaned one.
    given = gold_text(row["answer"], "answer") if row.get("answer") is not None else last_boxed(solution)
    if given is None:
        raise RowError("the solution has no finished \\boxed{} and there is no answer column")
    metadata: dict[str, Any] = {}
    if row.get("subject", row.get("type")) is not None:
        metadata["domain"] = row.get("subject", row.get("type"))
    if row.get("level") is not None:
        digits = re.fullmatch(r"(?:Level )?(\d+)", str(row["level"]))
        metadata["difficulty"] = int(digits[1]) if digits else row["level"]
    return Draft(
        prompt=text_of(row, "problem"),
        reference=given,
        response=_reply(solution, given) if solution else None,
        id=id_of(row.get("unique_id")),
        metadata=metadata,
    )


def _reply(worked: str, gold: str) -> str:
    return f"<think>\n{worked}\n</think>\n\\boxed{{{gold}}}"


def last_boxed(text: str) -> str | None:
    """Content of the last \\boxed{...} whose braces balance: "a \\boxed{\\frac{1}{2}} b" -> "\\frac{1}{2}"."""
    for match in reversed(list(re.finditer(r"\\(?:boxed|fbox)\s*\{", text))):
        depth, at = 1, match.end()
        while at < len(text) and depth:
            # A brace after a backslash is printed, it opens no group.
            step = 2 if text[at] == "\\" else 1
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += step
        if not depth and text[match.end() : at - 1].strip():
            return text[match.end() : at - 1].strip()
    return None


def plain(row: Columns, kind: str | None = None) -> Draft:
    """Columns prompt, reference and response; id, kind, domain and difficulty are taken where they are.

    Args:
        kind: of a row without that column.
    """
    fields = Fields(
        reference="reference" if "reference" in row or "response" not in row else None,
        response="response" if "response" in row else None,
        id="id" if "id" in row else None,
        kind="kind" if "kind" in row else None,
        domain="domain" if "domain" in row else "metadata.domain",
        difficulty="difficulty" if "difficulty" in row else "metadata.difficulty",
    )
    return from_fields(row, fields, set(), kind)


READY: dict[str, Callable[[Columns], Draft]] = {
    "gsm8k": gsm8k,
    "math": math_mapping,
    "humaneval": humaneval,
    "mbpp": mbpp,
    "apps": apps,
    "livecodebench": livecodebench,
    "plain": plain,
}


def from_fields(row: Columns, fields: Fields, named: set[str], source_kind: str | None = None) -> Draft:
    """A row by the user's own columns.

    Args:
        named: the keys of `fields` that the user wrote: the columns of domain and difficulty may be missing otherwise.
        source_kind: of a row where `fields` names no kind.
    """
    kind = source_kind if fields.kind is None else column(row, fields.kind)
    if kind is not None and not (isinstance(kind, str) and kind.strip()):
        raise RowError(f"kind is {json.dumps(kind, default=str)}, not a kind of task")
    given = None if fields.reference is None else column(row, fields.reference)
    reference = None if fields.reference is None else reference_of(given, kind)
    told = "code" if kind is None and isinstance(reference, dict) else "math"
    # What no key names stays visible to reward plugins.
    metadata = dict(row["metadata"]) if isinstance(row.get("metadata"), Mapping) else {}
    used = {name.split(".")[0] for name in (fields.reference, fields.response, fields.id, fields.kind) if name}
    used |= {"metadata", *_prompt_columns(fields.prompt)}
    metadata.update({name: value for name, value in row.items() if name not in used})
    for key, name in (("domain", fields.domain), ("difficulty", fields.difficulty)):
        value = None if name is None else column(row, name, required=key in named)
        if value is not None:
            metadata[key] = value
    return Draft(
        prompt=_prompt(row, fields.prompt),
        kind=kind or told,
        reference=reference,
        response=None if fields.response is None else text_of(row, fields.response),
        id=None if fields.id is None else id_of(column(row, fields.id), required=True),
        metadata=metadata,
    )


def _prompt_columns(pattern: str) -> list[str]:
    return re.findall(r"\{([^{}]+)\}", pattern) if "{" in pattern else [pattern]


def _prompt(row: Columns, pattern: str) -> str:
    if "{" not in pattern:
        return text_of(row, pattern)
    return re.sub(r"\{([^{}]+)\}", lambda m: text_of(row, m[1]), pattern)


def reference_of(value: Any, kind: str | None) -> Any:
    """The reference as its kind has it; without a kind, code for an object and math for anything else."""
    if kind in ("exact", "numeric", "choice"):
        return gold_text(value)
    if kind not in ("math", "code", None):
        if value is None:
            raise RowError("no reference (the column is null)")
        return value  # what a judge of the recipe's own makes of it
    if kind == "math" and isinstance(value, Mapping):
        raise RowError("kind is math and the reference is an object")
    if kind == "code" or (kind is None and looks_like_code(value)):
        if value is None:
            raise RowError("no reference (the column is null)")
        return code_reference(value)
    return gold_text(value)
