r"""The answer of a reply without a box: what its words mark as the answer, or its last number.

Every function is linear in the text's length and never evaluates anything.
"""

from __future__ import annotations

import re

_HASHES = re.compile(r"####[ \t]*(\S[^\n]*)")
_LABEL = re.compile(r"^[ \t>*#]*(?:A|Ans|Answer)[ \t*]*:[ \t*]*(\S[^\n]*)", re.MULTILINE)
_ANSWER_IS = re.compile(
    r"\banswer\b[^.\n:=]{0,60}?(?:\bis\b|\bequals\b|\bshould be\b|:|=)|答案(?!不)\**(?:应该是|应为|是|为|选| ?[：:=])"
    r"|故[^。\n]{0,6}?选|应选|选择|本题选|(?<![\u4e00-\u9fff])答(?:：|:)",
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
_VALUE = re.compile(r"[\d$\\√π∞½]|^\W*[A-Za-z]\W*$")
_SAYS_SET = r"[^.\n]{0,40}(?:integer|natural number|\\in\b|∈|整数)"
_ASIDE = re.compile(
    rf"(?<=[\w$}}]) \((?!{_SAYS_SET}|[^()]*\b(?:or|and|if|mod)\b)"
    r"(?:[A-Za-z -]+|(?:not|since|because|as|checked|check|i\.e\.)(?![A-Za-z])[^()]*)\)$"
)
"""Words in brackets behind an answer that say nothing of its value: 7 (not 8), 12 (apples)."""
_SENTENCE_END = re.compile(
    r"(?<!\.)[.!](?:\s|$)|。|；|，|,\s+(?:since|because|which|so|as|when|therefore|hence|thus)\b|\s+(?:because|since)\b"
    rf"|,\s+where\b(?!{_SAYS_SET})|,?\s+(?:not|rather than)\s+(?=[-\d$\\(])"
)
_CLAUSE_CHARS = 1000
_SHORT_CHARS = 60


def marked_answer(text: str) -> str | None:
    """What the last `####` says; then the last label or "the answer is ...", "the result is ...", display formula.

    "Answer: 5. Wait, that is wrong. Answer: 6" -> "6"
    """
    hashes = _HASHES.findall(text)
    if hashes and (clause := _clause(hashes[-1])):
        return clause
    marks = _marks(text)
    marks.sort(key=lambda mark: mark[0], reverse=True)
    first = None
    for _, label, rest in marks:
        clause = _clause(rest)
        if clause and (label or _is_value(clause)):
            return clause
        first = first or clause
    result = (_clause(rest) for _, _, rest in reversed(_said(_RESULT_IS, text)))
    return first or next(filter(None, result), None) or _last_display(text)


def _marks(text: str) -> list[tuple[int, bool, str]]:
    """(place, whether it is a label, the rest of the line) of everything that says which the answer is."""
    labels = [_IS_THE_ANSWER] if _OPTION.search(text) else [_IS_THE_ANSWER, _LABEL]
    found = [(match.start(1), True, match[1]) for pattern in labels for match in pattern.finditer(text)]
    return found + _said(_ANSWER_IS, text)


def _said(pattern: re.Pattern[str], text: str) -> list[tuple[int, bool, str]]:
    """The same for the places of a pattern that nothing denies; where the line ends there, the next line counts."""
    found = []
    for match in pattern.finditer(text):
        if _NEGATED.search(match[0]) or "n't" in match[0] or _NOT.match(text, match.end()):
            continue
        rest = text[match.end() : match.end() + _CLAUSE_CHARS].lstrip(" \t\n:*：")
        adverbs = _ADVERBS.match(rest)
        rest = rest[adverbs.end() if adverbs else 0 :].split("\n", 1)[0]
        found.append((match.end(), match[0][-1] in ":：=", rest))
    return found


def _is_value(clause: str) -> bool:
    """Whether a clause holds a number, a formula or a letter and little else: no "correct, since 5 + 7 is 12"."""
    return len(_PROSE.findall(clause)) <= 2 and _VALUE.search(clause) is not None


def _clause(text: str) -> str:
    """The answer at the start of the rest of a line: a formula, bold text, or words up to the end of the sentence."""
    text = text[:_CLAUSE_CHARS].strip().lstrip("*").strip()
    for start, end in (("$$", r"\$\$"), ("$", r"(?<!\\)\$"), (r"\(", r"\\\)"), (r"\[", r"\\\]")):
        close = re.compile(end).search(text, len(start)) if text.startswith(start) else None
        if close:
            rest = text[close.end() :].strip(" *.")
            # "$5$ or $6$" and "$5$ cm" say more than their first formula.
            if not rest or not re.match(rf"or\b|and\b|,|[a-zA-Z°%]+$|\({_SAYS_SET}", rest):
                return text[len(start) : close.start()].strip()
    clause = _SENTENCE_END.split(text, maxsplit=1)[0].strip(" *")
    clause = re.sub(r"\s*\\(?:boxed|fbox)$", "", _ASIDE.sub("", clause))
    if len(_PROSE.findall(clause)) >= 3:
        # A sentence: what is bold in it, or its only number.
        bold = _BOLD.findall(clause)
        numbers = [match[3] for match in _INLINE_OR_NUMBER.finditer(clause) if match[3]]
        if bold or len(numbers) == 1:
            return (bold[-1] if bold else numbers[0]).strip()
    return clause.strip()


def _last_display(text: str) -> str | None:
    r"""The inside of the last $$...$$ or \[...\]."""
    found: tuple[int, str] | None = None
    for opening, closing in (("$$", "$$"), (r"\[", r"\]")):
        end = text.rfind(closing)
        start = text.rfind(opening, 0, end) if end > 0 else -1
        if start >= 0 and (found is None or start > found[0]):
            found = start, text[start + len(opening) : end]
    return found[1] if found else None


def short_reply(text: str) -> str | None:
    """A reply that is nothing but an answer: one short line without prose."""
    line = text.strip().strip("*").strip()
    if not line or len(line) > _SHORT_CHARS or "\n" in line or re.search(r"[\u4e00-\u9fff]{2}", line):
        return None
    if re.match(r"[A-Za-z ]+ ?(?:[:=]|- )", line) and not re.match(r"[a-z] ?=", line):
        return None
    if len(_PROSE.findall(line)) <= (0 if "$" in line else 1):
        return line.rstrip(".") if not line.endswith("...") else line
    return None


def unmarked_number(text: str) -> str | None:
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
