"""Extracts the marked answer of a worked solution, and turns the solution into a reply with a thought."""

from __future__ import annotations

import re

from rlkit.data.rows import RowError

_MARKED = re.compile(r"(?<!#)####(?!#)([^\n]*)\s*\Z")
_THOUSANDS = re.compile(r"[-+]?\$?\d{1,3}(,\d{3})+(\.\d+)?")


def marked(text: str) -> str | None:
    """The text after "####" in the last line, GSM8K's mark of the answer; None if there is no mark.

    "18 * 60 = 1,080\\n#### 1,080" -> "1080".

    Raises:
        RowError: nothing follows the mark.
    """
    found = _MARKED.search(text)
    if found is None:
        return None
    gold = found[1].strip()
    if not gold:
        raise RowError('there is nothing after "####" in the answer')
    if _THOUSANDS.fullmatch(gold):
        gold = gold.replace(",", "")
    return re.sub(r"^([-+]?)\$(?=[\d.][^$]*$)", r"\1", gold)


def last_boxed(text: str) -> str | None:
    """Content of the last \\boxed{...} whose braces balance: "a \\boxed{\\frac{1}{2}} b" -> "\\frac{1}{2}"."""
    for match in reversed(list(re.finditer(r"\\(?:boxed|fbox)\s*\{", text))):
        depth, end = 1, match.end()
        while end < len(text) and depth:
            # A brace after a backslash is a printed character and opens no group.
            step = 2 if text[end] == "\\" else 1
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += step
        if not depth and text[match.end() : end - 1].strip():
            return text[match.end() : end - 1].strip()
    return None


def without_calculator(text: str) -> str:
    """The text without GSM8K's calculator annotations such as <<48/2=24>>."""
    return re.sub(r"<<[^>]*>>", "", text).strip()


def thought_reply(worked: str, gold: str) -> str:
    """A reply with the solution as its thought and the answer in a box after it."""
    return f"<think>\n{worked}\n</think>\n\\boxed{{{gold}}}"
