"""Which part of a reply is the answer: only what stands after the thought, and there the last finished mark.

Every function is linear in the reply's length and never evaluates anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

OPEN, CLOSE = "<think>", "</think>"
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_ANSWER_TAGS = re.compile(r"<answer>([^<]*)</answer>")
_HASHES = re.compile(r"####[ \t]*(\S[^\n]*)")
_ANSWER_IS = re.compile(r"\banswer\s*(?:is|:|=)[ \t:]*([^\n]+)", re.IGNORECASE)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?")
_PYTHON = ("", "python", "python3", "py")


@dataclass(frozen=True)
class Reply:
    """A reply in its two halves."""

    thought: str | None
    """Text between the think tags; None where there are none."""
    answer: str | None
    """Text after the thought; None where the thought never ends."""


def split_reply(response: str) -> Reply:
    """Parts a reply into thought and answer.

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
    boxes = find_boxes(text)
    if not boxes:
        return None
    start, end, content = boxes[-1]
    inner = [box for box in boxes[:-1] if box[0] > start and box[1] <= end]
    return (inner[-1][2] if inner else content).strip()


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    found = None
    for match in pattern.finditer(text):
        found = match.group(match.lastindex or 0)
    return found


def _last_sentence(text: str) -> str | None:
    found = _last(_ANSWER_IS, text)
    if found is None:
        return None
    return re.split(r"\.(?:\s|$)", found.strip(), maxsplit=1)[0].strip(" *")


def extract_answer(response: str) -> str | None:
    r"""The final answer of a math reply, or None.

    Tried in order: the last finished \boxed{} or \fbox{}, the last <answer></answer>, the last `#### 72`, the last "the
    answer is ...", the last number. Only the text after the thought is looked at.

    "<think>1</think> so \\boxed{\\frac{1}{2}}" -> "\\frac{1}{2}";  "<think>\\boxed{5}" -> None
    """
    text = split_reply(response).answer
    if text is None:
        return None
    boxed = _last_box(text)
    if boxed is not None:
        return boxed
    for found in (_last(_ANSWER_TAGS, text), _last(_HASHES, text), _last_sentence(text)):
        if found is not None and found.strip():
            return found.strip()
    number = _last(_NUMBER, text)
    return number.rstrip(",") if number else None


def find_code_blocks(text: str) -> list[tuple[str, str, int]]:
    """(language, code, offset just past the closing fence) of every finished ``` block, in order."""
    blocks: list[tuple[str, str, int]] = []
    language: str | None = None
    lines: list[str] = []
    position = 0
    for line in text.splitlines(keepends=True):
        position += len(line)
        bare = line.strip()
        if language is None and bare.startswith("```") and "`" not in bare[3:]:
            language, lines = bare[3:].strip().lower(), []
        elif language is not None and bare == "```":
            blocks.append((language, "".join(lines), position))
            language = None
        elif language is not None:
            lines.append(line)
    return blocks


def extract_code(response: str) -> str | None:
    """The program of a code reply: its last finished ```python (or bare ```) block after the thought, or None."""
    text = split_reply(response).answer
    if text is None:
        return None
    programs = [code for language, code, _ in find_code_blocks(text) if language in _PYTHON]
    return programs[-1] if programs else None
