"""`rlkit verify`: judges files of answers and of programs, row by row."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlkit.data.cases import turn_asserts
from rlkit.data.code_shapes import reshape
from rlkit.data.rows import RowError
from rlkit.errors import RlkitError
from rlkit.records import Verdict
from rlkit.scoring.kit.judged_rows import Row, RowJudge, check_file, judge_file, raise_if_failed
from rlkit.verify.code.code_judge import judge_code
from rlkit.verify.code.code_tests import Malformed, read_reference
from rlkit.verify.math.math_judge import MathJudge
from rlkit.verify.sandbox.job import SandboxError
from rlkit.verify.sandbox.lease import lease


def verify_code_file(source: Path, out: Path, *, tier: Any, packages: Sequence[str], workers: int) -> None:
    """Judges every row of a file of programs; prints the sandbox tier and how many programs pass.

    Raises:
        RlkitError: the file cannot be read or written, no sandbox works here, or some rows could not be judged.
    """
    check_file(source, out, _code_fault)
    tier = _open_tier(tier)
    print(f"programs are isolated by: {tier}", file=sys.stderr)
    judge = RowJudge(
        _code_fault,
        lambda row: _judge_code_row(row, tier, packages),
        lambda row, why: _code_row(row, Verdict("unscored", why, tier=tier)),
        lambda judged: judged["verdict"] == "unscored",
    )
    counts, failed = judge_file(source, out, judge, workers)
    print(f"{counts['pass']} of {counts.total()} programs pass", file=sys.stderr)
    raise_if_failed(source, counts.total(), failed)


def _open_tier(tier: Any) -> str:
    """The sandbox tier that programs will run in.

    Raises:
        RlkitError: no tier works on this machine; the message gives the reason.
    """
    try:
        with lease(tier) as sandbox:
            return sandbox.tier
    except SandboxError as e:
        raise RlkitError(f"no sandbox: {e}") from e


def _code_fault(row: Row) -> str:
    """Why a row of `verify code` cannot be judged; "" if it can."""
    if not isinstance(row.get("program"), str):
        return "program is missing, or not a string"
    try:
        read_reference(reshape(row), {}, {})
    except (Malformed, RowError) as e:
        return str(e)
    return ""


def _judge_code_row(row: Row, tier: Any, packages: Sequence[str]) -> Row:
    return _code_row(row, judge_code(turn_asserts(reshape(row)), row["program"], tier=tier, packages=packages))


def _code_row(row: Row, verdict: Verdict) -> Row:
    judged: dict[str, Any] = {
        "id": row.get("id"),
        "verdict": verdict.verdict,
        "passed": verdict.passed,
        "total": verdict.total,
        "tests": [dict(test) for test in verdict.tests],
        "seconds": verdict.seconds,
        "cpu_seconds": verdict.cpu_seconds,
        "tier": verdict.tier,
    }
    if verdict.verdict == "unscored":
        judged["detail"] = verdict.detail
    if verdict.hidden_total:
        judged["hidden"] = {"passed": verdict.hidden_passed, "total": verdict.hidden_total}
    return judged


def verify_math_file(source: Path, out: Path, judge: MathJudge, workers: int) -> None:
    """Judges every row of a file of answers; prints how many are correct.

    Raises:
        RlkitError: the file cannot be read or written, or some rows could not be judged; the others are written.
    """
    check_file(source, out, _math_fault)
    row_judge = RowJudge(
        _math_fault,
        lambda row: judge_math_row(row, judge),
        lambda row, why: _math_row(row, Verdict("unscored", why)),
        # A gold answer that cannot be read is a finding about the data, not a failure of the judge.
        lambda judged: judged["verdict"] == "unscored" and not judged["detail"].startswith("the gold"),
    )
    counts, failed = judge_file(source, out, row_judge, workers)
    print(", ".join(f"{counts[name]} {name}" for name in ("correct", "wrong", "unscored")), file=sys.stderr)
    raise_if_failed(source, counts.total(), failed)


def _math_fault(row: Row) -> str:
    """Why a row of `verify math` cannot be judged; "" if it can."""
    if not isinstance(row.get("gold"), str):
        return "gold is missing, or not a string"
    given = [row[key] for key in ("answer", "response") if row.get(key) is not None]
    if len(given) != 1 or not isinstance(given[0], str):
        return "exactly one of answer and response is needed, as a string"
    choices = row.get("choices") or {}
    if not isinstance(choices, dict) or not all(isinstance(text, str) for text in choices.values()):
        return "choices must be an object that maps letters to strings"
    tolerance = row.get("tolerance") or 0.0
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance < 1:
        return "tolerance must be a number >= 0 and < 1"
    return ""


def judge_math_row(row: Row, judge: MathJudge) -> Row:
    """Judges one row; returns the output row of `rlkit verify math`."""
    settings = {"choices": row.get("choices"), "tolerance": row.get("tolerance")}
    if row.get("answer") is not None:
        return _math_row(row, judge.judge(row["gold"], row["answer"], **settings))
    return _math_row(row, judge.judge_response(row["gold"], row["response"], **settings))


def _math_row(row: Row, verdict: Verdict) -> Row:
    return {
        "id": row.get("id"),
        "verdict": verdict.verdict,
        "detail": verdict.detail,
        "seconds": round(verdict.seconds, 6),
    }
