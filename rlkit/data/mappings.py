"""Columns -> the parts of a task: the ready mappings and the user's own."""

from __future__ import annotations

import ast
import builtins
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rlkit.data.cases import called_functions, cases_of, check_body, check_code_reference, helpers_of, turn_asserts
from rlkit.data.read import type_name
from rlkit.data.rows import RowError
from rlkit.recipe.schema import Fields, Source

Columns = Mapping[str, Any]


@dataclass(frozen=True)
class Draft:
    """What a mapping finds in a row; what a row lacks is None."""

    prompt: str
    kind: str = "math"
    reference: Any = None
    response: str | None = None
    id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def mapping_for(source: Source, columns: Columns) -> Callable[[Columns], Draft] | None:
    """The source's mapping, told from the columns where the recipe names none; None where they do not tell."""
    if source.fields is not None:
        fields = source.fields
        return lambda row: from_fields(row, fields, fields.model_fields_set)
    name = source.mapping or detect(columns)
    return READY[name] if name else None


def detect(columns: Columns) -> str | None:
    """Name of the ready mapping that a row's columns fit."""
    # Most telling first: HumanEval and MBPP rows have a prompt column too.
    signs = (
        ("humaneval", ({"prompt"}, {"entry_point"}, {"test"})),
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
        id=_id(row.get("unique_id")),
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


def humaneval(row: Columns) -> Draft:
    """HumanEval: cases where `check` holds nothing but equalities of literals, else its code as it is."""
    prompt, test, entry_point = (text_of(row, name) for name in ("prompt", "test", "entry_point"))
    tree = _parse(test, "test")
    body = check_body(tree)
    found = cases_of(body, "candidate") if body else None
    # Cases are judged from outside the candidate's process; test code has to run beside the candidate.
    if found:
        reference = {"mode": "function", "entry_point": entry_point, "tests": found[1]}
    else:
        parts = (helpers_of(prompt, entry_point), test, f"check({entry_point})")
        code = "\n\n".join(part.strip("\n") for part in parts if part.strip())
        reference = {"mode": "asserts", "entry_point": entry_point, "test_code": code + "\n"}
    asked = f"Complete this Python function. Give the whole program.\n\n```python\n{prompt.strip()}\n```"
    return Draft(asked, "code", reference, id=_id(row.get("task_id")), metadata={"domain": "humaneval"})


def mbpp(row: Columns) -> Draft:
    """MBPP: `test_list` of asserts; the first one is shown, since it alone tells the function's name."""
    tests = row.get("test_list")
    if not isinstance(tests, list) or not tests or not all(isinstance(t, str) for t in tests):
        raise RowError("column test_list is not a list of asserts with at least one in it")
    prompt = text_of(row, "text" if row.get("text") is not None else "prompt")
    setup = [row.get("test_setup_code") or "", *(row.get("test_imports") or [])]
    code = "\n".join(part for part in (*setup, *tests) if str(part).strip())
    found = cases_of(_parse(code, "test_list").body, None)
    reference: dict[str, Any]
    if found:
        reference = {"mode": "function", "entry_point": found[0], "tests": found[1]}
    else:
        names = [n for n in called_functions("\n".join(tests)) if not hasattr(builtins, n)]
        reference = {"mode": "asserts", "test_code": code + "\n"}
        reference.update({"entry_point": names[0]} if names else {})
    asked = f"{prompt.strip()}\n\nYour code must pass this test:\n{tests[0].strip()}"
    return Draft(asked, "code", reference, id=_id(row.get("task_id")), metadata={"domain": "mbpp"})


def _parse(code: str, column: str) -> ast.Module:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        raise RowError(f"column {column} is not Python ({e})") from e


def plain(row: Columns) -> Draft:
    """Columns prompt, reference and response; id, kind, domain and difficulty are taken where they are."""
    fields = Fields(
        reference="reference" if "reference" in row or "response" not in row else None,
        response="response" if "response" in row else None,
        id="id" if "id" in row else None,
        kind="kind" if "kind" in row else None,
        domain="domain" if "domain" in row else "metadata.domain",
        difficulty="difficulty" if "difficulty" in row else "metadata.difficulty",
    )
    return from_fields(row, fields, set())


READY: dict[str, Callable[[Columns], Draft]] = {
    "gsm8k": gsm8k,
    "math": math_mapping,
    "humaneval": humaneval,
    "mbpp": mbpp,
    "plain": plain,
}


def from_fields(row: Columns, fields: Fields, named: set[str]) -> Draft:
    """A row by the user's own columns.

    Args:
        named: the keys of `fields` that the user wrote: the columns of domain and difficulty may be missing otherwise.
    """
    reference, kind = None, None
    if fields.reference is not None:
        reference = _reference(column(row, fields.reference))
    if fields.kind is not None:
        kind = column(row, fields.kind)
        if kind not in ("math", "code"):
            raise RowError(f'kind is {json.dumps(kind, default=str)}, not "math" or "code"')
    told = "code" if isinstance(reference, dict) else "math"
    if kind and reference is not None and kind != told:
        raise RowError(f"kind is {kind} and the reference is {'an object' if told == 'code' else 'text'}")
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
        id=None if fields.id is None else _id(column(row, fields.id), required=True),
        metadata=metadata,
    )


def _prompt_columns(pattern: str) -> list[str]:
    return re.findall(r"\{([^{}]+)\}", pattern) if "{" in pattern else [pattern]


def _prompt(row: Columns, pattern: str) -> str:
    if "{" not in pattern:
        return text_of(row, pattern)
    return re.sub(r"\{([^{}]+)\}", lambda m: text_of(row, m[1]), pattern)


def column(row: Columns, name: str, *, required: bool = True) -> Any:
    """The column's value; "a.b" is column "a.b" or key "b" of column "a".

    Raises:
        RowError: the column is missing and required.
    """
    if name in row:
        return row[name]
    head, _, rest = name.partition(".")
    if rest and isinstance(row.get(head), Mapping):
        return column(row[head], rest, required=required)
    if required:
        raise RowError(f'no column "{name}"; the row has {", ".join(sorted(row)) or "none"}')
    return None


def text_of(row: Columns, name: str) -> str:
    """The column's text, not empty."""
    value = column(row, name)
    if value is None:
        raise RowError(f"no {name} (the column is null)")
    if not isinstance(value, str):
        raise RowError(f"column {name} holds {type_name(value)} where text is expected")
    if not value.strip():
        raise RowError(f"empty {name}")
    return value


def gold_text(value: Any, name: str = "reference") -> str:
    """A gold answer as text: 145.0 -> "145".

    Raises:
        RowError: it is empty, null, or neither text nor a finite number.
    """
    if value is None:
        raise RowError(f"no {name} (the column is null)")
    # JSON writers turn 145 into 145.0; the gold answer is the number, not its spelling.
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise RowError(
            f"the {name} is {value if isinstance(value, (bool, float)) else type_name(value)}, not an answer"
        )
    if not value.strip():
        raise RowError(f"empty {name}")
    return value.strip()


def _reference(value: Any) -> Any:
    """Text for math, a checked object for code; CSV and Parquet carry the object as JSON text."""
    if isinstance(value, str) and value.lstrip().startswith("{") and '"mode"' in value:
        try:
            value = json.loads(value)
        except ValueError as e:
            raise RowError(f"the reference looks like a code reference and is broken JSON ({e})") from e
    if not isinstance(value, dict):
        return gold_text(value)
    reason = check_code_reference(value)
    if reason:
        raise RowError(reason)
    return dict(turn_asserts(value))


def _id(value: Any, *, required: bool = False) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        if required:
            raise RowError(f"the id is {type_name(value)}, not text or a number")
        return None
    return str(value)
