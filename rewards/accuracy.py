"""accuracy: whether the answer is right. Judges math by equivalence, code by tests, other kinds by their own judges."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Literal

from rlkit import (
    Group,
    MathJudge,
    Sample,
    Score,
    Task,
    Verdict,
    extract_answer,
    extract_code,
    judge_choice,
    judge_code,
    judge_exact,
    judge_numeric,
    split_reply,
)

_FAULTS = ("unparsable", "timeout", "memory", "crash")
_MAX_EVIDENCE = 500
_ENTRY_POINTS = "rlkit.judges"
"""Entry-point group of judges for further task kinds; the entry point's name is the kind."""

Judge = Callable[[Task, Sample], Score]
"""The judge of a task kind. Its score's value is in [0, 1], or None if the reference cannot be used."""

Sandbox = Literal["auto", "namespaces", "landlock", "wasm"]
Limit = Literal["wall_s", "cpu_s", "memory_mb", "output_kb", "disk_mb", "processes"]
Rule = Literal["rel_tol", "abs_tol", "any_order", "tuples_as_lists", "numbers"]


class Accuracy:
    """1 for a right answer, 0 for a wrong one, None if the reference cannot be used.

    The task's kind selects the judge: math the math judge, code its tests, exact `judge_exact`, choice `judge_choice`,
    numeric `judge_numeric`. The math judge also judges answers that the last two cannot parse.

    Args:
        partial: give code the share of its tests that pass as its value; by default 1 or 0, and then testing stops at
            the first failure.
        math_timeout_s: deadline for judging one math answer, in seconds.
        tolerance: maximum relative difference of two numbers that count as equal; 0: exact. A task's own
            metadata.tolerance overrides it. (metadata.choices gives the texts of choice letters.)
        abs_tolerance: for numeric tasks, maximum difference that counts as equal; metadata.abs_tolerance overrides it.
        judges: judges of further task kinds, as module:function or ./file.py:function with judge(task, sample) ->
            Score. Installed packages can add kinds by the entry-point group rlkit.judges.
        unevaluated: whether an answer may contain an unevaluated sum, product, integral or limit.
        last_number: whether the last number of a reply counts as its answer if it marks none.
        sandbox: how programs are isolated: "auto" uses the strongest tier that works on the machine; "wasm" runs only
            pure Python, on any machine.
        unsafe_no_isolation: run programs with the rights of this process. They can read, write and send anything.
        packages: installed packages that programs may import besides the standard library, such as numpy.
        limits: limits of one test if the data set gives none: wall_s (4), cpu_s (4), memory_mb (512), output_kb (1024),
            disk_mb (256), processes (64).
        compare: how to compare results if the data set does not specify it: rel_tol (0), abs_tol (0), any_order
            (false), tuples_as_lists (false), numbers (false): compare printed decimal numbers by value, 2.50 as 2.5.
        contest_names: whether programs can use the names that contest sites provide (from typing, collections, math
            and others) without an import, if the data set does not specify it; by default functions can, scripts
            cannot.
    """

    def __init__(
        self,
        partial: bool = False,
        math_timeout_s: float = 5.0,
        tolerance: float = 0.0,
        abs_tolerance: float = 0.0,
        judges: dict[str, Callable[[Task, Sample], Score]] | None = None,
        unevaluated: bool = True,
        last_number: bool = True,
        sandbox: Sandbox = "auto",
        unsafe_no_isolation: bool = False,
        packages: tuple[str, ...] = (),
        limits: dict[Limit, float] | None = None,
        compare: dict[Rule, float | bool] | None = None,
        contest_names: bool | None = None,
    ) -> None:
        if math_timeout_s <= 0:
            raise ValueError(f"math_timeout_s={math_timeout_s} must be above 0")
        if not 0 <= tolerance < 1:
            raise ValueError(f"tolerance={tolerance} must be from 0 and below 1")
        if not 0 <= abs_tolerance < math.inf:
            raise ValueError(f"abs_tolerance={abs_tolerance} must not be negative")
        if unsafe_no_isolation and sandbox != "auto":
            raise ValueError(f"unsafe_no_isolation and sandbox={sandbox} contradict each other: drop one of them")
        if sandbox == "wasm" and packages:
            raise ValueError(f"packages={list(packages)}: sandbox wasm runs only pure Python; drop one of them")
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
            "contest_names": contest_names,
            "stop_at_failure": not partial,
        }
        self._last_number = last_number
        self._tolerances = {"tolerance": tolerance, "abs_tolerance": abs_tolerance}
        built_in: dict[str, Judge] = {
            "math": self._math,
            "code": self._code,
            "exact": self._exact,
            "choice": self._choice,
            "numeric": self._numeric,
        }
        self._by_kind: dict[str, Judge] = built_in | {
            kind: _in_range(kind, own) for kind, own in (judges or {}).items()
        }
        self._judge = MathJudge(timeout_s=math_timeout_s, tolerance=tolerance, unevaluated=unevaluated)
        self._programs: dict[tuple[str, str], Verdict] = {}

    def score(self, group: Group) -> list[Score]:
        """One score per sample, with the verdicts of the judges."""
        judge = self._judge_of(group.task.kind)
        if judge is None:
            known = ", ".join(sorted(self._by_kind))
            reason = f"no judge for tasks of kind {group.task.kind!r}; known kinds: {known}"
            return [Score(None, "unscored", reason) for _ in group.samples]
        return [judge(group.task, sample) for sample in group.samples]

    def _judge_of(self, kind: str) -> Judge | None:
        if kind not in self._by_kind:
            for point in entry_points(group=_ENTRY_POINTS, name=kind):
                self._by_kind[kind] = _in_range(kind, point.load())
        return self._by_kind.get(kind)

    def _math(self, task: Task, sample: Sample) -> Score:
        answer = extract_answer(sample.response, last_number=self._last_number)
        return self._answered(task, answer, lambda gold, given: self._by_mathematics(task, gold, given))

    def _exact(self, task: Task, sample: Sample) -> Score:
        return self._answered(task, _plain_answer(sample.response), judge_exact)

    def _choice(self, task: Task, sample: Sample) -> Score:
        def judge(gold: str, answer: str) -> Verdict:
            verdict = judge_choice(gold, answer, _choices(task))
            if verdict.detail != "unparsable" or _choices(task) is None:
                return verdict
            return self._by_mathematics(task, gold, answer)  # an option may be a formula, and the answer its equal

        return self._answered(task, _plain_answer(sample.response), judge)

    def _numeric(self, task: Task, sample: Sample) -> Score:
        def judge(gold: str, answer: str) -> Verdict:
            own = {name: value for name in self._tolerances if (value := _number(task, name)) is not None}
            verdict = judge_numeric(gold, answer, **(self._tolerances | own))
            known = verdict.verdict != "unscored" and verdict.detail != "unparsable"
            return verdict if known else self._by_mathematics(task, gold, answer)

        return self._answered(task, extract_answer(sample.response, last_number=self._last_number), judge)

    def _by_mathematics(self, task: Task, gold: str, answer: str) -> Verdict:
        return self._judge.judge(gold, answer, choices=_choices(task), tolerance=_number(task, "tolerance"))

    def _answered(self, task: Task, answer: str | None, judge: Callable[[str, str], Verdict]) -> Score:
        """Scores a bare answer: right if it equals one of the references, unscored if none of them can be used."""
        golds = list(map(str, task.reference)) if isinstance(task.reference, list | tuple) else [str(task.reference)]
        if answer is None:
            return Score(0.0, "unparsable", "there is no finished answer after the thought")
        gold, verdict = _best(golds, answer, judge)
        evidence = {"gold": gold, "answer": answer[:_MAX_EVIDENCE], "detail": verdict.detail}
        if verdict.verdict == "correct":
            return Score(1.0, "correct", f"the answer is {gold}", evidence)
        if verdict.verdict == "unscored":
            return Score(None, "unscored", verdict.detail, evidence)
        name = verdict.detail if verdict.detail in _FAULTS else "wrong"
        expected = f"the gold answer is {gold!r}" if len(golds) == 1 else f"the gold answers are {golds}"
        return Score(0.0, name, f"answered {answer[:100]!r}, {expected}", evidence)

    def _code(self, task: Task, sample: Sample) -> Score:
        program = extract_code(sample.response, task.reference)
        if program is None:
            return Score(0.0, "unparsable", "there is no finished ```python block after the thought")
        key = json.dumps(task.reference, sort_keys=True, default=repr)
        verdict = self._programs.get((key, program))
        if verdict is None:
            verdict = judge_code(task.reference, program, **self._code_settings)
            # Do not cache a timeout: it may have happened because the machine was busy.
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


def _best(golds: list[str], answer: str, judge: Callable[[str, str], Verdict]) -> tuple[str, Verdict]:
    """(reference, verdict): the first reference that the answer equals, else the first that it differs from."""
    wrong: tuple[str, Verdict] | None = None
    for gold in golds:
        verdict = judge(gold, answer)
        if verdict.verdict == "correct":
            return gold, verdict
        if verdict.verdict == "wrong" or len(golds) == 1:
            wrong = wrong or (gold, verdict)
    return wrong or (golds[0], verdict)


def _in_range(kind: str, judge: Judge) -> Judge:
    """Wraps a user's judge and checks that it returns a Score with a value in [0, 1] or None."""

    def judged(task: Task, sample: Sample) -> Score:
        score = judge(task, sample)
        if not isinstance(score, Score):
            raise TypeError(f"the judge of kind {kind!r} returned {type(score).__name__}, not a Score")
        if score.value is not None and not 0 <= score.value <= 1:
            raise ValueError(f"the judge of kind {kind!r} returned {score.value}, not a value in [0, 1] or None")
        return score

    return judged


def _plain_answer(response: str) -> str | None:
    """The marked answer of a reply, or the whole text after the thought if it is one line."""
    answer = extract_answer(response, last_number=False)
    text = (split_reply(response).answer or "").strip()
    return answer if answer is not None or not text or "\n" in text else text


def _choices(task: Task) -> Mapping[str, str] | None:
    choices = task.metadata.get("choices")
    return choices if isinstance(choices, Mapping) else None


def _number(task: Task, name: str) -> float | None:
    value = task.metadata.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _evidence(verdict: Verdict) -> dict[str, Any]:
    """Details of the verdict, without times: a score must be a function of the reply alone."""
    tests = [{"verdict": test["verdict"], "detail": test["detail"]} for test in verdict.tests[:20]]
    evidence: dict[str, Any] = {"tests": tests, "tier": verdict.tier}
    if verdict.hidden_total:
        evidence["hidden"] = {"passed": verdict.hidden_passed, "total": verdict.hidden_total}
    return evidence
