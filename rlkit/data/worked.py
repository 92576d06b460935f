"""Worked solutions -> the gold answer that they mark, and the reply that a model could have given."""

from __future__ import annotations

import re

from rlkit.data.rows import RowError

_MARKED = re.compile(r"(?<!#)####(?!#)([^\n]*)\s*\Z")
_THOUSANDS = re.compile(r"[-+]?\$?\d{1,3}(,\d{3})+(\.\d+)?")


def marked(text: str) -> str | None:
    """What follows "####" in the last line, as GSM8K marks its answers; None where nothing is marked.

    "18 * 60 = 1,080\\n#### 1,080" -> "1080".

    Raises:
        RowError: nothing follows the mark.
    """
    found = _MARKED.search(text)
    if found is None:
        return None
    gold = found[1].strip()
    if not gold:
        raise RowError('nothing follows "####" in the answer')
    if _THOUSANDS.fullmatch(gold):
        gold = gold.replace(",", "")
    return re.sub(r"^([-+]?)\$(?=[\d.][^$]*$)", r"\1", gold)


def last_boxed(text: str) -> str | None:
    """Content of the last \\boxed{...} whose braces balance: "a \\boxed{\\frac{1}{2}} b" -> "\\frac{1}{2}"."""
    for match in reversed(list(re.finditer(r"\\(?:boxed|fbox)\s*\{", text))):
        depth, at = 1, match.end()
        while at < len(text) and depth:
            # A brace after a backslash is printed, it opens no group.
            step = 2 if text[at] == "\\" else 1
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += step
        if not depth and text[match.end() : at - 1].strip():
            return text[match.end() : at - 1].strip()
    return None


def without_calculator(text: str) -> str:
    """The text without <<48/2=24>>: calls of a calculator by GSM8K's authors, not reasoning."""
    return re.sub(r"<<[^>]*>>", "", text).strip()


def thought_reply(worked: str, gold: str) -> str:
    """The solution as a thought with the answer in a box after it."""
    return f"<think>\n{worked}\n</think>\n\\boxed{{{gold}}}"
