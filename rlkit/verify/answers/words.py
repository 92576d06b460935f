r"""Answers in words and choice letters: compared without case, brackets, articles and \text{}."""

from __future__ import annotations

import re

_COMMAND = re.compile(
    r"\\(?:text|textbf|textit|textrm|textsf|mathrm|mathbf|mbox|operatorname|textnormal|emph|mathsf|bf|rm) ?\{([^{}]*)\}"
)
_WORDS = re.compile(r"[^\W\d_]+(?:[ '\-][^\W\d_]+)*")
_ARTICLES = re.compile(r"\b(?:the|an|a)\b(?= )")
_CHOICE = re.compile(
    r"(?:(?:option|choice|answer|选项|选)\s*)?[(\[]?\s*([A-Ja-j])\s*[)\]]?(?:\s*[.:)]\s*(.*)|\s+(.*))?",
    re.IGNORECASE | re.DOTALL,
)
_SEVERAL = re.compile(r"[(\[]?[A-J][)\]]?(?:(?:\s*[,;&/]\s*|\s+(?i:and|or)\s+|\s*)[(\[]?[A-J][)\]]?)+")
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
_MEANINGS = {other: meaning for meaning, others in _SYNONYMS.items() for other in others}


def without_commands(text: str) -> str:
    r"""\text{east} as east."""
    for _ in range(4):
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
    """(letter, what is said after it) of an answer such as "(B)", "B.", "option b", "(C) 12"; None where it is none."""
    match = _CHOICE.fullmatch(without_commands(text).strip().rstrip("."))
    if match is None:
        return None
    rest = (match[2] or match[3] or "").strip()
    if rest and not re.search(
        r"^\W*(?:option|choice|选)?\W*[(\[]?[A-Ja-j]\s*[)\].:]",
        text.replace("\\text", "").replace("{", "").replace("}", ""),
    ):
        return None
    return match[1].upper(), rest


def several_letters(text: str) -> frozenset[str] | None:
    """The letters of an answer that names more than one: "A, C", "AC", "(A) and (C)"."""
    plain = without_commands(text).strip().rstrip(".")
    if not _SEVERAL.fullmatch(plain):
        return None
    letters = re.findall("[A-J]", plain)
    return frozenset(letters) if len(set(letters)) == len(letters) else None
