r"""Plain numbers, read exactly and in microseconds: 1,234  -0.5  3/4  \frac{3}{4}  50\%  $18.

Most answers of most data sets are plain numbers. Any other text goes to the grammar in `math/`.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

_MAX_CHARS = 60
"""Longer texts are not looked at."""
_NUMBER = re.compile(
    r"(?P<sign>[+-]?)\\?\$?(?:(?P<whole>\d{1,3}(?:,\d{3})+|\d+)(?:\.(?P<part>\d+))?(?:/(?P<bottom>[1-9]\d*))?"
    r"|\\[dt]?frac\{(?P<over>-?\d+)\}\{(?P<under>[1-9]\d*)\})(?P<percent>\\?%)?\.?"
)


@lru_cache(maxsize=20_000)
def plain_number(text: str) -> Fraction | None:
    r"""The number, or None where the text is anything else.

    "1,234.50" -> 2469/2;  "50\\%" -> 1/2;  "\\frac{3}{4}" -> 3/4;  "3 cm" -> None
    """
    if len(text) > _MAX_CHARS:
        return None
    text = text.strip()
    if len(text) > 2 and text[0] == text[-1] == "$":
        text = text[1:-1].strip()
    match = _NUMBER.fullmatch(text) if text.isascii() else None
    if match is None:
        return None
    if match["over"] is not None:
        value = Fraction(int(match["over"]), int(match["under"]))
    else:
        if match["part"] and match["bottom"]:
            return None
        part = match["part"] or ""
        value = Fraction(int(match["whole"].replace(",", "") + part), 10 ** len(part) * int(match["bottom"] or 1))
    if match["percent"]:
        value /= 100
    return -value if match["sign"] == "-" else value
