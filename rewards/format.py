"""format: a reply must be one thought in tags, then exactly one marked answer, then nothing."""

from __future__ import annotations

import re
import unicodedata

from rewards.language import one_language
from rlkit import Group, Score, find_boxes, find_code_blocks, split_reply

WEIGHTS = {"tags": 0.4, "answer": 0.2, "one": 0.2, "last": 0.2}
"""Value of each rule; they sum to 1."""
_REASONS = {
    "tags": "there must be one <think> and one </think>, in order, at the start, with text between them",
    "answer": "an answer must follow the thought",
    "one": "there must be exactly one box or code block, and it must not be empty",
    "last": "nothing may follow the answer",
}
_UNREADABLE = 0.5
"""Factor for unreadable text, so that the model does not learn to put noise into the right format."""
_MIN_LANGUAGE = 0.5
_JOINERS = "\u200c\u200d"
"""Invisible characters that some scripts and emoji need."""
_LOOSE_END = re.compile(r"[\s.$)\]\\]*")


class Format:
    """The sum of the rules that the reply follows, in [0, 1]; half of it if the text is not readable.

    tags: <think> and </think> once each, in order, nothing before them, some text between them. answer: a box (math) or
    a python block (code) after the tags. one: exactly one, and not empty. last: nothing after it except closing
    punctuation. Empty tags get 0, unlike in open-r1's tag count. Readable: valid text without control characters and
    invisible ones, in the problem's script (about a hundred letters of another script are allowed).
    """

    def score(self, group: Group) -> list[Score]:
        """One score per sample; the evidence lists the rules."""
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
    """Why a text is unreadable; empty if it is readable."""
    # Keep the order of the text: the order of a set differs between processes, and so would the reason.
    for char in dict.fromkeys(response):
        if char in "\n\t\r" or char in _JOINERS:
            continue
        if char == "\ufffd" or unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn"):
            return f"the text contains the unreadable character U+{ord(char):04X}"
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
