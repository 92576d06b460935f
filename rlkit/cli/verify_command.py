"""`rlkit verify`: judges answers from a JSON-lines file, without a model or a recipe."""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path

from rlkit.cli.command import Command, CommandFamily
from rlkit.errors import DataError, UsageError


def _configure_files(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument("--input", metavar="IN.jsonl", required=required, help="one JSON object per line")
    parser.add_argument(
        "--output", metavar="OUT.jsonl", required=required, help="the verdicts, one line per input line"
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="answers judged in parallel"
    )


def _configure_code(parser: argparse.ArgumentParser) -> None:
    _configure_files(parser, required=True)
    parser.add_argument(
        "--tier",
        choices=("auto", "namespaces", "landlock", "wasm", "unsafe_none"),
        default="auto",
        help="how programs are isolated (default: the strongest tier that works here; unsafe_none: not at all)",
    )
    parser.add_argument("--packages", nargs="*", default=[], metavar="NAME", help="packages that programs may import")


def _verify_code(args: argparse.Namespace) -> int:
    if args.workers < 1:
        raise UsageError(f"--workers {args.workers} must be at least 1")
    from rlkit.scoring.kit.verify_files import verify_code_file

    verify_code_file(Path(args.input), Path(args.output), tier=args.tier, packages=args.packages, workers=args.workers)
    return 0


def _configure_math(parser: argparse.ArgumentParser) -> None:
    _configure_files(parser, required=False)
    parser.add_argument("--gold", metavar="G", help="the reference answer, to judge one answer instead of --input")
    parser.add_argument("--answer", metavar="A", help="a bare answer")
    parser.add_argument("--response", metavar="R", help="a whole reply, from which the final answer is extracted")
    parser.add_argument("--timeout", type=float, default=5.0, metavar="S", help="deadline for one row, in seconds")
    parser.add_argument(
        "--refuse-unevaluated", action="store_true", help="reject answers with unevaluated sums or integrals"
    )
    parser.add_argument(
        "--no-last-number", action="store_true", help="do not take the last number of a reply that marks no answer"
    )


def _verify_math(args: argparse.Namespace) -> int:
    from rlkit.scoring.kit.verify_files import judge_math_row, verify_math_file
    from rlkit.verify.math.math_judge import MathJudge

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
            print(json.dumps(judge_math_row(row, judge), ensure_ascii=False))
        else:
            verify_math_file(Path(args.input), Path(args.output), judge, args.workers)
        return 0
    finally:
        judge.close()


VERIFY = CommandFamily(
    "Judge answers from a file, without a model or a recipe.",
    {
        "math": Command("Judge answers against references, or one answer.", _configure_math, _verify_math),
        "code": Command("Judge programs by running their tests in a sandbox.", _configure_code, _verify_code),
    },
)
