"""The table of reviewed cases in cases/*.yaml: a gold, an answer or a whole reply, a verdict and its reason.

A case may also hold what its task asks for (`choices`, `tolerance`) and how its judge is set (`judge`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlkit.verify.math.math_judge import MathJudge

CASES = Path(__file__).parent / "cases"
VERDICTS = {"correct", "wrong", "unscored"}
OPTIONAL = {"answer", "response", "choices", "tolerance", "judge"}


def load_cases() -> list[dict[str, Any]]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [
        {"topic": path.stem, **case}
        for path in sorted(CASES.glob("*.yaml"))
        for case in yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    ]


ALL = load_cases()


def name(case: dict[str, Any]) -> str:
    text = case.get("answer", case.get("response", ""))
    return f"{case['topic']}: {case['gold']} | {text}"[:100]


@pytest.fixture(scope="module")
def judge_of():
    """The judge with these settings, one for all the cases that want it."""
    judges: dict[tuple[tuple[str, Any], ...], MathJudge] = {}

    def judge_of(**settings: Any) -> MathJudge:
        key = tuple(sorted(settings.items()))
        if key not in judges:
            judges[key] = MathJudge(timeout_s=3.0, **settings)
        return judges[key]

    yield judge_of
    for judge in judges.values():
        judge.close()


@pytest.mark.parametrize("case", ALL, ids=name)
def test_verdict(judge_of: Callable[..., MathJudge], case: dict[str, Any]) -> None:
    judge = judge_of(**case.get("judge", {}))
    task = {key: case[key] for key in ("choices", "tolerance") if key in case}
    if "answer" in case:
        found = judge.judge(case["gold"], case["answer"], **task)
    else:
        found = judge.judge_response(case["gold"], case["response"], **task)
    assert found.verdict == case["verdict"], f"{case['reason']} (detail: {found.detail})"


def test_every_case_is_whole() -> None:
    for case in ALL:
        assert case.keys() - OPTIONAL == {"topic", "gold", "verdict", "reason"}, case
        assert ("answer" in case) != ("response" in case), case
        texts = [case[key] for key in case.keys() - {"choices", "tolerance", "judge"}]
        assert all(isinstance(text, str) for text in texts), f"a value wants quotes: {case}"
        assert case["verdict"] in VERDICTS, case
        assert len(case["reason"].split()) >= 3, case


def test_no_case_is_there_twice() -> None:
    counts = Counter(str({**case, "topic": "", "verdict": "", "reason": ""}) for case in ALL)
    assert [key for key, count in counts.items() if count > 1] == []


def test_the_table_goes_both_ways() -> None:
    counts = Counter(case["verdict"] for case in ALL)
    assert len(ALL) >= 500
    assert counts["correct"] >= 200
    assert counts["wrong"] >= 200
    assert counts["unscored"] >= 10
