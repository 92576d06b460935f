"""`rlkit verify`: judges answers from a file of JSON lines, without a model or a recipe."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlkit.command import Command, Family
from rlkit.errors import DataError, RlkitError, UsageError
from rlkit.judged_rows import Row, RowJudge, check_file, judge_file, refuse_failed
from rlkit.records import Verdict

if TYPE_CHECKING:
    from rlkit.verify.math import MathJudge


def _configure_files(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument("--input", metavar="IN.jsonl", required=required, help="a JSON object a line")
    parser.add_argument(
        "--output", metavar="OUT.jsonl", required=required, help="the verdicts, a line for each line of the input"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="answers judged at once")


def _configure_code(parser: argparse.ArgumentParser) -> None:
    _configure_files(parser, required=True)
    parser.add_argument(
        "--tier",
        choices=("auto", "namespaces", "landlock", "wasm", "unsafe_none"),
        default="auto",
        help="how programs are isolated (default: the strongest that holds here; unsafe_none: not at all)",
    )
    parser.add_argument("--packages", nargs="*", default=[], metavar="NAME", help="packages that programs may import")


def _verify_code(args: argparse.Namespace) -> int:
    if args.workers < 1:
        raise UsageError(f"--workers {args.workers} must be at least 1")
    source, out = Path(args.input), Path(args.output)
    check_file(source, out, _code_fault)
    tier = _open_tier(args.tier)
    print(f"programs are isolated by: {tier}", file=sys.stderr)
    judge = RowJudge(
        _code_fault,
        lambda row: _judge_code_row(row, tier, args.packages),
        lambda row, why: _code_row(row, Verdict("unscored", why, tier=tier)),
        lambda judged: judged["verdict"] == "unscored",
    )
    counts, failed = judge_file(source, out, judge, args.workers)
    print(f"{counts['pass']} of {counts.total()} programs pass", file=sys.stderr)
    refuse_failed(source, counts.total(), failed)
    return 0


def _open_tier(tier: Any) -> str:
    """The tier that programs will run in.

    Raises:
        RlkitError: none holds here; the message says why.
    """
    from rlkit.verify.sandbox.client import lease
    from rlkit.verify.sandbox.job import SandboxError

    try:
        with lease(tier) as sandbox:
            return sandbox.tier
    except SandboxError as e:
        raise RlkitError(f"no sandbox: {e}") from e


def _code_fault(row: Row) -> str:
    """What is wrong with a row of `verify code`; "" where it can be judged."""
    from rlkit.data.code_shapes import reshape
    from rlkit.data.rows import RowError
    from rlkit.verify.code_tests import Malformed, read_reference

    if not isinstance(row.get("program"), str):
        return "program is missing, or no text"
    try:
        read_reference(reshape(row), {}, {})
    except (Malformed, RowError) as e:
        return str(e)
    return ""


def _judge_code_row(row: Row, tier: Any, packages: list[str]) -> Row:
    from rlkit.data.cases import turn_asserts
    from rlkit.data.code_shapes import reshape
    from rlkit.verify.code import judge_code

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


def _configure_math(parser: argparse.ArgumentParser) -> None:
    _configure_files(parser, required=False)
    parser.add_argument("--gold", metavar="G", help="the reference of one answer, in place of --input")
    parser.add_argument("--answer", metavar="A", help="a bare answer")
    parser.add_argument("--response", metavar="R", help="a whole reply: its final answer is extracted first")
    parser.add_argument("--timeout", type=float, default=5.0, metavar="S", help="longest time for one row, in seconds")
    parser.add_argument(
        "--refuse-unevaluated", action="store_true", help="an answer may not leave a sum or integral open"
    )
    parser.add_argument("--no-last-number", action="store_true", help="a reply that marks no answer has none")


def _verify_math(args: argparse.Namespace) -> int:
    from rlkit.verify.math import MathJudge

    if args.workers < 1 or not 0 < args.timeout < math.inf:
        raise DataError("--workers must be at least 1 and --timeout above 0")
    single = args.gold is not None
    if single and ((args.answer is None) == (args.response is None) or args.input or args.output):
        raise DataError("rlkit verify math --gold needs either --answer or --response, and no --input or --output")
    if not single and (args.input is None or args.output is None):
        raise DataError("rlkit verify math needs --gold with --answer or --response, or --input and --output")
    judge = MathJudge(
        args.timeout,
        num_workers=args.workers,
        unevaluated=not args.refuse_unevaluated,
        last_number=not args.no_last_number,
    )
    try:
        if single:
            row = {"gold": args.gold, **{k: v for k in ("answer", "response") if (v := getattr(args, k)) is not None}}
            print(json.dumps(_judge_math_row(row, judge), ensure_ascii=False))
            return 0
        return _verify_math_file(Path(args.input), Path(args.output), judge, args.workers)
    finally:
        judge.close()


def _verify_math_file(source: Path, out: Path, judge: MathJudge, workers: int) -> int:
    check_file(source, out, _math_fault)
    row_judge = RowJudge(
        _math_fault,
        lambda row: _judge_math_row(row, judge),
        lambda row, why: _math_row(row, Verdict("unscored", why)),
        # A gold that cannot be read is a finding; a judge that could not run is none.
        lambda judged: judged["verdict"] == "unscored" and not judged["detail"].startswith("the gold"),
    )
    counts, failed = judge_file(source, out, row_judge, workers)
    print(", ".join(f"{counts[name]} {name}" for name in ("correct", "wrong", "unscored")), file=sys.stderr)
    refuse_failed(source, counts.total(), failed)
    return 0


def _math_fault(row: Row) -> str:
    """What is wrong with a row of `verify math`; "" where it can be judged."""
    if not isinstance(row.get("gold"), str):
        return "gold is missing, or no text"
    given = [row[key] for key in ("answer", "response") if row.get(key) is not None]
    if len(given) != 1 or not isinstance(given[0], str):
        return "either answer or response is needed, as text"
    choices = row.get("choices") or {}
    if not isinstance(choices, dict) or not all(isinstance(text, str) for text in choices.values()):
        return "choices must be an object of letters and texts"
    tolerance = row.get("tolerance") or 0.0
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance < 1:
        return "tolerance must be a number from 0, below 1"
    return ""


def _judge_math_row(row: Row, judge: MathJudge) -> Row:
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


VERIFY = Family(
    "Judge answers from a file, without a model or a recipe.",
    {
        "math": Command("Judge answers against references, or one answer.", _configure_math, _verify_math),
        "code": Command("Judge programs by running their tests in a sandbox.", _configure_code, _verify_code),
    },
)
