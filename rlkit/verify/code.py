"""The code judge: runs a program against tests, each in a process of its own, and compares outside of it.

In `function` and `stdin` mode neither the expected value nor the comparison is ever in the candidate's process. In
`asserts` mode the test code must run beside the candidate; a random token, written after the last assert, shows that
it came to its end. The candidate shares that process: a program that walks the interpreter's frames could find it.

What this version does not contain: the network, reading files that the user 65534 (or, when not started as root, the
same user) can read, files left elsewhere than in the test's folder, and the sum of the sizes of files written.
"""

from __future__ import annotations

import ast
import json
import secrets
import signal
import time
from collections.abc import Mapping
from typing import Any

from rlkit.records import Verdict
from rlkit.verify.sandbox.client import SandboxError, run_in_sandbox
from rlkit.verify.sandbox.values import BadValue, decode, encode

LIMITS = {"wall_s": 4.0, "cpu_s": 4.0, "memory_mb": 512.0, "output_kb": 1024.0, "disk_mb": 256.0, "processes": 64.0}
"""Per test: seconds of wall clock and of CPU, MiB of address space, KiB of output, MiB a file, processes."""
_MAX_PROGRAM_CHARS = 200_000
_MAX_TESTS = 1000


class _Malformed(Exception):
    """The reference cannot be used."""


def judge_code(reference: Mapping[str, Any], program: str) -> Verdict:
    """Runs `program` against the tests of `reference` ({"mode", "entry_point", "tests" | "test_code", "limits"}).

    Returns the first failing test's kind ("fail", "timeout", "memory", "output", "killed") or "pass"; "unscored" where
    the reference is malformed or the sandbox cannot run. After a timeout the remaining tests are not run and count as
    failed. Safe to call from several threads.
    """
    start = time.perf_counter()
    try:
        requests, expected = _requests(reference)
    except (_Malformed, BadValue) as e:
        return Verdict("unscored", f"the reference is malformed: {e}", time.perf_counter() - start)
    tests: list[dict[str, Any]] = []
    for request, want in zip(requests, expected, strict=True):
        if tests and tests[-1]["verdict"] == "timeout":
            tests.append({"verdict": "timeout", "seconds": 0.0, "detail": "not run after a timeout"})
            continue
        try:
            tests.append(_judge_test(request, want, program))
        except SandboxError as e:
            return Verdict("unscored", str(e), time.perf_counter() - start)
    failed = next((test for test in tests if test["verdict"] != "pass"), None)
    return Verdict(
        verdict=failed["verdict"] if failed else "pass",
        detail=failed["detail"] if failed else "",
        seconds=time.perf_counter() - start,
        passed=sum(test["verdict"] == "pass" for test in tests),
        total=len(tests),
        tests=tuple(tests),
    )


def _requests(reference: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[Any]]:
    """What goes into the sandbox and what is expected to come out, a test each."""
    if not isinstance(reference, Mapping):
        raise _Malformed("it is not a mapping")
    mode = reference.get("mode")
    base = {"mode": mode, "limits": _limits(reference.get("limits") or {})}
    entry = reference.get("entry_point")
    if mode == "asserts":
        return [_asserts_request(base, reference.get("test_code"), entry)], [None]
    tests = reference.get("tests")
    if mode not in ("function", "stdin"):
        raise _Malformed(f"mode is {mode!r}, not function, asserts or stdin")
    if not isinstance(tests, list | tuple) or not 0 < len(tests) <= _MAX_TESTS:
        raise _Malformed(f"tests must be a list of 1 to {_MAX_TESTS}")
    if not all(isinstance(test, Mapping) for test in tests):
        raise _Malformed("a test is not a mapping")
    if mode == "stdin":
        if not all(isinstance(t.get("stdin", ""), str) and isinstance(t.get("stdout"), str) for t in tests):
            raise _Malformed("a test needs stdin and stdout as text")
        return [{**base, "stdin": t.get("stdin", "")} for t in tests], [t["stdout"] for t in tests]
    if not isinstance(entry, str) or not entry.isidentifier():
        raise _Malformed("entry_point is missing")
    return (
        [{**base, "entry_point": entry, **_arguments(t)} for t in tests],
        [_literal(t, "expected", required=True) for t in tests],
    )


def _asserts_request(base: dict[str, Any], test_code: Any, entry: Any) -> dict[str, Any]:
    if not isinstance(test_code, str) or not test_code.strip():
        raise _Malformed("test_code is missing")
    try:
        top = ast.parse(test_code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        raise _Malformed(f"test_code does not parse ({e})") from e
    # HumanEval's tests define check(candidate) and leave the call to the harness.
    defines = any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in top)
    calls = any(isinstance(node, ast.Expr) and "check(" in ast.unparse(node) for node in top)
    if defines and not calls and not isinstance(entry, str):
        raise _Malformed("entry_point is missing")
    return {**base, "test_code": test_code, "entry_point": entry, "call_check": defines and not calls}


def _limits(given: Any) -> dict[str, float]:
    if not isinstance(given, Mapping) or set(given) - set(LIMITS):
        raise _Malformed(f"limits must be a mapping of {', '.join(LIMITS)}")
    if not all(isinstance(value, int | float) and 0 < value < 1e6 for value in given.values()):
        raise _Malformed("a limit is not a positive number")
    return {**LIMITS, **{name: float(value) for name, value in given.items()}}


def _literal(test: Mapping[str, Any], name: str, required: bool = False) -> Any:
    """test["expected"] as it is, or test["expected_py"] read as a Python literal."""
    if f"{name}_py" in test:
        try:
            return ast.literal_eval(test[f"{name}_py"])
        except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as e:
            raise _Malformed(f"{name}_py is no Python literal") from e
    if required and name not in test:
        raise _Malformed(f"a test has no {name}")
    return test.get(name)


def _arguments(test: Mapping[str, Any]) -> dict[str, Any]:
    args, kwargs = _literal(test, "args"), _literal(test, "kwargs")
    if not isinstance(args, list | tuple | None) or not isinstance(kwargs, dict | None):
        raise _Malformed("args must be a list and kwargs a mapping")
    return {
        "args": [encode(arg) for arg in args or ()],
        "kwargs": [[encode(k), encode(v)] for k, v in (kwargs or {}).items()],
    }


def _judge_test(request: dict[str, Any], want: Any, program: str) -> dict[str, Any]:
    if len(program) > _MAX_PROGRAM_CHARS or "\0" in program:
        return {"verdict": "fail", "seconds": 0.0, "detail": "the program is too long or holds a NUL"}
    token = secrets.token_hex(16)
    answer = run_in_sandbox({**request, "program": program, "token": token})
    verdict, detail = _stopped(answer, request["limits"]) or _finished(request["mode"], answer, want, token)
    return {"verdict": verdict, "seconds": answer["seconds"], "detail": detail}


def _stopped(answer: dict[str, Any], limits: dict[str, float]) -> tuple[str, str] | None:
    """The verdict on a test that was ended from outside or ended itself without a result; None where it has one."""
    status = answer["status"]
    if status == "timeout":
        return "timeout", f"no result after {limits['wall_s']:g} s"
    if status == "output":
        return "output", f"more than {limits['output_kb']:g} KiB of output"
    if status == "killed":
        return "killed", "the program took its sandbox down"
    if status == "frame":
        return None
    number = answer["code"] & 0x7F
    if number == 0:
        return "fail", f"exited with status {answer['code'] >> 8} before it returned"
    if number == signal.SIGXCPU or (number == signal.SIGKILL and answer["cpu"] >= limits["cpu_s"]):
        return "timeout", f"more than {limits['cpu_s']:g} s of CPU"
    return "killed", f"ended by signal {number}"


def _finished(mode: str, answer: dict[str, Any], want: Any, token: str) -> tuple[str, str]:
    """The verdict on a frame; the candidate may have written it, so nothing in it is trusted."""
    try:
        frame = json.loads(answer["frame"])
        status, detail = frame["status"], str(frame.get("detail", ""))[:300]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return "fail", "a result that cannot be read"
    if status == "memory" or detail.startswith("MemoryError"):
        return "memory", "out of memory"
    if status == "error":
        return "fail", detail
    if mode == "asserts":
        passed = status == "done" and frame.get("token") == token
        return ("pass", "") if passed else ("fail", "the tests did not come to their end")
    if mode == "stdin":
        if status != "done":
            return "fail", "a result that cannot be read"
        same = _lines(answer["stdout"]) == _lines(want)
        return ("pass", "") if same else ("fail", f"printed {_short(answer['stdout'])}, not {_short(want)}")
    try:
        got = decode(frame.get("value"))
    except BadValue:
        return "fail", "a result that cannot be read"
    return ("pass", "") if got == want else ("fail", f"returned {_short(got)}, not {_short(want)}")


def _lines(text: str) -> list[str]:
    """Lines without trailing blanks, and without empty ones at the end."""
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer too long to print
        return "a huge number"
    return text if len(text) <= 80 else text[:77] + "..."
