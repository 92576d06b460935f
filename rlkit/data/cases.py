"""Turns test code that consists only of equality asserts into cases of arguments and expected values.

`assert f(1, [2]) == 3` -> {"args": [1, [2]], "expected": 3}. Parses the code and never runs it.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Mapping
from typing import Any

MAX_TESTS = 1000
_MAX_INTEGER_BITS = 13_000
_ENTRY_POINT = re.compile(r"[^\W\d]\w*(?:(?:\(\))?\.[^\W\d]\w*)?")


def is_json_value(value: Any) -> bool:
    """Whether the value stays equal and of the same type when it is written to JSON and read back."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list):
        return all(is_json_value(v) for v in value)
    if isinstance(value, dict):
        return all(type(k) is str and is_json_value(k) and is_json_value(v) for k, v in value.items())
    if isinstance(value, str):
        return not any("\ud800" <= c <= "\udfff" for c in value)
    # Python's JSON reader rejects longer integers than this.
    return value is None or (isinstance(value, int) and value.bit_length() <= _MAX_INTEGER_BITS)


def case_of(call: ast.Call, expected: ast.expr) -> dict[str, Any] | None:
    """One case in the format of `rlkit verify code`; None if an argument is not a literal."""
    if any(keyword.arg is None for keyword in call.keywords):
        return None
    try:
        args = [ast.literal_eval(a) for a in call.args]
        kwargs = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
        value = ast.literal_eval(expected)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    if is_json_value([args, kwargs, value]):
        case: dict[str, Any] = {"args": args, "expected": value}
        return {**case, "kwargs": kwargs} if kwargs else case
    # The format cannot express keyword arguments as Python literals.
    if kwargs:
        return None
    # unparse instead of repr, because it writes infinity as a literal that can be read back.
    args_py = "[" + ", ".join(ast.unparse(a) for a in call.args) + "]"
    return {"args_py": args_py, "expected_py": ast.unparse(expected)}


def cases_of(statements: list[ast.stmt], function: str | None) -> tuple[str, list[dict[str, Any]]] | None:
    """Turns all statements into cases of one function.

    Args:
        statements: a test's body; docstrings, `pass` and `assert True` are skipped.
        function: the name that must be called; None: any name, but the same in all statements.
    Returns:
        (the function's name, its cases), or None if a statement is not `assert f(literals) == literal`.
    """
    cases: list[dict[str, Any]] = []
    for statement in statements:
        if _has_no_effect(statement):
            continue
        sides = _equality(statement)
        if sides is None:
            return None
        call, expected = sides
        assert isinstance(call.func, ast.Name)
        function = function or call.func.id
        case = case_of(call, expected) if call.func.id == function else None
        if case is None:
            return None
        cases.append(case)
    return (function, cases) if function and cases else None


def turn_asserts(reference: Mapping[str, Any]) -> Mapping[str, Any]:
    """Converts a code reference from asserts mode to function mode if its whole test code can become cases.

    Cases are faster: they are compared outside the program's process, while test code needs a second sandbox.
    """
    code, entry_point = reference.get("test_code"), reference.get("entry_point")
    if reference.get("mode") != "asserts" or not isinstance(code, str):
        return reference
    try:
        tree = ast.parse(code)
        body = check_body(tree, entry_point)
        found = cases_of(body, "candidate") if body else cases_of(tree.body, None)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return reference
    if found is None:
        return reference
    rest = {name: value for name, value in reference.items() if name != "test_code"}
    return {**rest, "mode": "function", "entry_point": entry_point if body else found[0], "tests": found[1]}


def _equality(statement: ast.stmt) -> tuple[ast.Call, ast.expr] | None:
    """(f(...), expected) of `assert f(...) == expected`, with f a plain name."""
    if not isinstance(statement, ast.Assert):
        return None
    test = statement.test
    if not isinstance(test, ast.Compare) or len(test.ops) != 1 or not isinstance(test.ops[0], ast.Eq):
        return None
    call = test.left
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        return None
    return call, test.comparators[0]


def _has_no_effect(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Assert):
        return isinstance(statement.test, ast.Constant) and statement.test.value is True
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def check_body(tree: ast.Module, entry_point: str | None = None) -> list[ast.stmt] | None:
    """Body of HumanEval's `def check(candidate)`; None if the module contains other statements with an effect.

    Args:
        entry_point: a call `check(<entry_point>)` is allowed after it; None: no call is allowed.
    """
    checks = [s for s in tree.body if isinstance(s, ast.FunctionDef) and s.name == "check"]
    others = [s for s in tree.body if s not in checks and not _is_metadata(s) and not _has_no_effect(s)]
    if entry_point is not None:
        others = [s for s in others if ast.unparse(s) != f"check({entry_point})"]
    return checks[0].body if len(checks) == 1 and not others else None


def _is_metadata(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Assign) and [ast.unparse(t) for t in statement.targets] == ["METADATA"]


def called_functions(code: str) -> list[str]:
    """Names of the plain functions that the code calls, in the order of the source."""
    calls = [n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    return [c.func.id for c in sorted(calls, key=lambda c: (c.lineno, c.col_offset)) if isinstance(c.func, ast.Name)]


def helpers_of(prompt: str, entry_point: str) -> str:
    """Imports and helper functions of a HumanEval prompt, which its tests may use."""
    try:
        body = ast.parse(prompt).body
    except SyntaxError:
        return ""
    # Leave out the stub of the function to write: it would overwrite the candidate's.
    kept = [s for s in body if not (isinstance(s, ast.FunctionDef) and s.name == entry_point)]
    return "\n".join(ast.unparse(s) for s in kept)


def check_code_reference(reference: dict[str, Any]) -> str | None:
    """The problem with a code reference; None if it is valid."""
    mode = reference.get("mode")
    if mode == "asserts":
        code = reference.get("test_code")
        return None if isinstance(code, str) and code.strip() else "the code reference has no test_code"
    if mode not in ("function", "stdin"):
        return f"the code reference's mode is {json.dumps(mode, default=str)}, not function, asserts or stdin"
    tests = reference.get("tests")
    if not isinstance(tests, list) or not tests:
        return "the code reference has no tests"
    entry_point = reference.get("entry_point")
    if mode == "function" and not (isinstance(entry_point, str) and _ENTRY_POINT.fullmatch(entry_point)):
        return "the code reference has no entry_point"
    hidden = reference.get("hidden_tests") or []
    if not isinstance(hidden, list):
        return "the code reference's hidden_tests are not a list"
    if max(len(tests), len(hidden)) > MAX_TESTS:
        return (
            f"the code reference has {max(len(tests), len(hidden))} tests, more than {MAX_TESTS}: keep the first ones"
        )
    for number, test in enumerate([*tests, *hidden], start=1):
        if not isinstance(test, dict) or not _complete(test, mode):
            wanted = "stdin and stdout" if mode == "stdin" else "args and expected (or args_py and expected_py)"
            return f"test {number} of the code reference lacks {wanted}"
    return None


def _complete(test: dict[str, Any], mode: str) -> bool:
    if mode == "stdin":
        return isinstance(test.get("stdin"), str) and isinstance(test.get("stdout"), str)
    if not isinstance(test.get("args", []), list) or not isinstance(test.get("kwargs", {}), dict):
        return False
    given, wanted = ({"args", "args_py", "kwargs", "kwargs_py"}, {"expected", "expected_py", "accepted", "accepted_py"})
    literals = (test[name] for name in given | wanted if name.endswith("_py") and name in test)
    return bool(given & set(test) and wanted & set(test)) and all(isinstance(text, str) for text in literals)
