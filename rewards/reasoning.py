"""reasoning: what the thought shows by rule: true steps in math, the program's plan in code. No neural judge."""

from __future__ import annotations

import keyword
import re
from fractions import Fraction

from rlkit import Equality, Group, Score, extract_answer, extract_code, find_equalities, split_reply

_NGRAM = 20
"""Words; at 20, honest maths loses nothing, at 3 it loses a third (measured in REWARDS)."""
_STEP_DECAY = 0.3
"""n true steps earn 1 - 0.3^n: 0.7, 0.91, 0.97, ..."""
_MIN_WORDS = 3
_CONCLUSION = re.compile(r"\b(?:answer|result) (?:is|=) \$?(-?\d[\d,]{0,30}(?:\.\d{1,30})?)", re.IGNORECASE)
_NUMBER = re.compile(r"\d{1,40}(?:\.\d{1,40})?")
_NAME = re.compile(r"[A-Za-z_]\w*")
_PYTHON_WORDS = frozenset(keyword.kwlist)
_OPERATIONS = {
    r"(?<!\*)\*(?!\*)": r"\*|×|multipl|times|product|twice|doubl|tripl|scale",
    r"\*\*": r"\*\*|\^|power|square|cube|raise",
    r"\+": r"\+|add|plus|sum|increase|more|total|concat|append",
    r"(?<!\w)-|-(?!\w)|\w-\w": r"-|subtract|minus|difference|less|decrease|negat|reverse",
    r"//?": r"/|÷|divid|quotient|half|halve",
    r"%": r"%|modulo|\bmod\b|remainder|even|odd|divisib",
    r"\b(?:for|while)\b": r"loop|iterat|each|every|\bfor\b|while|repeat|through|all",
    r"\bif\b": r"\bif\b|check|when|whether|otherwise|condition|compare|only",
    r"\[::-1\]|reversed": r"revers|backward",
    r"\bsorted\b|\.sort\b": r"sort|order",
    r"\bmax\b|\bmin\b|[<>]": r"max|min|larg|small|big|great|less|least|most|than|compar",
    r"\bset\b": r"set|unique|distinct|duplicat",
    r"\blen\b": r"len|count|number|size|how many",
}


class Reasoning:
    """A rule-based score of the thought, in [0, 1].

    Math: (0.8 x steps + 0.2 x conclusion) x repetition. Steps: distinct true equalities that rest on the problem's
    numbers or on earlier results, 1 - 0.3^n, times true / (true + 2 false). Conclusion: 1 unless the thought states
    another result than the answer. Without any step a thought in words earns that 0.2. 1 = 1 and repeats earn nothing.

    Code: (share of the program's names, numbers and operations that the thought speaks of, full at a half) x
    repetition.

    Repetition: distinct 20-grams of words over all (arXiv:2502.03373). An empty or unfinished thought earns 0.
    """

    def score(self, group: Group) -> list[Score]:
        """One score a sample."""
        code = group.task.kind == "code"
        return [_code(s.response) if code else _math(s.response, group.task.prompt) for s in group.samples]


def _math(response: str, prompt: str) -> Score:
    thought = _finished_thought(response)
    if thought is None:
        return Score(0.0, "no_thought", "there is no finished thought")
    found = {step.text: step for step in find_equalities(thought)}
    true = _grounded(list(found.values()), prompt)
    num_false = sum(not step.holds for step in found.values())
    if not true and len(set(thought.split())) < _MIN_WORDS:
        return Score(0.0, "no_steps", "the thought states no step")
    steps = (1 - _STEP_DECAY ** len(true)) * len(true) / max(1, len(true) + 2 * num_false)
    agrees = _agrees(thought, response)
    variety = _variety(thought)
    value = (0.8 * steps + 0.2 * agrees) * variety
    reason = f"{len(true)} true and {num_false} false steps"
    reason += "" if agrees else ", and its conclusion is not the answer"
    shown = {"true": [step.text for step in true][:20], "false": [s.text for s in found.values() if not s.holds][:20]}
    return Score(round(value, 6), "", reason, {**shown, "agrees": agrees, "variety": round(variety, 6)})


def _grounded(steps: list[Equality], prompt: str) -> list[Equality]:
    """True steps with an operand that the problem gives (a number of it or a digit of one) or an earlier step made.

    A step that only repeats an earlier one's numbers in another order counts once.
    """
    given = set(_NUMBER.findall(prompt.replace(",", "")))
    digits = set("".join(given)) - {"."}
    known = {Fraction(number) for number in given | digits}
    seen: set[tuple[Fraction, tuple[Fraction, ...]]] = set()
    kept: list[Equality] = []
    for step in steps:
        key = (step.value, tuple(sorted(step.operands)))
        # Adding 0 or multiplying by 1 is no step, as 1 = 1 is none.
        idle = step.value in step.operands and len(set(step.operands) - {Fraction(0), Fraction(1)}) <= 1
        if step.holds and not idle and key not in seen and known.intersection(step.operands):
            seen.add(key)
            known.add(step.value)
            kept.append(step)
    return kept


def _agrees(thought: str, response: str) -> bool:
    """Whether the last result that the thought announces, if any, is the answer's number."""
    stated = _CONCLUSION.findall(thought)
    answer = extract_answer(response)
    if answer is None:
        return False
    number = re.search(r"-?\d[\d,]{0,30}(?:\.\d{1,30})?", answer)
    if not stated or number is None:
        return True
    return Fraction(stated[-1].replace(",", "").rstrip(".")) == Fraction(number[0].replace(",", "").rstrip("."))


def _code(response: str) -> Score:
    thought, program = _finished_thought(response), extract_code(response)
    if thought is None or len(thought.split()) < _MIN_WORDS:
        return Score(0.0, "no_thought", "there is no finished thought")
    if program is None or not program.strip():
        return Score(0.0, "no_program", "there is no program for the thought to plan")
    spoken, total = _spoken(thought, program)
    variety = _variety(thought)
    value = min(1.0, 2 * len(spoken) / max(1, total)) * variety
    reason = f"the thought speaks of {len(spoken)} of {total} things that the program uses"
    return Score(round(value, 6), "", reason, {"spoken": spoken[:20], "variety": round(variety, 6)})


def _spoken(thought: str, program: str) -> tuple[list[str], int]:
    """What the program uses and the thought speaks of, and how many things the program uses."""
    program = re.sub(r"#[^\n]*", "", program)[:20_000]
    thought = thought[:50_000]
    names = set(_NAME.findall(program)) - _PYTHON_WORDS
    things = sorted(names | set(_NUMBER.findall(program)))
    words = set(_NAME.findall(thought)) | set(_NUMBER.findall(thought))
    spoken = [thing for thing in things if thing in words]
    used = [(sign, told) for sign, told in _OPERATIONS.items() if re.search(sign, program)]
    spoken += [sign for sign, told in used if re.search(told, thought, re.IGNORECASE)]
    return spoken, len(things) + len(used)


def _finished_thought(response: str) -> str | None:
    reply = split_reply(response)
    if reply.thought is None or reply.answer is None or not reply.thought.strip():
        return None
    return reply.thought


def _variety(text: str) -> float:
    """Distinct 20-grams of words over all of them; 1 for a text with fewer words."""
    words = text.split()
    grams = [tuple(words[i : i + _NGRAM]) for i in range(len(words) - _NGRAM + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0
