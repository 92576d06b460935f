r"""Answers in words and choice letters: compared without case, brackets, articles and \text{}."""

from __future__ import annotations

import re

_UNITS_TEXT = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen"""
_TENS_TEXT = "twenty thirty forty fifty sixty seventy eighty ninety"
_SPELLED = {word: value for value, word in enumerate(_UNITS_TEXT.split())}
_SPELLED |= {word: 10 * tens for tens, word in enumerate(_TENS_TEXT.split(), start=2)}
_MAX_NESTED_TEXT = 4
r"""How many layers of \text{\textbf{...}} are taken off."""
_POWERS = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
_COMMAND = re.compile(
    r"\\(?:text|textbf|textit|textrm|textsf|mathrm|mathbf|mbox|operatorname|textnormal|emph|mathsf|bf|rm) ?\{([^{}]*)\}"
)
"""A command for text, with its inside."""
_WORDS = re.compile(r"[^\W\d_]+(?:[ '\-][^\W\d_]+)*")
"""Letters of any script, with single blanks, hyphens and apostrophes between them: an answer in words."""
_ARTICLES = re.compile(r"\b(?:the|an|a)\b(?= )")
"""Articles before a word."""
_CHOICE = re.compile(
    r"(?:(?:option|choice|answer|选项|选)\s*)?[(\[]?\s*([A-Ja-j])\s*[)\]]?(?:\s*[.:)]\s*(.*)|\s+(.*))?",
    re.IGNORECASE | re.DOTALL,
)
"""A choice letter, with the text of its choice behind it or not."""
_MARKED_LETTER = re.compile(r"\W*(?:option|choice|选)?\W*[(\[]?[A-Ja-j]\s*[)\].:]")
"""A letter with a sign behind it that makes it a label: only then words may follow."""
_OTHER_LABEL = re.compile(r"(?<![A-Za-z])(?:\([A-J]\)|[A-J][).:](?=\s|$)|[A-J]\])")
"""A second label in what follows a letter: (A) ... (B)."""
_SEVERAL = re.compile(r"[(\[]?[A-J][)\]]?(?:(?:\s*[,;&/]\s*|\s+(?i:and|or)\s+|\s*)[(\[]?[A-J][)\]]?)+")
"""Two and more choice letters with nothing but a sign or a word between them."""
_SYNONYMS = {
    "undefined": ("not defined", "无意义"),
    "does not exist": ("dne", "doesn't exist", "nonexistent", "no limit", "不存在"),
    "no solution": ("no solutions", "no real solution", "no real solutions", "empty set", "none exist", "无解"),
    "infinitely many": ("infinitely many solutions", "infinite", "infinite number of solutions", "无数"),
    "reals": ("all real numbers", "all reals", "any real number", "every real number", "real numbers", "全体实数"),
    "yes": ("是",),
    "no": ("否",),
    "true": ("对", "正确"),
    "false": ("错", "错误"),
}
"""Other words for the same answer, by the one that is used in their place."""
_MEANINGS = {other: meaning for meaning, others in _SYNONYMS.items() for other in others}
"""The answer that each of the other words stands for."""


def number_of(words: str) -> int | None:
    """The whole number that words spell: "twenty one" -> 21, "one million" -> 1000000; None for other words."""
    total = current = 0
    pieces = [word for word in words.replace("-", " ").split() if word != "and"]
    if not pieces:
        return None
    for word in pieces:
        if word in _SPELLED:
            # After "twenty" only "one" to "nine" go on with the number.
            if current % 100 and (current % 10 or _SPELLED[word] > 9):
                return None
            current += _SPELLED[word]
        elif word == "hundred" and 0 < current < 10:
            current *= 100
        elif word in _POWERS and current:
            total, current = total + current * _POWERS[word], 0
        else:
            return None
    return total + current


def without_commands(text: str) -> str:
    r"""\text{east} as east."""
    for _ in range(_MAX_NESTED_TEXT):
        text, count = _COMMAND.subn(r" \1 ", text)
        if not count:
            break
    return " ".join(text.replace("\\ ", " ").split())


def plain_words(text: str) -> str | None:
    """The words of a text answer in one spelling; None where it is mathematics.

    "\\text{The Evelyn}." -> "evelyn";  "no solutions" -> "no solution";  "2x" -> None
    """
    words = without_commands(text).strip(" .!\"'").replace("’", "'")
    if words[:1] in "([" and words[-1:] in ")]" and len(words) > 2:
        words = words[1:-1].strip()
    if not _WORDS.fullmatch(words):
        return None
    words = _ARTICLES.sub("", words.casefold().replace("-", " ")).strip()
    words = " ".join(words.split())
    return _MEANINGS.get(words, words)


def choice_letter(text: str) -> tuple[str, str] | None:
    """(letter, what follows it) of an answer such as "(B)", "B.", "option b", "(C) 12"; None where it is none."""
    match = _CHOICE.fullmatch(without_commands(text).strip().rstrip("."))
    if match is None:
        return None
    rest = (match[2] or match[3] or "").strip()
    if _OTHER_LABEL.search(rest) or re.fullmatch(r"[A-Ja-j]", rest):
        return None
    if rest and not _MARKED_LETTER.match(without_commands(text)):
        # "A cat" is no choice.
        return None
    return match[1].upper(), rest


def several_letters(text: str) -> frozenset[str] | None:
    """The letters of an answer that names more than one: "A, C", "AC", "(A) and (C)"."""
    plain = without_commands(text).strip().rstrip(".")
    if not _SEVERAL.fullmatch(plain):
        return None
    letters = re.findall("[A-J]", plain)
    return frozenset(letters) if len(set(letters)) == len(letters) else None
