"""Reads a code reference: for each test, the input for the sandbox and the expected values, which stay outside."""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from rlkit.verify.code.code_compare import Rules
from rlkit.verify.sandbox.job import Limits
from rlkit.verify.sandbox.values import BadValue, Tree, encode

MAX_TESTS = 1000
"""Tests of one reference."""
_ENTRY = re.compile(r"[^\W\d]\w*(?:(?:\(\))?\.[^\W\d]\w*)?")
"""A function's name, or a class and its method: f, Solution.f, Solution().f."""


class Malformed(Exception):
    """The reference or a setting is not valid; the message gives the reason."""


@dataclass(frozen=True)
class Test:
    """One test. Only `request` and `stdin` go into a sandbox."""

    request: Mapping[str, Any]
    """Request for the sandbox's harness, without the program."""
    want: tuple[Tree, ...] | bytes = ()
    """The values any of which is right, as trees, or the expected output; empty in asserts mode, whose test code judges
    by itself."""
    stdin: bytes = b""
    """Standard input of a script."""


@dataclass(frozen=True)
class Suite:
    """A reference, read."""

    tests: tuple[Test, ...]
    """The tests that decide the verdict."""
    hidden: tuple[Test, ...]
    """Hidden tests: run and counted separately, never part of the verdict."""
    contest_names: bool
    """Whether programs find the names that contest sites provide without an import."""
    limits: Limits
    """Of each test."""
    rules: Rules
    """How results are compared."""


def read_reference(
    reference: Any,
    limits: Mapping[str, float],
    compare: Mapping[str, Any],
    contest_names: bool | None = None,
) -> Suite:
    """A reference as tests.

    Args:
        reference: {"mode", "entry_point", "tests" | "test_code", "hidden_tests", "limits", "compare", "contest_names"}.
        limits: defaults of the fields of `Limits` that the reference does not name.
        compare: defaults of the fields of `Rules` likewise.
        contest_names: whether programs get the names that contest sites provide, if the reference does not set it;
            None: functions do, scripts do not.

    Raises:
        Malformed: the reference is not valid.
    """
    if not isinstance(reference, Mapping):
        raise Malformed("it is not a mapping")
    mode = reference.get("mode")
    if mode not in ("function", "stdin", "asserts"):
        raise Malformed(f"mode is {mode!r}, not function, asserts or stdin")
    entry = reference.get("entry_point")
    hidden = reference.get("hidden_tests") or []
    names = reference.get("contest_names", mode != "stdin" if contest_names is None else contest_names)
    if not isinstance(names, bool):
        raise Malformed(f"contest_names is {names!r}, not true or false")
    return Suite(
        tests=(_asserts(reference, entry),) if mode == "asserts" else _tests(reference.get("tests"), mode, entry, 1),
        hidden=_tests(hidden, "stdin" if mode == "stdin" else "function", entry, 0) if hidden else (),
        contest_names=names,
        limits=read_limits({**limits, **_mapping(reference, "limits")}),
        rules=read_rules({**compare, **_mapping(reference, "compare")}),
    )


def _mapping(reference: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    given = reference.get(name) or {}
    if not isinstance(given, Mapping):
        raise Malformed(f"{name} must be a mapping")
    return given


def read_limits(given: Mapping[str, Any]) -> Limits:
    """Limits by name; the others have their defaults.

    Raises:
        Malformed: an unknown name, or a limit that is not a positive number.
    """
    known = [field.name for field in fields(Limits)]
    for name, value in given.items():
        if name not in known:
            raise Malformed(f"limits has no {name!r}; it has {', '.join(known)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
            raise Malformed(f"limits.{name} is {value!r}, not a positive number")
    return Limits(**{name: float(value) for name, value in given.items()})


def read_rules(given: Mapping[str, Any]) -> Rules:
    """Rules of comparison by name; the others have their defaults.

    Raises:
        Malformed: an unknown name, or a value of the wrong kind.
    """
    default = asdict(Rules())
    for name, value in given.items():
        if name not in default:
            raise Malformed(f"compare has no {name!r}; it has {', '.join(default)}")
        switch = isinstance(default[name], bool)
        if switch != isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e300:
            raise Malformed(f"compare.{name} is {value!r}, not {'true or false' if switch else 'a number from 0'}")
    return Rules(**given)


def _tests(tests: Any, mode: str, entry: Any, least: int) -> tuple[Test, ...]:
    """The tests of a function or a script; at least `least` of them."""
    if not isinstance(tests, list | tuple) or not least <= len(tests) <= MAX_TESTS:
        raise Malformed(f"tests must be a list of {least} to {MAX_TESTS}")
    if not all(isinstance(test, Mapping) for test in tests):
        raise Malformed("a test is not a mapping")
    if mode == "stdin":
        return tuple(_script_test(test) for test in tests)
    _check_entry(entry)
    return tuple(_function_test(test, entry) for test in tests)


def _check_entry(entry: Any) -> None:
    if not isinstance(entry, str) or not _ENTRY.fullmatch(entry):
        raise Malformed("entry_point is missing" if entry is None else f"entry_point is {entry!r}, no function's name")


def _script_test(test: Mapping[str, Any]) -> Test:
    """One test of a script."""
    stdin, stdout = test.get("stdin", ""), test.get("stdout")
    if not isinstance(stdin, str) or not isinstance(stdout, str):
        raise Malformed("a test needs stdin and stdout as text")
    try:
        return Test({"mode": "stdin"}, stdout.encode(), stdin.encode())
    except UnicodeEncodeError as e:
        raise Malformed("a test's text is not Unicode") from e


def _function_test(test: Mapping[str, Any], entry: str) -> Test:
    """One call of a function, with the values that are right."""
    if not {"accepted", "accepted_py", "expected", "expected_py"} & set(test):
        raise Malformed("a test has no expected")
    several = _literal(test, "accepted")
    accepted = [_literal(test, "expected")] if several is None else several
    if not isinstance(accepted, list | tuple) or not accepted:
        raise Malformed("accepted must be a list of values any of which is right")
    args, kwargs = _literal(test, "args") or [], _literal(test, "kwargs") or {}
    if (
        not isinstance(args, list | tuple)
        or not isinstance(kwargs, dict)
        or not all(isinstance(k, str) for k in kwargs)
    ):
        raise Malformed("args must be a list and kwargs a mapping by name")
    try:
        request = {
            "mode": "function",
            "entry_point": entry,
            "args": [encode(arg) for arg in args],
            "kwargs": {name: encode(value) for name, value in kwargs.items()},
        }
        return Test(request, tuple(encode(value) for value in accepted))
    except BadValue as e:
        raise Malformed(f"a test holds {e}") from e


def _literal(test: Mapping[str, Any], name: str) -> Any:
    """test["expected"] as it is, or test["expected_py"] read as a Python literal."""
    if f"{name}_py" not in test:
        return test.get(name)
    try:
        return ast.literal_eval(test[f"{name}_py"])
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as e:
        raise Malformed(f"{name}_py is no Python literal") from e


def _asserts(reference: Mapping[str, Any], entry: Any) -> Test:
    """Test code as one test, which a second sandbox runs."""
    code = reference.get("test_code")
    if not isinstance(code, str) or not code.strip():
        raise Malformed("test_code is missing")
    if not isinstance(entry, str | None):
        raise Malformed(f"entry_point is {entry!r}, no function's name")
    try:
        top = ast.parse(code)
        free = _free_names(code)
        # HumanEval's tests define check(candidate) and leave the call to others.
        defines = any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in top.body)
        calls = any(isinstance(node, ast.Expr) and "check(" in ast.unparse(node) for node in top.body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        raise Malformed(f"test_code does not parse ({e})") from e
    if defines and not calls:
        _check_entry(entry)
    modules = sorted(free & _attribute_owners(top) & set(sys.stdlib_module_names) - {entry})
    request = {
        "mode": "tester",
        "test_code": code,
        "entry_point": entry,
        "call_check": defines and not calls,
        "modules": modules,
        "names": sorted(free - set(modules)),
    }
    return Test(request)


def _free_names(code: str) -> set[str]:
    """Names that test code uses and does not define: they are the candidate's, or modules.

    A helper that the tests need but do not define (so in three tasks of HumanEval) therefore counts as the program's,
    which could make it lie; rlkit's own mappings of data sets add such helpers to the test code.
    """
    used: set[str] = set()
    tables = [symtable.symtable(code, "tests", "exec")]
    own = {symbol.get_name() for symbol in tables[0].get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    while tables:
        table = tables.pop()
        tables += table.get_children()
        top = table.get_type() == "module"
        used |= {s.get_name() for s in table.get_symbols() if s.is_referenced() and (top or s.is_global())}
    return used - own - set(dir(builtins))


def _attribute_owners(tree: ast.Module) -> set[str]:
    """Names used as in `math.isclose`: data sets leave out the imports of standard modules."""
    return {n.value.id for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)}
