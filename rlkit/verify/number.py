r"""Plain numbers, read exactly: 1,234  -0.5  \frac{3}{4}  2 1/2  50\%  $18  3 cm  2 million.

Most gold answers are of this kind, so most rows are judged here, in microseconds and without sympy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_DIGITS = 1000
"""Digits a plain number may have; above it the text is no plain number."""

_INTEGER = r"\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d+"
_DECIMAL = re.compile(rf"({_INTEGER})?(?:\.(\d*))?")
_FRACTION = re.compile(r"(\d+) ?/ ?(\d+)")
_LATEX_FRACTION = re.compile(r"(\d+)? ?\\frac ?\{([+-]?\d+)\} ?\{([+-]?\d+)\}")
_MIXED = re.compile(r"(\d+) (\d+)/(\d+)")
_BASED = re.compile(r"(\d+) ?_ ?\{?(\d{1,2})\}?")
_MAGNITUDES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_UNIT_TEXT = """
    mm cm km kg mg ml ft in inch lb lbs oz mph kmh hr hrs min mins sec secs day days hour hours minute minutes second
    seconds week weeks month months year years meter meters metre metres mile miles feet foot inches yard yards gram
    grams pound pounds liter liters litre litres cent cents dollar dollars euro euros usd degree degrees unit units
    apples people men women students children boxes books cookies eggs pages points times ways"""
_UNIT_WORDS = frozenset(_UNIT_TEXT.split())
_UNIT = re.compile(
    r"(.*?) ?(?:\\(?:text|mathrm|textrm) ?\{ ?([A-Za-z. ]+)(?:\^?\d)? ?\}|(?<=[\d} ])([A-Za-z]+))(?:\^?\{?\d?\}?)"
)
_VULGAR = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅛": "1/8"}
_SIGNS = {"−": "-", "–": "-", "×": r"\times ", "÷": r"\div ", "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ",
          "≠": r"\ne ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "±": r"\pm ", "°": r"^\circ ", "²": "^2", "³": "^3",
          "√": r"\sqrt "}  # fmt: skip
_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
_SPACING = re.compile(
    r"(?<!\\)\\[,;:! ]|\\quad|\\qquad|~|\\displaystyle|\\(?:left|right)(?![a-z])|\\(?:big|Big|bigg|Bigg)[lr]?(?![a-z])"
)
_SHORT_FRACTION = re.compile(r"\\frac ?(\d) ?(\d)(?!\d)")


@dataclass(frozen=True)
class PlainNumber:
    """A number with the sign that stood behind it."""

    value: Fraction
    unit: str = ""
    """A unit in small letters, "%" for percent, "" for none."""


def normalize_text(text: str) -> str:
    r"""LaTeX with one spelling for the things that mean the same: `\dfrac`, `\left(`, `$`, unicode signs, `{,}`."""
    text = text.strip()
    for vulgar, plain in _VULGAR.items():
        text = re.sub(rf"(\d?) ?{vulgar}", lambda m, p=plain: f"{m[1]} {p}" if m[1] else p, text)  # type: ignore[misc]
    for sign, latex in _SIGNS.items():
        text = text.replace(sign, latex)
    for start, end in _WRAPPERS:
        if text.startswith(start) and text.endswith(end) and len(text) > len(start) + len(end):
            text = text[len(start) : -len(end)]
            break
    text = text.replace("{,}", ",").replace(r"\dfrac", r"\frac").replace(r"\tfrac", r"\frac").replace(r"\!", "")
    text = _SPACING.sub(" ", text).replace(r"\$", "").replace("$", "").replace(r"\%", "%").replace(r"\percent", "%")
    text = _SHORT_FRACTION.sub(r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\sqrt ?([0-9a-z])", r"\\sqrt{\1}", text)
    text = " ".join(text.split())
    return text[:-1].rstrip() if text.endswith(".") else text


def _read_unsigned(text: str) -> Fraction | None:
    if match := _LATEX_FRACTION.fullmatch(text):
        whole, top, bottom = match.groups()
        if int(bottom) == 0 or (whole and "-" in top + bottom):
            return None
        return Fraction(int(whole or 0)) + Fraction(int(top), int(bottom))
    if match := _MIXED.fullmatch(text):
        whole, top, bottom = match.groups()
        return int(whole) + Fraction(int(top), int(bottom)) if int(bottom) else None
    if match := _FRACTION.fullmatch(text):
        return Fraction(int(match[1]), int(match[2])) if int(match[2]) else None
    match = _DECIMAL.fullmatch(text)
    if not match or not (match[1] or match[2]):
        return None
    digits = re.sub("[, ]", "", match[1] or "")
    return Fraction(f"{digits or 0}.{match[2] or 0}")


def _read_based(digits: str, base: int) -> PlainNumber | None:
    if not 2 <= base <= 36 or any(int(digit) >= base for digit in digits):
        return None
    return PlainNumber(Fraction(int(digits, base)), f"base {base}")


def _read_signed(text: str) -> Fraction | None:
    sign = 1
    if text[:1] in ("-", "+"):
        sign = -1 if text[0] == "-" else 1
        text = text[1:].lstrip()
    value = _read_unsigned(text)
    return None if value is None else sign * value


def read_number(text: str) -> PlainNumber | None:
    r"""The plain number in a normalised text, or None where it is anything else.

    "1,234.50" -> 2469/2;  "50%" -> 1/2, unit "%";  "3 cm" -> 3, unit "cm";  "2 million" -> 2000000;  "2x" -> None
    """
    if len(text) > MAX_DIGITS or not any(c.isascii() and c.isdigit() for c in text) or not text.isascii():
        return None
    value = _read_signed(text)
    if value is not None:
        return PlainNumber(value)
    if match := _BASED.fullmatch(text):
        return _read_based(match[1], int(match[2]))
    if text.endswith("%"):
        value = _read_signed(text[:-1].rstrip())
        return None if value is None else PlainNumber(value / 100, "%")
    if match := re.fullmatch(r"(.*\S) ?\^ ?(?:\\circ|\{ ?\\circ ?\})", text):
        value = _read_signed(match[1])
        return None if value is None else PlainNumber(value, "degrees")
    match = _UNIT.fullmatch(text)
    value = _read_signed(match[1].rstrip()) if match else None
    if match is None or value is None:
        return None
    unit = (match[2] or match[3]).strip().lower()
    if unit in _MAGNITUDES:
        return PlainNumber(value * _MAGNITUDES[unit])
    return PlainNumber(value, unit) if match[2] or unit in _UNIT_WORDS else None


def same_number(gold: PlainNumber, answer: PlainNumber) -> bool:
    """Exact equality. A unit counts where the gold has one and the answer another; percent is a hundredth.

    An answer of "50%" is right for a gold of 1/2, and for a gold of 50 (where it is the unit that was asked for); "50"
    and 1/2 are different numbers.
    """
    if gold.unit and answer.unit and gold.unit != answer.unit and "%" not in (gold.unit, answer.unit):
        return gold.unit.rstrip("s") == answer.unit.rstrip("s") and gold.value == answer.value
    if answer.unit == "%" and not gold.unit and answer.value * 100 == gold.value:
        return True
    return gold.value == answer.value
