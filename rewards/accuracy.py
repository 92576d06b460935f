"""accuracy: is the answer right? Math by exact equivalence, code by its tests."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Literal

from rlkit import Group, MathJudge, Sample, Score, Task, Verdict, extract_answer, extract_code, judge_code

_FAULTS = ("unparsable", "timeout", "memory", "crash")
_MAX_EVIDENCE = 500

Sandbox = Literal["auto", "namespaces", "landlock", "wasm"]
Limit = Literal["wall_s", "cpu_s", "memory_mb", "output_kb", "disk_mb", "processes"]
Rule = Literal["rel_tol", "abs_tol", "any_order", "tuples_as_lists"]


class Accuracy:
    """1 for a right answer, 0 for a wrong one, None where the reference cannot be used.

    Args:
        partial: pay code the share of its tests that pass; by default all or nothing, and then the first failing test
            is the last one that is run.
        math_timeout_s: longest time to judge one math answer, in seconds.
        tolerance: largest relative difference of two numbers that counts as equal; 0: exact. A task's own, in
            metadata.tolerance, comes first, as metadata.choices says what a choice letter stands for.
        unevaluated: whether an answer may leave a sum, product, integral or limit for the judge to work out.
        last_number: whether the last number of a reply counts where it marks nothing as its answer.
        sandbox: how programs are isolated: "auto" takes the strongest way that holds on the machine; "wasm" runs pure
            Python only, anywhere.
        unsafe_no_isolation: run programs with the rights of this process. They can read, write and send anything.
        packages: installed packages that programs may import besides the standard library, such as numpy.
        limits: of one test, where the data set names none: wall_s (4), cpu_s (4), memory_mb (512), output_kb (1024),
            disk_mb (256), processes (64).
        compare: how results are compared, where the data set does not say: rel_tol (0), abs_tol (0), any_order (false),
            tuples_as_lists (false).
    """

    def __init__(
        self,
        partial: bool = False,
        math_timeout_s: float = 5.0,
        tolerance: float = 0.0,
        unevaluated: bool = True,
        last_number: bool = True,
        sandbox: Sandbox = "auto",
        unsafe_no_isolation: bool = False,
        packages: tuple[str, ...] = (),
        limits: dict[Limit, float] | None = None,
        compare: dict[Rule, float | bool] | None = None,
    ) -> None:
        if math_timeout_s <= 0:
            raise ValueError(f"math_timeout_s={math_timeout_s} must be above 0")
        if not 0 <= tolerance < 1:
            raise ValueError(f"tolerance={tolerance} must be from 0 and below 1")
        if unsafe_no_isolation and sandbox != "auto":
            raise ValueError(f"unsafe_no_isolation and sandbox={sandbox} contradict each other: drop one of them")
        if sandbox == "wasm" and packages:
            raise ValueError(f"packages={list(packages)}: sandbox wasm runs pure Python only; drop one of them")
        for name, value in (limits or {}).items():
            if not 0 < value < 1e6:
                raise ValueError(f"limits.{name}={value} must be above 0 and below a million")
        for rule, amount in (compare or {}).items():
            if isinstance(amount, bool) == rule.endswith("_tol") or not 0 <= amount < math.inf:
                raise ValueError(f"compare.{rule}={amount}: tolerances are numbers from 0, the others true or false")
        self._partial = partial
        self._code_settings: dict[str, Any] = {
            "tier": "unsafe_none" if unsafe_no_isolation else sandbox,
            "packages": packages,
            "limits": limits,
            "compare": compare,
            "stop_at_failure": not partial,
        }
        self._last_number = last_number
        self._judge = MathJudge(timeout_s=math_timeout_s, tolerance=tolerance, unevaluated=unevaluated)
        self._programs: dict[tuple[str, str], Verdict] = {}

    def score(self, group: Group) -> list[Score]:
        """One score a sample; verdicts are the judges' own."""
        kind = group.task.kind
        if kind == "math":
            return [self._math(group.task, sample) for sample in group.samples]
        if kind == "code":
            key = json.dumps(group.task.reference, sort_keys=True, default=repr)
            return [self._code(group.task.reference, key, sample) for sample in group.samples]
        return [Score(None, "unscored", f"no judge for tasks of kind {kind!r}") for _ in group.samples]

    def _math(self, task: Task, sample: Sample) -> Score:
        gold = str(task.reference)
        answer = extract_answer(sample.response, last_number=self._last_number)
        if answer is None:
            return Score(0.0, "unparsable", "there is no finished answer after the thought")
        choices, tolerance = task.metadata.get("choices"), task.metadata.get("tolerance")
        verdict = self._judge.judge(
            gold,
            answer,
            choices=choices if isinstance(choices, Mapping) else None,
            tolerance=float(tolerance) if isinstance(tolerance, int | float) else None,
        )
        evidence = {"gold": gold, "answer": answer[:_MAX_EVIDENCE], "detail": verdict.detail}
        if verdict.verdict == "correct":
            return Score(1.0, "correct", f"the answer is {gold}", evidence)
        if verdict.verdict == "unscored":
            return Score(None, "unscored", verdict.detail, evidence)
        name = verdict.detail if verdict.detail in _FAULTS else "wrong"
        return Score(0.0, name, f"answered {answer[:100]!r}, the gold answer is {gold!r}", evidence)

    def _code(self, reference: Any, key: str, sample: Sample) -> Score:
        program = extract_code(sample.response)
        if program is None:
            return Score(0.0, "unparsable", "there is no finished ```python block after the thought")
        verdict = self._programs.get((key, program))
        if verdict is None:
            verdict = judge_code(reference, program, **self._code_settings)
            # A timeout may be the machine's fault; it is judged anew each time.
            if verdict.verdict not in ("timeout", "unscored"):
                self._programs[key, program] = verdict
        if verdict.verdict == "unscored":
            return Score(None, "unscored", verdict.detail)
        value = float(verdict.verdict == "pass")
        if self._partial and verdict.total:
            value = verdict.passed / verdict.total
        reason = f"{verdict.passed} of {verdict.total} tests passed"
        reason += f"; first failure: {verdict.detail}" if verdict.detail else ""
        return Score(value, verdict.verdict, reason, _evidence(verdict))


def _evidence(verdict: Verdict) -> dict[str, Any]:
    """What the verdict rests on. Times stay out: a score is a function of the reply alone."""
    tests = [{"verdict": test["verdict"], "detail": test["detail"]} for test in verdict.tests[:20]]
    evidence: dict[str, Any] = {"tests": tests, "tier": verdict.tier}
    if verdict.hidden_total:
        evidence["hidden"] = {"passed": verdict.hidden_passed, "total": verdict.hidden_total}
    return evidence
