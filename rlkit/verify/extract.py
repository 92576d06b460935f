"""Finds the answer in a reply: the last complete box, tag or mark in the part after the thought.

Every function is linear in the reply's length and never evaluates anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rlkit.verify.marked_answer import marked_answer, short_reply, unmarked_number
from rlkit.verify.retractions import not_retracted

OPEN, CLOSE = "<think>", "</think>"
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
"""The start of a box."""
_SHORT_BOX = re.compile(r"\\(?:boxed|fbox)[ \t]+(-?[\w.,/]*\w)|\\(?:boxed|fbox)(-?\d[\d.,/]*)")
r"""A box without braces round a number or a letter: \boxed 5."""
_OPEN_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{(?:(?!\\(?:boxed|fbox)).)*$", re.DOTALL)
"""A box that never ends, with all that follows."""
_NOT_BEFORE = re.compile(r"(?<![\\\w])not\s+(?:\$|\\\(|\*\*)?\s*$", re.IGNORECASE)
r"""A denial right before a box: not $\boxed{5}$."""
_NOT_CHARS = 12
"""Characters before a box in which it is looked for."""
_ANSWER_TAGS = re.compile(r"<answer>((?:(?!</?answer>).)*)</answer>", re.DOTALL | re.IGNORECASE)
"""The answer tags of R1-style prompts, innermost first."""
_PLAIN_BETWEEN = re.compile(r"\\[()\[\],;:! ]|[$*~]|\\q?quad(?![a-z])|\\(?:text|mathrm|mbox|textrm) ?(?=\{)|[{}]")
"""Signs between two boxes that mean nothing."""
_BETWEEN = re.compile(r"([,;、，；]?) ?(and|or|和|与|及|以及|或|或者|且|&|) ?(?:([A-Za-z](?:_\w+)?) ?=)?")
"""What may stand between two boxes of one answer: a comma, "and" or "or", and the name of the second value."""
_OR = ("or", "或", "或者")
"""The words in `_BETWEEN` that mean "or"; the others mean "and"."""
_NAME_BEFORE = re.compile(r"(?<![\w\\}+*/^-])([A-Za-z](?:_\{?\w+\}?)?) ?=\s*\$?$")
"""The name of a value right before its box: x = ."""
_BETWEEN_CHARS = 60
"""Characters between two boxes of one answer."""
_TAIL_CHARS = 20_000
"""Characters at a reply's end in which an answer without a box and a tag is looked for."""


@dataclass(frozen=True)
class Reply:
    """A reply in its two halves."""

    thought: str | None
    """Text between the think tags; None if there are no tags."""
    answer: str | None
    """Text after the thought; None if the thought does not end."""


def split_reply(response: str) -> Reply:
    """Splits a reply into thought and answer.

    Without think tags the whole reply is the answer; after `<think>` without `</think>` there is none. With several
    closing tags the last one counts, so that no box inside a thought is ever taken for the answer.
    """
    if CLOSE not in response:
        if OPEN not in response:
            return Reply(None, response)
        return Reply(response.split(OPEN, 1)[1], None)
    before, after = response.rsplit(CLOSE, 1)
    thought = before.split(OPEN, 1)[1] if OPEN in before else before
    return Reply(thought, None if OPEN in after else after)


def find_boxes(text: str) -> list[tuple[int, int, str]]:
    r"""(start, end, content) of every finished \boxed{} or \fbox{}, in the order in which they end.

    Braces are balanced; \{ and \} do not count. A box that holds another one is listed after it.
    """
    starts = {match.end() - 1: match.start() for match in _BOX.finditer(text)}
    if not starts:
        return []
    boxes: list[tuple[int, int, str]] = []
    stack: list[int] = []
    for mark in re.finditer(r"\\.|[{}]", text, re.DOTALL):
        if mark.group() == "{":
            stack.append(mark.start())
        elif mark.group() == "}" and stack:
            brace = stack.pop()
            if brace in starts:
                boxes.append((starts[brace], mark.end(), text[brace + 1 : mark.start()]))
    return boxes


def _last_box(text: str) -> str | None:
    """The answer in the last box that is not denied, or in several that belong together; None without a box."""
    boxes = [
        (start, end, inside)
        for start, end, inside in find_boxes(text)
        if inside.strip() and not _NOT_BEFORE.search(text[max(0, start - _NOT_CHARS) : start])
    ]
    short = max(_SHORT_BOX.finditer(text), key=lambda match: match.start(), default=None)
    if short is not None and (not boxes or short.start() > boxes[-1][0]):
        return short[1] or short[2]
    if not boxes:
        return None
    start, end, _ = boxes[-1]
    inner = [box for box in boxes[:-1] if box[0] > start and box[1] <= end]
    return inner[-1][2].strip() if inner else _joined(text, boxes)


def _joined(text: str, boxes: list[tuple[int, int, str]]) -> str:
    r"""The last box, with those before it that only a comma, "and" or "or" parts from it: \boxed{1} and \boxed{2}."""
    start, _, content = boxes[-1]
    items = [content.strip()]
    joins: list[str] = []
    names: list[str] = []
    for before in reversed(boxes[:-1]):
        between = text[before[1] : start] if before[1] <= start <= before[1] + _BETWEEN_CHARS else ""
        plain = " ".join(_PLAIN_BETWEEN.sub(" ", between).split())
        match = _BETWEEN.fullmatch(plain)
        if match is None or not (match[1] or match[2]):
            break
        joins.insert(0, " or " if match[2] in _OR else " and " if match[2] else ", ")
        names.insert(0, match[3] or "")
        items.insert(0, before[2].strip())
        start = before[0]
    if len(set(items)) == 1:
        return items[-1]
    first = _NAME_BEFORE.search(text[max(0, start - _BETWEEN_CHARS) : start])
    names.insert(0, first[1] if first and all(names) else "")
    if any(names) != all(names):
        return items[-1]
    items = [f"{name} = {item}" if name else item for name, item in zip(names, items, strict=True)]
    return items[0] + "".join(join + item for join, item in zip(joins, items[1:], strict=True))


def extract_answer(response: str, *, last_number: bool = True) -> str | None:
    r"""The final answer of a math reply, or None.

    Tried in order: the last finished \boxed{} or \fbox{}, or several that only commas, "and" or "or" part; the last
    <answer></answer>; the last `#### 72`; the later of "the answer is ..." (in English or Chinese) and "A: ..."; the
    last display formula; the last number or formula with one. Only the text after the thought is looked at, and
    of it only what stands behind the last words that take an answer back ("Wait, that is wrong").

    "<think>1</think> so \\boxed{\\frac{1}{2}}" -> "\\frac{1}{2}";  "<think>\\boxed{5}" -> None

    Args:
        response: The whole reply.
        last_number: Whether the last number counts where nothing is marked as the answer.
    """
    text = split_reply(response).answer
    if text is None:
        return None
    text = not_retracted(text)
    boxed = _last_box(text)
    if boxed is not None:
        return boxed
    tagged = _ANSWER_TAGS.findall(text)
    if tagged and tagged[-1].strip():
        return str(tagged[-1]).strip()
    # The content of a box that does not end is not an answer.
    text = _OPEN_BOX.sub("", text)[-_TAIL_CHARS:]
    return marked_answer(text) or ((short_reply(text) or unmarked_number(text)) if last_number else None)
