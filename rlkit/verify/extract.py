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
    r"\banswer\b[^.\n:=]{0,60}?(?:\bis\b|\bequals\b|:|=)|答案(?!不)\**(?:应该是|应为|是|为|选|：|:)|故[^。\n]{0,6}?选|应选|选择|本题选"
    r"|(?<![\u4e00-\u9fff])答(?:：|:)",
    re.IGNORECASE,
)
_RESULT_IS = re.compile(
    r"\b(?:result|solution|value|option|choice)\b[^.\n:=]{0,60}?(?:\bis\b|\bequals\b|:|=)|[值果](?:是|为)",
    re.IGNORECASE,
)
_IS_THE_ANSWER = re.compile(
    r"(?:^|[\s,(])\(?([A-J]|\$[^$\n]{1,60}\$|-?\d[\d,./]*)\)? is (?:the|our) (?:correct |right |final )?"
    r"(?:answer|choice|option)\b"
)
_NEGATED = re.compile(r"(?:\bnot|n't|\bnever|\bcannot)\W*(?:be\W*)?$|不(?:是|等于|为)\W*$", re.IGNORECASE)
_NOT = re.compile(r"\s*(?:not|never)\b", re.IGNORECASE)
_OPTION = re.compile(r"^[ \t>*#]*\(?B\)?[ \t*]*[:.)]", re.MULTILINE)
_BOLD = re.compile(r"\*\*([^*\n]+)\*\*")
_PROSE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_MATHY = re.compile(
    r"[(\[{$]*(?:-?[\d.,/]*\d[\d.,/]*|[-+*/^=<>×÷≤≥:·]|.*[\^_√\\(){}=<>:π²³*/+].*|[a-zA-Z]|million|billion|thousand)[.,;)\]}$]*"
)
_ADVERBS = re.compile(
    r"(?:(?:therefore|thus|hence|simply|just|indeed|then|equal to|given by)\b[ \t,:：]*)+", re.IGNORECASE
)
_INLINE_OR_NUMBER = re.compile(
    r"(?<!\\)\$((?:\\\$|[^$\n])*)\$|\\\(((?:(?!\\[()]).)*)\\\)"
    r"|((?<![A-Za-z0-9_.])[-−–]?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?)"
)
_SENTENCE_END = re.compile(
    r"[.!](?:\s|$)|。|；|，|,\s+(?:since|because|which|so|as|where|when|therefore|hence|thus)\b|\s+(?:because|since)\b"
)
_TAIL_CHARS = 20_000
"""Where an answer that no box and no tag marks is looked for: at the end."""
_CLAUSE_CHARS = 1000
_SHORT_CHARS = 60


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
    boxes = [box for box in find_boxes(text) if box[2].strip()]
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
    """The rest of the line behind the pattern's last place that nothing denies, or the line after it."""
    for match in reversed(list(pattern.finditer(text))):
        if _NEGATED.search(match[0]) or "n't" in match[0] or _NOT.match(text, match.end()):
            continue
        rest = text[match.end() : match.end() + _CLAUSE_CHARS].lstrip(" \t\n:*：")
        adverbs = _ADVERBS.match(rest)
        return rest[adverbs.end() if adverbs else 0 :].split("\n", 1)[0]
    return None


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
    clause = _SENTENCE_END.split(text, maxsplit=1)[0].strip(" *")
    clause = re.sub(r"(?<=[\w$}]) \([A-Za-z -]+\)$|\s*\\(?:boxed|fbox)$", "", clause)
    if len(_PROSE.findall(clause)) >= 3:
        # A sentence: what is bold in it, or its only number.
        bold = _BOLD.findall(clause)
        numbers = [match[3] for match in _INLINE_OR_NUMBER.finditer(clause) if match[3]]
        if bold or len(numbers) == 1:
            return (bold[-1] if bold else numbers[0]).strip()
    return clause


def _last_display(text: str) -> str | None:
    r"""The inside of the last $$...$$ or \[...\]."""
    found: tuple[int, str] | None = None
    for opening, closing in (("$$", "$$"), (r"\[", r"\]")):
        end = text.rfind(closing)
        start = text.rfind(opening, 0, end) if end > 0 else -1
        if start >= 0 and (found is None or start > found[0]):
            found = start, text[start + len(opening) : end]
    return found[1] if found else None


def _short_reply(text: str) -> str | None:
    """A reply that is nothing but an answer: one short line without prose."""
    line = text.strip().strip("*").strip()
    if not line or len(line) > _SHORT_CHARS or "\n" in line or re.search(r"[\u4e00-\u9fff]{2}", line):
        return None
    if re.match(r"[A-Za-z ]+ ?(?:[:=]|- )", line) and not re.match(r"[a-z] ?=", line):
        return None
    if len(_PROSE.findall(line)) <= (0 if "$" in line else 1):
        return line.rstrip(".") if not line.endswith("...") else line
    return None


def _last_number(text: str) -> str | None:
    """The last number with the mathematics round it, or the last formula with a number, whichever stands later."""
    last = None
    for match in _INLINE_OR_NUMBER.finditer(text):
        candidate = next(group for group in match.groups() if group is not None)
        if any(char.isdigit() for char in candidate) and not _NEGATED.search(
            text[max(0, match.start() - 20) : match.start()]
        ):
            last = match
    if last is None:
        return None
    if last[3] is None:
        return (last[1] if last[1] is not None else last[2]).strip()
    return _formula_round(text, last.start(), last.end()).rstrip(",").strip()


def _formula_round(text: str, start: int, end: int) -> str:
    """The words next to a number that are mathematics too: 2 + 3, x^2 + 1, 5 million."""
    line_start, line_end = text.rfind("\n", 0, start) + 1, text.find("\n", end)
    before = text[line_start:start].split(" ")[-8:]
    after = text[end : line_end if line_end >= 0 else len(text)].split(" ")[:8]
    word = before.pop() + text[start:end] + after.pop(0)
    if len(word) > _SHORT_CHARS or not _MATHY.fullmatch(word):
        return text[start:end]
    words = [word]
    while (
        before
        and len(before[-1]) <= _SHORT_CHARS
        and _MATHY.fullmatch(before[-1])
        and before[-1] not in ("a", "A", "I")
    ):
        words.insert(0, before.pop())
    while (
        after
        and words[-1][-1:] not in (",", ".", ";")
        and len(after[0]) <= _SHORT_CHARS
        and _MATHY.fullmatch(after[0])
        and after[0] != "a"
    ):
        words.append(after.pop(0))
    formula = " ".join(words).strip(".,; ")
    return formula.rsplit("=", 1)[-1].strip() if "=" in formula and "<" not in formula else formula


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
    label = None if _OPTION.search(text) else _last(_LABEL, text)
    marked = (
        _clause(_last(_HASHES, text)),
        _clause(label),
        _clause(_after_last(_ANSWER_IS, text)),
        _last(_IS_THE_ANSWER, text),
        _clause(_after_last(_RESULT_IS, text)),
        _last_display(text),
    )
    for found in marked:
        if found is not None and found.strip():
            return found.strip()
    return (_short_reply(text) or _last_number(text)) if last_number else None
