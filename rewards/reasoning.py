"""reasoning: scores the thought by rules: true steps in math, the plan of the program in code. Uses no neural judge."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from rewards.language import one_language
from rewards.reasoning_code import compare_plan
from rewards.reasoning_math import agreement, find_steps
from rewards.repetition import originality
from rlkit import Group, Score, Task, extract_answer, extract_code, split_reply

_STEP_DECAY = 0.3
"""n steps get 1 - 0.3^n: 0.7, 0.91, 0.97, ..."""
_FALSE_COST = 2
_DISAGREES = 0.5
_MIN_WORDS = 3
_COPIED_WORDS = 6
"""This many consecutive words of the problem count as copied."""
_SHOWN = 20
_WORD = re.compile(r"[^\W_]+")
_SPOKEN_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\d_]+")
"""A word; in Chinese and Japanese, which have no spaces between words, a character."""


class Reasoning:
    """A rule-based score of the thought, in [0, 1].

    Math: (0.8 x steps + 0.2 x conclusion) x cleanness. Steps: n distinct true relations that compute something new from
    numbers of the problem or of earlier steps, and whose results lead to the answer, get 1 - 0.3^n, times n / (n + 2 x
    number of false relations). Conclusion: 1 if the thought announces the answer or leads to it, 0.5 if it does
    neither, 0 if it announces another one, which also halves the rest. Filler (1 = 1, repetitions, labels, true
    equations that do not lead to the answer) gets 0.

    Code: coverage x truth x cleanness. Coverage: share of the program's names, numbers and operations that the thought
    mentions; half of them give the full value. Truth: share of the mentioned operations that the program contains, with
    two allowed errors.

    Cleanness: no repetition (20-grams of words, compression), no letters of a script that the problem does not use.
    Text copied from the problem or the program is ignored. An empty or unfinished thought gets 0.

    Limits of rules: they cannot judge whether the words between formulas make sense, whether a plan has the program's
    order of operations, or steps in geometry, logic or proofs that are not relations between numbers.
    """

    def score(self, group: Group) -> list[Score]:
        """One score per sample."""
        rule = _code if group.task.kind == "code" else _math
        return [self._one(rule, sample.response, group.task) for sample in group.samples]

    def _one(self, rule: Callable[[str, str, Task], Score], response: str, task: Task) -> Score:
        reply = split_reply(response)
        if reply.thought is None or reply.answer is None or not reply.thought.strip():
            return Score(0.0, "no_thought", "there is no finished thought")
        score = rule(reply.thought, response, task)
        if not score.value:
            return score
        clean = originality(reply.thought) * one_language(reply.thought, task.prompt)
        reason = score.reason + ("" if clean > 0.9 else "; it repeats itself or mixes languages")
        return Score(round(score.value * clean, 6), "", reason, {**score.evidence, "clean": round(clean, 6)})


def _math(thought: str, response: str, task: Task) -> Score:
    prompt, answer = task.prompt, _answer_text(extract_answer(response), task)
    steps = find_steps(thought, prompt, answer)
    if not steps.used and len(_own_words(thought, prompt)) < _MIN_WORDS:
        return Score(0.0, "no_steps", "the thought states no step and contains no words of its own")
    num_used, num_false = len(steps.used), len(steps.false)
    earned = (1 - _STEP_DECAY**num_used) * num_used / max(1, num_used + _FALSE_COST * num_false)
    agrees = agreement(thought, answer)
    conclusion = 0.5 if agrees is None and not steps.used else float(agrees is not False)
    reason = f"{num_used} steps lead to the answer, {len(steps.idle)} do not, {num_false} are false"
    reason += "; its conclusion is not the answer" if agrees is False else ""
    evidence = {
        "used": [relation.text for relation in steps.used][:_SHOWN],
        "idle": [relation.text for relation in steps.idle][:_SHOWN],
        "false": [relation.text for relation in steps.false][:_SHOWN],
        "agrees": agrees,
    }
    value = (0.8 * earned + 0.2 * conclusion) * (_DISAGREES if agrees is False else 1)
    return Score(value, "", reason, evidence)


def _answer_text(answer: str | None, task: Task) -> str | None:
    """The answer; for the letter of a choice task the text of its option, which is what the thought derives."""
    choices = task.metadata.get("choices")
    if task.kind != "choice" or answer is None or not isinstance(choices, Mapping):
        return answer
    letter = re.fullmatch(r"\W*([A-Za-z0-9])\W*", answer)
    return str(choices.get(letter[1].upper(), answer)) if letter else answer


def _code(thought: str, response: str, task: Task) -> Score:
    prompt, program = task.prompt, extract_code(response, task.reference)
    if program is None or not program.strip():
        return Score(0.0, "no_program", "there is no program for the thought to plan")
    own = _own_words(thought, prompt)
    plan = compare_plan(_without_copies(thought, prompt), program)
    if plan is None:
        return Score(0.0, "no_program", "the program is not valid Python")
    if len(own) < _MIN_WORDS:
        return Score(0.0, "no_thought", "the thought contains no words of its own")
    reason = f"the thought mentions {len(plan.mentioned)} of {plan.total} names, numbers and operations of the program"
    reason += f", and {plan.claims - plan.kept} operations that it does not contain"
    return Score(plan.value, "", reason, {"spoken": list(plan.mentioned)[:_SHOWN], "claims": plan.claims})


def _own_words(thought: str, prompt: str) -> set[str]:
    return {match[0].lower() for match in _SPOKEN_WORD.finditer(_without_copies(thought, prompt))}


def _without_copies(thought: str, prompt: str) -> str:
    """The thought without sequences of six or more words of the problem (of a shorter problem: all its words)."""
    prompt_words = [match[0].lower() for match in _WORD.finditer(prompt)]
    size = min(_COPIED_WORDS, len(prompt_words))
    if not size:
        return thought
    copies = {tuple(prompt_words[i : i + size]) for i in range(len(prompt_words) - size + 1)}
    words = list(_WORD.finditer(thought))
    lowered = [match[0].lower() for match in words]
    kept, position = [], 0
    for i in range(len(words) - size + 1):
        if tuple(lowered[i : i + size]) in copies:
            kept.append(thought[position : max(position, words[i].start())])
            position = words[i + size - 1].end()
    return " ".join([*kept, thought[position:]])
