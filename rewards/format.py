"""format: a thought in its tags, then one answer in the place where it is looked for, then nothing."""

from __future__ import annotations

import re
import unicodedata

from rewards.language import one_language
from rlkit import Group, Score, find_boxes, find_code_blocks, split_reply

WEIGHTS = {"tags": 0.4, "answer": 0.2, "one": 0.2, "last": 0.2}
"""What each rule pays; they add to 1."""
_REASONS = {
    "tags": "think tags must stand once, in order, at the start, and hold something",
    "answer": "an answer must follow the thought",
    "one": "there must be exactly one box or code block, and it must not be empty",
    "last": "nothing may follow the answer",
}
_UNREADABLE = 0.5
"""What is left of the rules' pay where the text cannot be read: other pay would make noise in the right form pay."""
_MIN_LANGUAGE = 0.5
_JOINERS = "\u200c\u200d"
"""Invisible, and part of how some scripts and emoji are written."""
_LOOSE_END = re.compile(r"[\s.$)\]\\]*")


class Format:
    """The sum of the rules that hold, in [0, 1]; half of it where the text is not readable.

    tags: <think> and </think> once each, in order, nothing before, something between; answer: a box (math) or a python
    block (code) after them; one: exactly one, not empty; last: nothing but closing marks after it. Empty tags pay
    nothing (the tag counts of open-r1 pay them in full). Readable: valid text without control and invisible
    characters, in the problem's script (about a hundred letters of another one are let pass).
    """

    def score(self, group: Group) -> list[Score]:
        """One score a sample; the evidence lists the rules."""
        return [self._one(sample.response, group.task.kind, group.task.prompt) for sample in group.samples]

    def _one(self, response: str, kind: str, prompt: str) -> Score:
        rules = _check(response, kind)
        value = sum(WEIGHTS[name] for name, holds in rules.items() if holds)
        broken = [_REASONS[name] for name, holds in rules.items() if not holds]
        unreadable = _unreadable(response, prompt)
        if unreadable:
            value *= _UNREADABLE
            broken.append(unreadable)
        evidence = {"rules": rules, "readable": not unreadable}
        return Score(round(value, 6), "ok" if not broken else "broken", "; ".join(broken), evidence)


def _unreadable(response: str, prompt: str) -> str:
    """Why a text cannot be read; empty where it can."""
    # In the text's own order: a set's differs between processes, and with it the reason.
    for char in dict.fromkeys(response):
        if char in "\n\t\r" or char in _JOINERS:
            continue
        if char == "\ufffd" or unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn"):
            return f"the text holds the character U+{ord(char):04X}, which nobody can read"
    if one_language(response, prompt) < _MIN_LANGUAGE:
        return "the text is not in the problem's language"
    return ""


def _check(response: str, kind: str) -> dict[str, bool]:
    text = response.strip()
    reply = split_reply(text)
    once = text.count("<think>") == 1 and text.count("</think>") == 1 and text.startswith("<think>")
    tags = once and reply.thought is not None and re.search(r"\w", reply.thought) is not None
    answer = reply.answer or ""
    if kind == "code":
        blocks = find_code_blocks(answer)
        found = [(code, end) for language, code, end in blocks if language in ("python", "")]
        one = len(blocks) == 1
    else:
        found = [(content, end) for _, end, content in find_boxes(answer)]
        one = len(re.findall(r"\\f?box(?:ed)?\b", answer)) == 1
    filled = [end for content, end in found if re.search(r"\w", content)]
    return {
        "tags": tags,
        "answer": bool(filled),
        "one": one and len(filled) == 1,
        "last": bool(filled) and _LOOSE_END.fullmatch(answer[filled[-1] :]) is not None,
    }
