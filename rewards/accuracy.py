"""accuracy: is the answer right? Math by exact equivalence, code by its tests."""

from __future__ import annotations

import json
from typing import Any

from rlkit import Group, MathJudge, Sample, Score, Verdict, extract_answer, extract_code, judge_code

_FAULTS = ("unparsable", "timeout", "memory", "crash")
_MAX_EVIDENCE = 500


class Accuracy:
    """1 for a right answer, 0 for a wrong one, None where the reference cannot be used.

    Args:
        partial: pay code the share of its tests that pass; by default all or nothing.
        math_timeout_s: longest time to judge one math answer, in seconds.
    """

    def __init__(self, partial: bool = False, math_timeout_s: float = 5.0) -> None:
        if math_timeout_s <= 0:
            raise ValueError(f"math_timeout_s={math_timeout_s} must be above 0")
        self._partial = partial
        self._judge = MathJudge(timeout_s=math_timeout_s)
        self._programs: dict[tuple[str, str], Verdict] = {}

    def score(self, group: Group) -> list[Score]:
        """One score a sample; verdicts are the judges' own."""
        kind = group.task.kind
        if kind == "math":
            return [self._math(str(group.task.reference), sample) for sample in group.samples]
        if kind == "code":
            key = json.dumps(group.task.reference, sort_keys=True, default=repr)
            return [self._code(group.task.reference, key, sample) for sample in group.samples]
        return [Score(None, "unscored", f"no judge for tasks of kind {kind!r}") for _ in group.samples]

    def _math(self, gold: str, sample: Sample) -> Score:
        answer = extract_answer(sample.response)
        if answer is None:
            return Score(0.0, "unparsable", "there is no finished answer after the thought")
        verdict = self._judge.judge(gold, answer)
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
            verdict = judge_code(reference, program)
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
        # Times stay out: a score is a function of the reply alone.
        tests = [{"verdict": test["verdict"], "detail": test["detail"]} for test in verdict.tests[:20]]
        return Score(value, verdict.verdict, reason, {"tests": tests})
