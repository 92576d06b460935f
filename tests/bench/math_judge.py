"""Right verdicts and rows a second on one core: rlkit's math judge beside math-verify, on the same ordinary rows.

    python tests/bench/math_judge.py [--runs 3] [--memory-rows 100000]

Rows: every MATH-500 and GSM8K gold against itself rewritten and against a wrong answer made from it (labels known by
construction); GSM8K solutions as replies to their own and to another problem; real Qwen2.5-Math replies with their
labels. Each run is a fresh process pinned, with its workers, to one core; the cache is off; start-up is not counted.
Data: RLKIT_DATA_DIR, default ../shared/data. Then rows that never repeat go through one judge with its cache on, and
the resident memory of the process and its workers is read before and after.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

DATA = Path(os.environ.get("RLKIT_DATA_DIR", "../shared/data"))
INTEGER = re.compile(r"-?\d+")
FRACTION = re.compile(r"(-?)\\d?frac\{(\d+)\}\{(\d+)\}")
WARM_UP_ROWS = 50_000
WITHOUT_DIGITS = {
    r"\text{Evelyn}": "Navin",
    r"\text{Navin}": "Evelyn",
    r"\text{(B)}": "C",
    r"\text{(C)}": "E",
    r"\text{(E)}": "B",
    r"\text{east}": "west",
    r"\text{ellipse}": "circle",
    r"\text{even}": "odd",
}
"""Wrong answers for golds made of words."""
GARBLED_GOLDS = {"4:30p.."}
"""References that the Qwen file holds broken: their rows have no true label."""
MISLABELLED = ("10{,}000", "10000")
"""A gold of the Qwen file and the answer of the reply that it counts as wrong all the same."""


class Row(NamedTuple):
    """One row to judge."""

    kind: str
    """The set of rows it belongs to."""
    gold: str
    text: str
    """A bare answer or a whole reply."""
    is_reply: bool
    right: bool
    """The label."""


def read_lines(name: str) -> list[dict]:
    """The rows of a JSON-lines file in the data folder."""
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def rewritten(gold: str, turn: int) -> str:
    """The same answer in another usual spelling; `turn` picks which."""
    if INTEGER.fullmatch(gold):
        n = int(gold)
        forms = [f"{n:,}", f"{n}.0", f"${n}$", rf"\frac{{{2 * n}}}{{2}}", f"x = {n}", f"{n:,}".replace(",", "{,}")]
        return forms[turn % len(forms)]
    if match := FRACTION.fullmatch(gold):
        sign, top, bottom = match[1], int(match[2]), int(match[3])
        forms = [
            f"{sign}{top}/{bottom}",
            rf"{sign}\dfrac{{{top}}}{{{bottom}}}",
            rf"{sign}\frac{{{3 * top}}}{{{3 * bottom}}}",
        ]
        value = Fraction(top, bottom)
        if Fraction(str(float(value))) == value:
            forms.append(f"{sign}{float(value)}")
        return forms[turn % len(forms)]
    forms = [
        f"${gold}$",
        gold.replace(r"\frac", r"\dfrac").replace(r"\ddfrac", r"\dfrac"),
        gold.replace(r"\left", "").replace(r"\right", ""),
        rf"\displaystyle {gold}",
        gold.replace("+", " + ").replace(r"\,", ""),
    ]
    return forms[turn % len(forms)]


def perturbed(gold: str, turn: int) -> str:
    """A wrong answer that looks like the gold: a neighbour, a factor of ten, the other sign, another word."""
    if INTEGER.fullmatch(gold):
        n = int(gold)
        return str([n + 1, n - 1, 10 * n + 10, -n - 1][turn % 4])
    if gold in WITHOUT_DIGITS:
        return WITHOUT_DIGITS[gold]
    if not re.search(r"\d", gold):
        return f"2{gold}"
    return re.sub(r"\d+", lambda digits: str(int(digits[0]) + 1), gold, count=1)


def ordinary_rows() -> list[Row]:
    """Every row with its label, in a fixed random order."""
    rows = []
    math_golds = [row["answer"] for row in read_lines("math500_test.jsonl")]
    solutions = [row["answer"] for row in read_lines("gsm8k_test.jsonl")]
    gsm_golds = [solution.split("####")[1].strip() for solution in solutions]
    for kind, golds in (("MATH-500 answers", math_golds), ("GSM8K answers", gsm_golds)):
        for turn, gold in enumerate(golds):
            plain = gold.replace(",", "") if kind.startswith("GSM8K") else gold
            rows.append(Row(kind, gold, rewritten(plain, turn), False, True))
            rows.append(Row(kind, gold, perturbed(plain, turn), False, False))
    for i, (gold, solution) in enumerate(zip(gsm_golds, solutions, strict=True)):
        rows.append(Row("GSM8K replies", gold, solution, True, True))
        other = (i + 1) % len(solutions)
        if gsm_golds[other].replace(",", "") != gold.replace(",", ""):
            rows.append(Row("GSM8K replies", gold, solutions[other], True, False))
    for row in read_lines("qwen_math_cot_100x8_scored.jsonl"):
        if row["gt"] in GARBLED_GOLDS:
            continue
        for reply, answer, label in zip(row["code"], row["pred"], row["score"], strict=True):
            rows.append(Row("Qwen replies", row["gt"], reply, True, label or (row["gt"], answer) == MISLABELLED))
    return random.Random(1).sample(rows, len(rows))


def our_judge() -> Callable[[Row], bool]:
    """rlkit's judge with one warm worker and no cache."""
    from rlkit.verify.math.math_judge import MathJudge

    judge = MathJudge(cache_rows=0)
    judge.judge(r"\sqrt{2}", "x")

    def judged(row: Row) -> bool:
        found = judge.judge_response(row.gold, row.text) if row.is_reply else judge.judge(row.gold, row.text)
        return found.verdict == "correct"

    return judged


def their_judge() -> Callable[[Row], bool]:
    """math-verify as its manual calls it; bare answers go in as a box, the form that it reads best."""
    from math_verify import parse, verify

    logging.disable(logging.CRITICAL)

    def judged(row: Row) -> bool:
        gold = parse(rf"\boxed{{{row.gold}}}")
        answer = parse(row.text if row.is_reply else rf"\boxed{{{row.text}}}")
        return bool(verify(gold, answer))

    judged(Row("", "x+1", "1+x", False, True))
    return judged


def measure(judged: Callable[[Row], bool], rows: list[Row]) -> dict:
    """{"seconds": [of each row], "right": [whether each verdict is its label]}."""
    seconds, right = [], []
    for row in rows:
        start = time.perf_counter()
        verdict = judged(row)
        seconds.append(time.perf_counter() - start)
        right.append(verdict == row.right)
    return {"seconds": seconds, "right": right}


def fresh_rows(count: int) -> Iterator[tuple[str, str]]:
    """Ordinary (gold, answer) pairs that never repeat: a number in both is drawn anew."""
    chance = random.Random(2)
    rows = [row for row in ordinary_rows() if not row.is_reply and re.search(r"\d", row.gold)]
    for i in range(count):
        row = rows[i % len(rows)]
        digits = str(chance.randrange(2, 10**6))
        yield (re.sub(r"\d+", digits, row.gold, count=1), re.sub(r"\d+", digits, row.text, count=1))


def resident_mb() -> float:
    """Resident memory of this process and its children, in MiB."""
    import psutil

    me = psutil.Process()
    return sum(process.memory_info().rss for process in (me, *me.children(recursive=True))) / 2**20


def measure_memory(count: int) -> dict:
    """Memory after the warm-up and after `count` further rows, in MiB, and the seconds these took."""
    from rlkit.verify.math.math_judge import MathJudge

    judge = MathJudge()
    rows = fresh_rows(WARM_UP_ROWS + count)
    for _ in range(WARM_UP_ROWS):
        judge.judge(*next(rows))
    before, start = resident_mb(), time.perf_counter()
    for gold, answer in rows:
        judge.judge(gold, answer)
    return {"before_mb": before, "after_mb": resident_mb(), "seconds": time.perf_counter() - start}


def in_fresh_process(*arguments: str) -> dict:
    """What this program prints for the arguments, run in a process of its own on one core."""
    core = min(os.sched_getaffinity(0))
    command = [sys.executable, __file__, *arguments, "--core", str(core)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def rate(results: list[dict], chosen: list[int]) -> float:
    """Rows a second over the chosen rows: the median of the runs."""
    return statistics.median(len(chosen) / sum(result["seconds"][i] for i in chosen) for result in results)


def compare(rows: list[Row], kind: str, ours: list[dict], theirs: list[dict]) -> dict:
    """Figures of the rows of one kind, or of "all"."""
    chosen = [i for i, row in enumerate(rows) if kind in (row.kind, "all")]
    return {
        "rows": len(chosen),
        "ours_right": sum(ours[0]["right"][i] for i in chosen),
        "theirs_right": sum(theirs[0]["right"][i] for i in chosen),
        "ours": round(rate(ours, chosen), 1),
        "theirs": round(rate(theirs, chosen), 1),
    }


def report(rows: list[Row], ours: list[dict], theirs: list[dict]) -> dict:
    """Prints the comparison by kind and gives its figures over all rows."""
    print(f"{'':18}{'rows':>7}{'rlkit right':>13}{'peer right':>12}{'rlkit rows/s':>14}{'peer rows/s':>13}{'ratio':>7}")
    for kind in (*sorted({row.kind for row in rows}), "all"):
        figures = compare(rows, kind, ours, theirs)
        print(
            "{:18}{rows:7}{ours_right:13}{theirs_right:12}{ours:14.0f}{theirs:13.0f}".format(kind, **figures)
            + f"{figures['ours'] / figures['theirs']:7.1f}"
        )
    for name, results in (("rlkit", ours), ("math-verify", theirs)):
        cuts = statistics.quantiles([s for result in results for s in result["seconds"]], n=100)
        print(f"{name}: p50 {cuts[49] * 1e3:.2f} ms, p99 {cuts[98] * 1e3:.2f} ms")
    for row, right in zip(rows, ours[0]["right"], strict=True):
        if not right:
            print(f"rlkit and the label differ: {row.kind}, gold {row.gold!r}, {row.text[-80:]!r}, label {row.right}")
    return figures


def main() -> None:
    """Runs the comparison, or one part of it in a process of its own."""
    parser = argparse.ArgumentParser(description="rlkit's math judge beside math-verify")
    parser.add_argument("--runs", type=int, default=3, help="fresh processes for each judge")
    parser.add_argument("--memory-rows", type=int, default=100_000, help="rows of the memory test")
    parser.add_argument("--part", choices=["ours", "theirs", "memory"], help=argparse.SUPPRESS)
    parser.add_argument("--core", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        os.sched_setaffinity(0, {options.core})
        if options.part == "memory":
            print(json.dumps(measure_memory(options.memory_rows)))
        else:
            judged = our_judge() if options.part == "ours" else their_judge()
            print(json.dumps(measure(judged, ordinary_rows())))
        return
    rows = ordinary_rows()
    ours, theirs = [], []
    for _ in range(options.runs):
        ours.append(in_fresh_process("--part", "ours"))
        theirs.append(in_fresh_process("--part", "theirs"))
    figures = report(rows, ours, theirs)
    memory = in_fresh_process("--part", "memory", "--memory-rows", str(options.memory_rows))
    print("memory: {before_mb:.0f} MiB after the warm-up, {after_mb:.0f} MiB".format(**memory), end=" ")
    print(f"after {options.memory_rows} more rows ({options.memory_rows / memory['seconds']:.0f} rows/s)")
    summary = {"benchmark": "math_judge", "ratio": round(figures["ours"] / figures["theirs"], 2), "peer": "math-verify"}
    growth = round(memory["after_mb"] - memory["before_mb"], 1)
    summary |= {**figures, "unit": "rows/s a core", "runs": options.runs, "memory_growth_mb": growth}
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
