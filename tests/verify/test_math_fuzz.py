"""Random texts, some nearly answers: no exception leaves the judge, and every verdict is one of the three."""

from __future__ import annotations

import random

import pytest

from rlkit.verify.extract import extract_answer
from rlkit.verify.math.math_judge import MathJudge

VERDICTS = {"correct", "wrong", "unscored"}
PIECES = [
    r"\frac", r"\sqrt", r"\left", r"\right", "{", "}", "(", ")", "[", "]", r"\{", r"\}", "^", "_", "!", "|", ",", ";",
    ":", "=", "<", ">", r"\le", r"\ne", r"\in", r"\cup", r"\setminus", r"\pm", r"\text", r"\mathrm", r"\begin", r"\end",
    "{pmatrix}", "&", r"\\", r"\infty", r"\pi", r"\binom", r"\sum", r"\int", r"\log", r"\sin", r"\overline", r"\circ",
    r"\%", "%", "$", r"\cdot", r"\times", r"\div", "/", "+", "-", "*", ".", "'", '"', "`", "~", " ", "\n", "0", "1",
    "2", "9", "10", "999", "0.5", "x", "y", "i", "e", "n", "or", "and", "million", "cm", "√", "½", "²", "∞", "−", "≤",
    "，", "（", "）", "％", "或", "答案是", r"\boxed", "<think>", "</think>", "<answer>", "</answer>", "####", "A:",
    "The answer is", "\0", "\ud800", "__", "{0}", "%s",
]  # fmt: skip
GOLDS = [
    r"\frac{1}{2}", r"(-\infty,2)\cup[3,5)", r"\{1,2,3\}", "x^2+2x+1=0", r"\boxed{\sqrt{2}}", "12_8", r"3\text{ cm}^2",
    r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", "2 million", r"0.\overline{3}",
]  # fmt: skip


def fuzzed(seed: int) -> str:
    """Soup of LaTeX, or a case's text with pieces cut, doubled or put in."""
    chance = random.Random(seed)
    if seed % 3:
        return "".join(chance.choice(PIECES) for _ in range(chance.randrange(1, 25)))
    text = chance.choice(GOLDS)
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(text) + 1)
        text = text[:at] + chance.choice([*PIECES, text, ""]) + text[at + chance.randrange(3) :]
    return text


@pytest.fixture(scope="module")
def judge():
    judge = MathJudge(timeout_s=3.0)
    yield judge
    judge.close()


def fuzz(judge: MathJudge, seeds: range) -> None:
    for seed in seeds:
        text, other = fuzzed(seed), fuzzed(seed + 10**6)
        for found in (judge.judge("x^2+1", text), judge.judge(text, other), judge.judge_response(r"\frac{1}{2}", text)):
            assert found.verdict in VERDICTS, (seed, text, other)
        extract_answer(text)


def test_fuzzed_texts_get_one_of_three_verdicts(judge) -> None:
    fuzz(judge, range(1_000))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_fuzzed_texts_get_one_of_three_verdicts(judge) -> None:
    fuzz(judge, range(1_000, 11_000))
