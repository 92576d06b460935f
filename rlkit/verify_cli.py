"""`rlkit verify`: judges answers from a file of JSON lines, without a model or a recipe."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlkit.command import Command, Family
from rlkit.errors import DataError, RlkitError, UsageError

if TYPE_CHECKING:
    from rlkit.verify.math import MathJudge

Row = dict[str, Any]


def read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """(line number, row) of every line that is not blank.

    Raises:
        DataError: the file cannot be read, or a line is no JSON object.
    """
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise DataError(f"{path}: is no file on the disk; it is read twice, so write what it gives to one first")
    try:
        lines = path.open("rb")
    except OSError as e:
        raise DataError(f"{path}: cannot be read ({e.strerror})") from e
    with lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, _row(path, number, line)


def _row(path: Path, number: int, line: bytes) -> Row:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as e:
        raise DataError(f"{path}:{number}: not JSON ({e.msg} at column {e.colno})") from e
    except (ValueError, RecursionError) as e:
        raise DataError(f"{path}:{number}: not JSON ({e})") from e
    if not isinstance(row, dict):
        raise DataError(f"{path}:{number}: not a JSON object")
    return row


def map_in_order(work: Callable[[Row], Row], rows: Iterable[Row], workers: int) -> Iterator[Row]:
    """work(row) for each row, in order, with a bounded number of rows in memory."""
    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future[Row]] = deque()
    try:
        for row in rows:
            waiting.append(pool.submit(work, row))
            if len(waiting) >= 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # After an error or Ctrl-C, what has not begun never does.
        pool.shutdown(cancel_futures=True)


def check_files(source: Path, out: Path) -> None:
    """Refuses an output that would overwrite the input.

    Raises:
        UsageError: they are one file.
    """
    if os.path.exists(source) and os.path.exists(out) and source.samefile(out):
        raise UsageError(f"--output {out} is the input: give another file")


def check_rows(source: Path, check: Callable[[Row, str], None]) -> None:
    """Reads a whole file before anything of it is judged; `check` gets each row and its file:line."""
    number = 0
    for number, row in read_rows(source):
        check(row, f"{source}:{number}")
    if not number:
        raise DataError(f"{source}: holds no rows")


def judge_file(source: Path, out: Path, judge: Callable[[Row], Row], workers: int) -> tuple[Counter[str], Row | None]:
    """Judges a file row by row into another; returns the verdicts' counts and the first row that was unscored."""
    counts: Counter[str] = Counter()
    unscored: Row | None = None
    rows = (row for _, row in read_rows(source))
    try:
        with out.open("w", encoding="utf-8") as file:
            for judged in map_in_order(judge, rows, workers):
                file.write(json.dumps(judged) + "\n")
                counts[judged["verdict"]] += 1
                unscored = unscored or (judged if judged["verdict"] == "unscored" else None)
    except OSError as e:
        raise RlkitError(f"{out}: cannot be written ({e.strerror})") from e
    return counts, unscored


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
    source = Path(args.input)
    check_files(source, Path(args.output))
    check_rows(source, _check_code_row)
    tier = _open_tier(args.tier)
    print(f"programs are isolated by: {tier}", file=sys.stderr)
    counts, unscored = judge_file(
        source, Path(args.output), lambda row: _judge_code_row(row, tier, args.packages), args.workers
    )
    print(f"{counts['pass']} of {counts.total()} programs pass", file=sys.stderr)
    if unscored:
        raise RlkitError(
            f"{counts['unscored']} of {counts.total()} rows could not be judged; "
            f"the first, {unscored['id']}: {unscored['detail']}"
        )
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


def _check_code_row(row: Row, where: str) -> None:
    from rlkit.data.code_shapes import reshape
    from rlkit.data.rows import RowError
    from rlkit.verify.code_tests import Malformed, read_reference

    if not isinstance(row.get("program"), str):
        raise DataError(f"{where}: program is missing, or no text")
    try:
        read_reference(reshape(row), {}, {})
    except (Malformed, RowError) as e:
        raise DataError(f"{where}: {e}") from e


def _judge_code_row(row: Row, tier: Any, packages: list[str]) -> Row:
    from rlkit.data.cases import turn_asserts
    from rlkit.data.code_shapes import reshape
    from rlkit.verify.code import judge_code

    verdict = judge_code(turn_asserts(reshape(row)), row["program"], tier=tier, packages=packages)
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
        source = Path(args.input)
        check_files(source, Path(args.output))
        check_rows(source, _check_math_row)
        counts, _ = judge_file(source, Path(args.output), lambda row: _judge_math_row(row, judge), args.workers)
        print(", ".join(f"{counts[name]} {name}" for name in ("correct", "wrong", "unscored")), file=sys.stderr)
        return 0
    finally:
        judge.close()


def _check_math_row(row: Row, where: str) -> None:
    if not isinstance(row.get("gold"), str):
        raise DataError(f"{where}: gold is missing, or no text")
    if not isinstance(row.get("answer", row.get("response")), str) or ("answer" in row) == ("response" in row):
        raise DataError(f"{where}: either answer or response is needed, as text")
    choices = row.get("choices", {})
    if not isinstance(choices, dict) or not all(isinstance(text, str) for text in choices.values()):
        raise DataError(f"{where}: choices must be an object of letters and texts")
    tolerance = row.get("tolerance", 0.0)
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance < 1:
        raise DataError(f"{where}: tolerance must be a number from 0, below 1")


def _judge_math_row(row: Row, judge: MathJudge) -> Row:
    settings = {"choices": row.get("choices"), "tolerance": row.get("tolerance")}
    if "answer" in row:
        verdict = judge.judge(row["gold"], row["answer"], **settings)
    else:
        verdict = judge.judge_response(row["gold"], row["response"], **settings)
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
