"""The code judge: runs a program against tests, each in a sandboxed process of its own, and compares the results here.

Expected values, other tests and the comparison are never in the candidate's process, and only data comes out of it.
Test code that cannot be read as data runs in a second sandbox and calls the candidate through this process.
`rlkit.verify.code.code_compare` decides when a result is the expected one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rlkit.records import Verdict
from rlkit.verify.code.code_run import Result, Sandboxed, run_test
from rlkit.verify.code.code_tests import Malformed, Suite, Test, read_reference
from rlkit.verify.sandbox.job import SandboxError, Tier

_MAX_PROGRAM_CHARS = 200_000
"""Longer programs are not run."""


def judge_code(
    reference: Any,
    program: str,
    *,
    tier: Tier | Literal["auto"] = "auto",
    packages: Sequence[str] = (),
    limits: Mapping[str, float] | None = None,
    compare: Mapping[str, Any] | None = None,
    contest_names: bool | None = None,
    stop_at_failure: bool = False,
) -> Verdict:
    """Runs `program` against the tests of `reference`. Safe to call from several threads and processes.

    Returns the first failing test's verdict ("fail", "timeout", "memory", "output", "killed") or "pass"; "unscored"
    where the reference is malformed or no sandbox runs here. After a timeout the remaining tests are not run and count
    as failed. Hidden tests are run after the others, by the same rules, and counted apart.

    Args:
        reference: {"mode", "entry_point", "tests" | "test_code", "hidden_tests", "limits", "compare", "contest_names"}.
        program: Python source.
        tier: how it is isolated; "auto" takes the strongest that holds here.
        packages: installed packages that the program may import besides the standard library.
        limits: defaults of the limits that the reference does not name (fields of `Limits`).
        compare: defaults of the rules of comparison likewise (fields of `Rules`).
        contest_names: whether programs find the names that contest sites provide without an import, where the
            reference does not say; None: functions do, scripts do not.
        stop_at_failure: do not run what follows the first failing test: enough where only all or nothing counts.
    """
    start = time.perf_counter()
    place = Sandboxed(tier, tuple(packages))
    try:
        suite = read_reference(reference, limits or {}, compare or {}, contest_names)
        tests, hidden = _run_all(suite, program, place, stop_at_failure)
    except Malformed as e:
        return Verdict("unscored", f"the reference is malformed: {e}", time.perf_counter() - start)
    except SandboxError as e:
        return Verdict("unscored", f"no sandbox ran: {e}", time.perf_counter() - start)
    failed = next((test for test in tests if test.verdict != "pass"), None)
    return Verdict(
        verdict=failed.verdict if failed else "pass",
        detail=failed.detail if failed else "",
        seconds=time.perf_counter() - start,
        passed=_passed(tests),
        total=len(tests),
        tests=tuple(
            {"verdict": t.verdict, "seconds": t.seconds, "cpu_seconds": t.cpu_seconds, "detail": t.detail}
            for t in tests
        ),
        cpu_seconds=math.fsum(test.cpu_seconds for test in tests),
        hidden_passed=_passed(hidden),
        hidden_total=len(hidden),
        tier=tests[0].tier,
    )


def _passed(results: Sequence[Result]) -> int:
    return sum(result.verdict == "pass" for result in results)


def _run_all(suite: Suite, program: str, place: Sandboxed, stop_at_failure: bool) -> tuple[list[Result], list[Result]]:
    """The results of the tests and of the hidden ones, in order."""
    results: list[Result] = []
    skipped: Result | None = None
    if len(program) > _MAX_PROGRAM_CHARS or "\0" in program:
        skipped = Result("fail", "the program is too long or holds a NUL")
    for test in (*suite.tests, *suite.hidden):
        result = skipped or _run_twice(test, program, suite, place)
        results.append(result)
        if skipped is None and result.verdict == "timeout":
            # A thousand tests of four seconds each would delay all other samples.
            skipped = Result("timeout", "not run after a timeout")
        elif skipped is None and stop_at_failure and result.verdict != "pass":
            skipped = Result(result.verdict, "not run after a failure")
    return results[: len(suite.tests)], results[len(suite.tests) :]


def _run_twice(test: Test, program: str, suite: Suite, place: Sandboxed) -> Result:
    """Runs a test; once more in a fresh sandbox where the first one broke, which need not be the program's fault."""
    try:
        return run_test(test, program, suite, place)
    except SandboxError:
        return run_test(test, program, suite, place)
