r"""Finds the answer in a reply without a box: by the words that mark it, or else the last number.

Every function is linear in the text's length and never evaluates anything.
"""

from __future__ import annotations

import re

_HASHES = re.compile(r"####[ \t]*(\S[^\n]*)")
"""The mark of GSM8K's solutions: #### 72."""
_LABEL = re.compile(r"^[ \t>*#]*(?:A|Ans|Answer)[ \t*]*:[ \t*]*(\S[^\n]*)", re.MULTILINE)
"""A line that begins with a label: A: 72, **Answer:** 72."""
_ANSWER_IS = re.compile(
    r"\banswer\b[^.\n:=]{0,60}?(?:\bis\b|\bequals\b|\bshould be\b|:|=)|答案(?!不)\**(?:应该是|应为|是|为|选| ?[：:=])"
    r"|故[^。\n]{0,6}?选|应选|选择|本题选|(?<![\u4e00-\u9fff])答(?:：|:)",
    re.IGNORECASE,
)
""""The answer ... is", in English or Chinese."""
_RESULT_IS = re.compile(
    r"\b(?:result|solution|value|option|choice)\b[^.\n:=]{0,60}?(?:\bis\b|\bequals\b|:|=)|[值果](?:是|为)",
    re.IGNORECASE,
)
""""The result is" and the like, which also name other values; they count where nothing names an answer."""
_IS_THE_ANSWER = re.compile(
    r"(?:^|[\s,(])\(?([A-J]|\$[^$\n]{1,60}\$|-?\d[\d,./]*)\)? is (?:the|our) (?:correct |right |final )?"
    r"(?:answer|choice|option)\b"
)
""""5 is the answer", "(B) is the correct choice"."""
_NEGATED = re.compile(r"(?:\bnot|n't|\bnever|\bcannot)\W*(?:be\W*)?$|不(?:是|等于|为)\W*$", re.IGNORECASE)
"""A denial at the end of such words: "the answer is not"."""
_NOT = re.compile(r"\s*(?:not|never)\b", re.IGNORECASE)
"""A denial behind them."""
_OPTION = re.compile(r"^[ \t>*#]*\(?B\)?[ \t*]*[:.)]", re.MULTILINE)
"""A line that begins with option B: then A: is an option's label, too, and marks no answer."""
_BOLD = re.compile(r"\*\*([^*\n]+)\*\*")
"""Bold text of Markdown."""
_PROSE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
"""Words of two and more letters that are no LaTeX commands."""
_MATHY = re.compile(
    r"[(\[{$]*(?:-?[\d.,/]*\d[\d.,/]*|[-+*/^=<>×÷≤≥:·]|.*[\^_√\\(){}=<>:π²³*/+].*|[a-zA-Z]|million|billion|thousand)[.,;)\]}$]*"
)
"""A word that may be a part of a formula."""
_ADVERBS = re.compile(
    r"(?:(?:therefore|thus|hence|simply|just|indeed|then|equal to|given by)\b[ \t,:：]*)+", re.IGNORECASE
)
"""Words between "the answer is" and the answer."""
_INLINE_OR_NUMBER = re.compile(
    r"(?<!\\)\$((?:\\\$|[^$\n])*)\$|\\\(((?:(?!\\[()]).)*)\\\)"
    r"|((?<![A-Za-z0-9_.])[-−–]?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?)"
)
r"""A formula between dollar signs or \( and \), or a number."""
_VALUE = re.compile(r"[\d$\\√π∞½]|^\W*[A-Za-z]\W*$")
"""An answer that is a value has a digit or a sign of a formula in it, or is a single letter."""
_NAMES_SET = r"[^.\n]{0,40}(?:integer|natural number|\\in\b|∈|整数)"
"""Words that state the set of a variable's values; they belong to the answer."""
_ASIDE = re.compile(
    rf"(?<=[\w$}}]) \((?!{_NAMES_SET}|[^()]*\b(?:or|and|if|mod)\b)"
    r"(?:[A-Za-z -]+|(?:not|since|because|as|checked|check|i\.e\.)(?![A-Za-z])[^()]*)\)$"
)
"""Words in brackets after an answer that do not change its value: 7 (not 8), 12 (apples)."""
_SENTENCE_END = re.compile(
    r"(?<!\.)[.!](?:\s|$)|。|；|，|,\s+(?:since|because|which|so|as|when|therefore|hence|thus)\b|\s+(?:because|since)\b"
    rf"|,\s+where\b(?!{_NAMES_SET})|,?\s+(?:not|rather than)\s+(?=[-\d$\\(])"
)
"""The end of an answer's sentence, or the start of its reason."""
_CLAUSE_CHARS = 1000
"""Characters behind a mark in which its answer is looked for."""
_SHORT_CHARS = 60
"""Longest reply that is nothing but an answer, and longest word of a formula."""

_VALUE_WORDS = 2
"""Words that an answer which is a value may have beside it; with more it is a sentence."""
_NEGATED_CHARS = 20
"""Characters before a number in which it may be denied."""
_FORMULA_WORDS = 8
"""Words on each side of a number that may belong to its formula."""
_GOES_ON = re.compile(rf"or\b|and\b|,|[a-zA-Z°%]+$|\({_NAMES_SET}")
"""What may follow the first formula of an answer and belong to it: "$5$ or $6$", "$5$ cm"."""
_CUT_BOX = re.compile(r"\s*\\(?:boxed|fbox)$")
"""The start of a box that was cut off."""
_CHINESE_WORD = re.compile(r"[\u4e00-\u9fff]{2}")
_NAMED_LINE, _LETTER_LINE = re.compile(r"[A-Za-z ]+ ?(?:[:=]|- )"), re.compile(r"[a-z] ?=")
"""A line with words before a colon or "=" is prose, unless the words are a single letter: x = 5."""
_NO_TERMS = ("a", "A", "I")
"""Letters next to a number that are words: "a 5"."""


def marked_answer(text: str) -> str | None:
    """The answer that a text marks: by the last `####`, or else by a label or "the answer is ...".

    Without these "the result is ..." marks it, and else it is the last display formula.

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
    result = (_clause(rest) for _, _, rest in reversed(_matches(_RESULT_IS, text)))
    return first or next(filter(None, result), None) or _last_display(text)


def _marks(text: str) -> list[tuple[int, bool, str]]:
    """(position, whether it is a label, rest of the line) of every mark that introduces the answer."""
    labels = [_IS_THE_ANSWER] if _OPTION.search(text) else [_IS_THE_ANSWER, _LABEL]
    found = [(match.start(1), True, match[1]) for pattern in labels for match in pattern.finditer(text)]
    return found + _matches(_ANSWER_IS, text)


def _matches(pattern: re.Pattern[str], text: str) -> list[tuple[int, bool, str]]:
    """The same for the matches of a pattern that are not negated; if the line ends there, takes the next line."""
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
    return len(_PROSE.findall(clause)) <= _VALUE_WORDS and _VALUE.search(clause) is not None


def _clause(text: str) -> str:
    """The answer at the start of the rest of a line: a formula, bold text, or words up to the end of the sentence."""
    text = text[:_CLAUSE_CHARS].strip().lstrip("*").strip()
    for start, end in (("$$", r"\$\$"), ("$", r"(?<!\\)\$"), (r"\(", r"\\\)"), (r"\[", r"\\\]")):
        close = re.compile(end).search(text, len(start)) if text.startswith(start) else None
        if close:
            rest = text[close.end() :].strip(" *.")
            # "$5$ or $6$" and "$5$ cm" are more than their first formula.
            if not rest or not _GOES_ON.match(rest):
                return text[len(start) : close.start()].strip()
    clause = _SENTENCE_END.split(text, maxsplit=1)[0].strip(" *")
    clause = _CUT_BOX.sub("", _ASIDE.sub("", clause))
    if len(_PROSE.findall(clause)) > _VALUE_WORDS:
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
    if not line or len(line) > _SHORT_CHARS or "\n" in line or _CHINESE_WORD.search(line):
        return None
    if _NAMED_LINE.match(line) and not _LETTER_LINE.match(line):
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
            text[max(0, match.start() - _NEGATED_CHARS) : match.start()]
        ):
            last = match
    if last is None:
        return None
    if last[3] is None:
        return (last[1] if last[1] is not None else last[2]).strip()
    return _formula_round(text, last.start(), last.end()).rstrip(",").strip()


def _is_mathy(word: str) -> bool:
    """Whether a word may be a part of a formula."""
    return len(word) <= _SHORT_CHARS and _MATHY.fullmatch(word) is not None


def _formula_round(text: str, start: int, end: int) -> str:
    """The words next to a number that are mathematics too: 2 + 3, x^2 + 1, 5 million."""
    line_start, line_end = text.rfind("\n", 0, start) + 1, text.find("\n", end)
    before = text[line_start:start].split(" ")[-_FORMULA_WORDS:]
    after = text[end : line_end if line_end >= 0 else len(text)].split(" ")[:_FORMULA_WORDS]
    word = before.pop() + text[start:end] + after.pop(0)
    if not _is_mathy(word):
        return text[start:end]
    words = [word]
    while before and _is_mathy(before[-1]) and before[-1] not in _NO_TERMS:
        words.insert(0, before.pop())
    while after and words[-1][-1:] not in (",", ".", ";") and _is_mathy(after[0]) and after[0] != "a":
        words.append(after.pop(0))
    formula = " ".join(words).strip(".,; ")
    return formula.rsplit("=", 1)[-1].strip() if "=" in formula and "<" not in formula else formula
