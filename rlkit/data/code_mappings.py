"""The built-in column mappings of code data sets."""

from __future__ import annotations

import ast
import builtins
from typing import Any

from rlkit.data.cases import called_functions, cases_of, check_body, helpers_of
from rlkit.data.code_shapes import code_reference
from rlkit.data.columns import Columns, RowDraft, column, id_of, text_of
from rlkit.data.rows import RowError


def humaneval(row: Columns) -> RowDraft:
    """HumanEval: cases if `check` contains only equalities of literals, else its test code."""
    prompt, test, entry_point = (text_of(row, name) for name in ("prompt", "test", "entry_point"))
    tree = _parse(test, "test")
    body = check_body(tree)
    found = cases_of(body, "candidate") if body else None
    # Prefer cases: they are compared outside the candidate's process, while test code runs beside the candidate.
    if found:
        reference = {"mode": "function", "entry_point": entry_point, "tests": found[1]}
    else:
        parts = (helpers_of(prompt, entry_point), test, f"check({entry_point})")
        code = "\n\n".join(part.strip("\n") for part in parts if part.strip())
        reference = {"mode": "asserts", "entry_point": entry_point, "test_code": code + "\n"}
    text = f"Complete this Python function. Give the whole program.\n\n```python\n{prompt.strip()}\n```"
    return RowDraft(text, "code", reference, id=id_of(row.get("task_id")), metadata={"domain": "humaneval"})


def mbpp(row: Columns) -> RowDraft:
    """MBPP: `test_list` of asserts. The prompt shows the first one, which alone contains the function's name."""
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
    text = f"{prompt.strip()}\n\nYour code must pass this test:\n{tests[0].strip()}"
    return RowDraft(text, "code", reference, id=id_of(row.get("task_id")), metadata={"domain": "mbpp"})


def apps(row: Columns) -> RowDraft:
    """APPS and TACO: `input_output` with the tests of a script, or of a function if it names one."""
    reference = code_reference(column(row, "input_output"))
    metadata = {"domain": "apps"} | ({"difficulty": row["difficulty"]} if row.get("difficulty") else {})
    text = _with_starter(text_of(row, "question"), row.get("starter_code"), reference)
    return RowDraft(text, "code", reference, id=id_of(row.get("problem_id")), metadata=metadata)


def livecodebench(row: Columns) -> RowDraft:
    """LiveCodeBench: the public tests, and the private ones if the row has them."""
    names = ("public_test_cases", "private_test_cases", "metadata")
    reference = code_reference({name: row[name] for name in names if row.get(name) is not None})
    metadata = {"domain": "livecodebench"} | ({"difficulty": row["difficulty"]} if row.get("difficulty") else {})
    text = _with_starter(text_of(row, "question_content"), row.get("starter_code"), reference)
    return RowDraft(text, "code", reference, id=id_of(row.get("question_id")), metadata=metadata)


def _with_starter(question: str, starter: Any, reference: dict[str, Any]) -> str:
    """The question with its starter code, or with the name of the function that the tests call."""
    if isinstance(starter, str) and starter.strip():
        return f"{question.strip()}\n\nBegin with this code:\n\n```python\n{starter.strip()}\n```"
    if reference["mode"] == "stdin":
        return f"{question.strip()}\n\nRead from standard input and print the answer."
    return f"{question.strip()}\n\nWrite a function named {reference.get('entry_point')}."


def _parse(code: str, column: str) -> ast.Module:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        raise RowError(f"column {column} is not Python ({e})") from e
