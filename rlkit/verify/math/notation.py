r"""Signs with two readings: `2e+1` is 20 or 2e + 1, `i` a unit or an index, `1,000` one number or two.

A number with `e` or `E` and digits behind it is read by its own form first:

| form | example | reading |
|---|---|---|
| no sign, or an exponent that begins with 0 | 2e3, 6.02e23, 1E5, 5e-05 | a power of ten |
| what a program or a person writes for a power of ten: a mantissa of 1 or with a point, `E`, an exponent of two or three digits, or one of -3 and below | 1e-5, 1.5e+3, 2E-1, 2e+10, 4e-3 | a power of ten, unless a text shows otherwise |
| any other sign and digits | 2e+1, 3e-1, 5e-2, 2e+2000 | a product with Euler's e and a sum |
| a blank, braces or a command within it, a power or a factorial behind it | 2e + 1, 2{e}+1, 2\mathrm{e}+1, 2e-3^2 | a product with e |

A text shows otherwise where it, or the text that it is compared with, has the same letter by itself: an e that is no
exponent (`e^2`, `2e`, `\mathrm{e}`), a logarithm or `\exp`; for `E` a variable E. So 2e+10 is 20000000000, and beside
10 + 2e it is 10 + 2e. Nothing is ever tried both ways: the improbable reading earns nothing.

Other signs: 1_000 is 1000, since no base has three digits. 0x1f is 1F in base 16 and, like any numeral with a base, no
decimal number. 2d is a product with d, unless the other side has days.
"""  # noqa: E501

from __future__ import annotations

import re
from typing import NamedTuple

_POWER_OF_TEN = re.compile(r"(\d+(?:\.\d*)?|\.\d+)([eE])([+-]\d+(?![\w.]| ?[\^!])|\d+(?![\d.eE_]| ?[\^!]))")
"""A number, e or E, and digits with a sign or without: what may be a power of ten."""
_MAX_PROGRAM_DIGITS = 3
"""Digits of an exponent that a program writes; with more of them it is no power of ten but a sum."""
_SMALL_EXPONENT = 3
"""4e-3 and every smaller exponent is more likely a power of ten than a difference; 4e-2 is a difference."""
PREFIXED = re.compile(r"0(?:x([0-9a-f]+)|o([0-7]+)|b([01]+))(?![A-Za-z0-9])", re.IGNORECASE)
"""A number as programs write it in base 16, 8 or 2: 0x1f is 1F in base 16, and no product with x."""
_EULER = re.compile(r"(?<![A-Za-z\\])e(?![A-Za-z])|e ?\^|(?<![A-Za-z])(?:ln|exp)(?![A-Za-z])")
"""Euler's e by itself, as a power's base, or a function that belongs to it."""
_VARIABLE_E = re.compile(r"(?<![A-Za-z\\])E(?![A-Za-z])")
"""E by itself."""


class Notation(NamedTuple):
    """How the signs of a text are read that have two readings."""

    imaginary: bool = True
    """Whether i is the imaginary unit."""
    grouped: bool = True
    """Whether 1,000 is one number."""
    unit_letters: bool = True
    """Whether the letter of 5m is a unit."""
    names: str = ""
    """Of "e" and "E" those that name a number here, so that a doubtful 2e+10 is no power of ten."""


def names_of_e(*texts: str) -> str:
    """Which of "e" and "E" stand by themselves in one of the normalised texts of a row."""
    names = ""
    for text in texts:
        if "e" not in text and "E" not in text and "ln" not in text:
            continue
        rest = _POWER_OF_TEN.sub(lambda match: "0" if _by_form(match) is not False else match[0], text)
        names += "e" * bool(_EULER.search(rest)) + "E" * bool(_VARIABLE_E.search(rest))
    return names


def power_of_ten(text: str, at: int, notation: Notation) -> re.Match[str] | None:
    """The number with an exponent (mantissa, letter, exponent) at this place; None where it is none or a product."""
    match = _POWER_OF_TEN.match(text, at)
    if match is None:
        return None
    by_form = _by_form(match)
    is_power = match[2] not in notation.names if by_form is None else by_form
    return match if is_power else None


def _by_form(match: re.Match[str]) -> bool | None:
    """Whether a number with an exponent is a power of ten by its own form; None where it may be a product as well."""
    mantissa, letter, exponent = match.groups()
    digits = exponent.lstrip("+-")
    if digits == exponent or (len(digits) > 1 and digits[0] == "0"):
        return True
    if len(digits) > _MAX_PROGRAM_DIGITS:
        return False
    usual = mantissa == "1" or "." in mantissa or letter == "E" or len(digits) > 1
    return None if usual or (exponent[0] == "-" and int(digits) >= _SMALL_EXPONENT) else False
