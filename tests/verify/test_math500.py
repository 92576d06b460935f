"""MATH-500: every gold equals itself after the usual rewritings, and no other problem's gold."""

from __future__ import annotations

import json
import os
import random
import re
from itertools import combinations
from pathlib import Path

import pytest

from rlkit.verify.math.math_judge import MathJudge

DATA = Path(os.environ.get("RLKIT_DATA_DIR", "../shared/data")) / "math500_test.jsonl"
pytestmark = pytest.mark.skipif(not DATA.exists(), reason=f"{DATA} is absent; RLKIT_DATA_DIR names its folder")


@pytest.fixture(scope="module")
def golds() -> list[str]:
    return [json.loads(line)["answer"] for line in DATA.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def judge():
    judge = MathJudge()
    yield judge
    judge.close()


def spaced(gold: str) -> str:
    """Spaces round operators and commas, but not within a sign's number or a separated one."""
    return re.sub(r"(?<=[\w})])\s*([+=])\s*", r" \1 ", re.sub(r",(?!\d{3}|\\!)", " , ", gold))


def without_units(gold: str) -> str:
    r"""Without a trailing \text{ cm} or \mbox{ cm}^2, and without degrees."""
    bare = re.sub(r"(?<=[\d}])\s*\\(?:text|mbox)\{[^{}]*\}(?:\^\d)?$", "", gold)
    return re.sub(r"\^\\circ$", "", bare)


def slashed(gold: str) -> str:
    r"""\frac{1}{2} as (1)/(2), where it stands alone."""
    return re.sub(r"^(-?)\\[dt]?frac\{([^{}]+)\}\{([^{}]+)\}$", r"\1(\2)/(\3)", gold)


REWRITINGS = {
    "itself": lambda gold: gold,
    "dollars": lambda gold: f"${gold}$",
    "brackets": lambda gold: rf"\({gold}\)",
    "dfrac": lambda gold: re.sub(r"\\[dt]?frac", r"\\dfrac", gold),
    "tfrac": lambda gold: re.sub(r"\\[dt]?frac", r"\\tfrac", gold),
    "left and right": lambda gold: (
        re.sub(r"(?<!\\left)(?<!\\right)\(", r"\\left(", re.sub(r"(?<!\\right)\)", r"\\right)", gold))
        if gold.count("(") == gold.count(")") and r"\text" not in gold
        else gold
    ),
    "no left and right": lambda gold: gold.replace(r"\left", "").replace(r"\right", ""),
    "full stop": lambda gold: f"{gold}.",
    "display style": lambda gold: rf"\displaystyle {gold}",
    "thin spaces": lambda gold: rf"\,{gold}\,",
    "spaces": spaced,
    "no spaces": lambda gold: re.sub(r"(?<![a-zA-Z\\]) +(?![a-zA-Z])", "", gold),
    "no units": without_units,
    "slashes": slashed,
    "a box": lambda gold: rf"\boxed{{{gold}}}",
    "pi and root signs": lambda gold: re.sub(r"\\sqrt\{(\w+)\}", r"√(\1)", gold.replace(r"\pi", "π")),
    "currency and separators": lambda gold: re.sub(r",\\! ?", ",", gold.replace(r"\$", "")),
    "text": lambda gold: re.sub(r"^\\text\{\(?(\w+)\)?\}$", r"\1", gold),
    "bmatrix": lambda gold: gold.replace("pmatrix", "bmatrix"),
}
REPLIES = {
    "boxed": r"Adding up, we find that the value is $\boxed{%s}$.",
    "displayed": "<think>It may be \\boxed{-987654}.</think>\nHence\n\\[\\boxed{%s}\\]\nwhich we checked in 3 ways.",
    "tags": "<think>Let me see: 1, 2, 3.</think><answer>%s</answer>",
    "the final answer": r"Final Answer: The final answer is $%s$. I hope it is correct.",
}


@pytest.mark.parametrize("how", REWRITINGS)
def test_every_gold_equals_itself_rewritten(judge, golds, how) -> None:
    rewritten = [(gold, REWRITINGS[how](gold)) for gold in golds]
    missed = [(gold, answer) for gold, answer in rewritten if judge.judge(gold, answer).verdict != "correct"]
    assert missed == []


@pytest.mark.parametrize("how", REPLIES)
def test_every_gold_is_found_in_a_reply(judge, golds, how) -> None:
    replies = [(gold, REPLIES[how].replace("%s", gold)) for gold in golds]
    missed = [(gold, reply) for gold, reply in replies if judge.judge_response(gold, reply).verdict != "correct"]
    assert missed == []


SAME_VALUE = {
    (r"\frac14", r"\frac{1}{4}"): "one fraction, with and without braces",
    (r"2 \sqrt{5}", r"2\sqrt{5}"): "a space",
    (r"10,\!080", "10080"): "a separator of thousands",
    ("-2,1", "1,-2"): "two roots in either order",
    ("(-2,1)", "-2,1"): "a pair with and without its brackets",
    ("5", "x=5"): "a value with and without its variable",
    ("36", r"\$36"): "a currency that one side leaves out",
    ("15", r"15\mbox{ cm}^2"): "a unit that one side leaves out",
    ("30", r"30^\circ"): "a degree sign that one side leaves out",
    ("36", r"36^\circ"): "a degree sign that one side leaves out",
    ("90", r"90^\circ"): "a degree sign that one side leaves out",
    ("120", r"120^\circ"): "a degree sign that one side leaves out",
}
"""Golds of different problems that are spelled differently and match, each with the reason."""


def test_no_gold_equals_another_problems_gold_except_those_of_one_value(judge, golds) -> None:
    every_pair = list(combinations(range(len(golds)), 2))
    pairs = [(golds[i], golds[j]) for i, j in random.Random(11).sample(every_pair, 10_000)]
    matched = {tuple(sorted(pair)) for pair in pairs if judge.judge(*pair).verdict != "wrong"}
    spelled_alike = {pair for pair in matched if pair[0] == pair[1]}
    assert matched - spelled_alike <= {tuple(sorted(pair)) for pair in SAME_VALUE}


@pytest.mark.parametrize("pair", SAME_VALUE)
def test_golds_of_one_value_match(judge, golds, pair) -> None:
    assert set(pair) <= set(golds)
    assert judge.judge(*pair).verdict == "correct"
