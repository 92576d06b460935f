"""Which part of a reply is the answer: only what stands after the thought, and there the last finished mark.

Every function is linear in the reply's length and never evaluates anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

OPEN, CLOSE = "<think>", "</think>"
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_SHORT_BOX = re.compile(r"\\(?:boxed|fbox)[ \t]+(-?[\w.,/]*\w)|\\(?:boxed|fbox)(-?\d[\d.,/]*)")
_OPEN_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{(?:(?!\\(?:boxed|fbox)).)*$", re.DOTALL)
_ANSWER_TAGS = re.compile(r"<answer>((?:(?!</?answer>).)*)</answer>", re.DOTALL | re.IGNORECASE)
_HASHES = re.compile(r"####[ \t]*(\S[^\n]*)")
_LABEL = re.compile(r"^[ \t>*#]*(?:A|Ans|Answer)[ \t*]*:[ \t*]*(\S[^\n]*)", re.MULTILINE)
_ANSWER_IS = re.compile(
    r"\b(?:answer|result|solution|value|option|choice)\b[^.\n:=]{0,60}?(?:\bis\b|\bequals\b|:|=)"
    r"|答案(?:应该是|应为|是|为|选|：|:)|故[^。\n]{0,6}?选|应选|选择|本题选",
    re.IGNORECASE,
)
_ADVERBS = re.compile(
    r"(?:(?:therefore|thus|hence|simply|just|indeed|then|equal to|given by)\b[ \t,:：]*)+", re.IGNORECASE
)
_INLINE_OR_NUMBER = re.compile(
    r"(?<!\\)\$((?:\\\$|[^$\n])*)\$|\\\(((?:(?!\\[()]).)*)\\\)|((?<![\w.])[-−–]?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?)"
)
_SENTENCE_END = re.compile(
    r"[.!](?:\s|$)|。|；|，|,\s+(?:since|because|which|so|as|where|when|therefore|hence|thus)\b|\s+(?:because|since)\b"
)
_TAIL_CHARS = 20_000
"""Where an answer that no box and no tag marks is looked for: at the end."""
_CLAUSE_CHARS = 1000
_PYTHON = ("python", "python3", "py")


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
    short = max(_SHORT_BOX.finditer(text), key=lambda match: match.start(), default=None)
    if short is not None and (not boxes or short.start() > boxes[-1][0]):
        return short[1] or short[2]
    if not boxes:
        return None
    start, end, content = boxes[-1]
    inner = [box for box in boxes[:-1] if box[0] > start and box[1] <= end]
    return (inner[-1][2] if inner else content).strip()


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    found = None
    for match in pattern.finditer(text):
        found = match[1]
    return found


def _after_last(pattern: re.Pattern[str], text: str) -> str | None:
    """The rest of the line behind the pattern's last place, or the line after it."""
    end = max((match.end() for match in pattern.finditer(text)), default=None)
    if end is None:
        return None
    rest = text[end : end + _CLAUSE_CHARS].lstrip(" \t\n:*：")
    adverbs = _ADVERBS.match(rest)
    return rest[adverbs.end() if adverbs else 0 :].split("\n", 1)[0]


def _clause(text: str | None) -> str | None:
    """The answer at the start of the rest of a line: a formula, bold text, or words up to the end of the sentence."""
    if text is None:
        return None
    text = text[:_CLAUSE_CHARS].strip().lstrip("*").strip()
    for start, end in (("$$", r"\$\$"), ("$", r"(?<!\\)\$"), (r"\(", r"\\\)"), (r"\[", r"\\\]")):
        close = re.compile(end).search(text, len(start)) if text.startswith(start) else None
        if close:
            rest = text[close.end() :].strip(" *.")
            # "$5$ or $6$" and "$5$ cm" say more than their first formula.
            if not rest or not re.match(r"or\b|and\b|,|[a-zA-Z°%]+$", rest):
                return text[len(start) : close.start()].strip()
    return _SENTENCE_END.split(text, maxsplit=1)[0].strip(" *")


def _last_display(text: str) -> str | None:
    r"""The inside of the last $$...$$ or \[...\]."""
    found: tuple[int, str] | None = None
    for opening, closing in (("$$", "$$"), (r"\[", r"\]")):
        end = text.rfind(closing)
        start = text.rfind(opening, 0, end) if end > 0 else -1
        if start >= 0 and (found is None or start > found[0]):
            found = start, text[start + len(opening) : end]
    return found[1] if found else None


def _last_number(text: str) -> str | None:
    """The last number, or formula with one in it, whichever stands later."""
    found = None
    for match in _INLINE_OR_NUMBER.finditer(text):
        candidate = next(group for group in match.groups() if group is not None)
        if any(char.isdigit() for char in candidate):
            found = candidate
    return found.rstrip(",").strip() if found else None


def extract_answer(response: str, *, last_number: bool = True) -> str | None:
    r"""The final answer of a math reply, or None.

    Tried in order: the last finished \boxed{} or \fbox{}, the last <answer></answer>, the last `#### 72`, the last "the
    answer is ..." (in English or Chinese) or "A: ...", the last display formula, the last number or formula with one.
    Only the text after the thought is looked at.

    "<think>1</think> so \\boxed{\\frac{1}{2}}" -> "\\frac{1}{2}";  "<think>\\boxed{5}" -> None

    Args:
        response: The whole reply.
        last_number: Whether the last number counts where nothing is marked as the answer.
    """
    text = split_reply(response).answer
    if text is None:
        return None
    boxed = _last_box(text)
    if boxed is not None:
        return boxed
    tagged = _last(_ANSWER_TAGS, text)
    if tagged is not None and tagged.strip():
        return tagged.strip()
    # What stands in a box that never ends is no answer.
    text = _OPEN_BOX.sub("", text)[-_TAIL_CHARS:]
    marked = (
        _clause(_last(_HASHES, text)),
        _clause(_last(_LABEL, text)),
        _clause(_after_last(_ANSWER_IS, text)),
        _last_display(text),
    )
    for found in marked:
        if found is not None and found.strip():
            return found.strip()
    return _last_number(text) if last_number else None


def find_code_blocks(text: str) -> list[tuple[str, str, int]]:
    """(language, code, offset just past the closing fence) of every finished ``` block, in order.

    A fence of more backticks ends at one that is no shorter; what follows the language on its line does not count; the
    indentation of the opening fence is taken off every line, so that a block in a list item is a program too.
    """
    blocks: list[tuple[str, str, int]] = []
    fence, language, indent = "", "", 0
    lines: list[str] = []
    position = 0
    for line in text.splitlines(keepends=True):
        position += len(line)
        bare = line.strip()
        ticks = bare[: len(bare) - len(bare.lstrip("`"))]
        if not fence and len(ticks) >= 3 and "`" not in bare[len(ticks) :]:
            fence, lines = ticks, []
            language = next(iter(bare[len(ticks) :].lower().split()), "")
            indent = len(line) - len(line.lstrip(" "))
        elif fence and bare == ticks and len(ticks) >= len(fence):
            blocks.append((language, "".join(lines), position))
            fence = ""
        elif fence:
            lines.append(line[min(indent, len(line) - len(line.lstrip(" "))) :])
    return blocks


def extract_code(response: str) -> str | None:
    """The program of a code reply: its last finished ```python block after the thought, or None.

    A block without a language counts where none is marked as Python: after a program it is what the program prints.
    """
    text = split_reply(response).answer
    if text is None:
        return None
    blocks = find_code_blocks(text)
    programs = [code for language, code, _ in blocks if language in _PYTHON]
    programs = programs or [code for language, code, _ in blocks if not language]
    return programs[-1] if programs else None
