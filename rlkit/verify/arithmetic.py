"""Equalities that a text states, such as 8 + 5 = 13, found and checked exactly with fractions and a small parser.

Only plain arithmetic counts (+ - * / ^, brackets, decimals). What stands next to a variable or a word is left out
rather than misread: "x + 3 = 5" and "20% of 50 = 10" state nothing here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

_MAX_CHARS = 100_000
_MAX_SIDE = 200
_MAX_DIGITS = 30
_MAX_DEPTH = 20
_MAX_EXPONENT = 64
_MAX_FOUND = 1000
_REWRITES = (
    (re.compile(r"\\(?:times|cdot)(?![a-z])|[×·∙]"), "*"),
    (re.compile(r"\\div(?![a-z])|÷"), "/"),
    (re.compile(r"\\[dt]?frac\{(\d+)\}\{(\d+)\}"), r"(\1/\2)"),
    (re.compile(r"(?<=\d)[ \t]*[xX][ \t]*(?=\d)"), "*"),
    (re.compile(r"(?<=\d),(?=\d{3}(?!\d))"), ""),
    (re.compile(r"[−–]"), "-"),
    (re.compile(r"\\left|\\right|\\[,;! ]|\\?\$"), ""),
    (re.compile(r"=="), "="),
    (re.compile(r"\*\*"), "^"),
)
_RUN = re.compile(r"[\d \t.+\-*/()^=]{3,}")
_TOKEN = re.compile(r"[ \t]*(\d+(?:\.\d+)?|[-+*/^()])")


@dataclass(frozen=True)
class Equality:
    """A stated equality of two arithmetic expressions, at least one of them more than a number."""

    text: str
    """As written, without blanks: "8+5=13"."""
    value: Fraction
    """What its left side is."""
    operands: tuple[Fraction, ...]
    """The numbers on the side that is computed."""
    holds: bool
    """Whether both sides are exactly equal."""


def find_equalities(text: str) -> tuple[Equality, ...]:
    """The equalities stated in a text, in order; a chain a = b = c states a = b and b = c.

    "8+5=13, so 2 x 13 = 27" -> 8+5=13 (holds), 2*13=27 (does not)
    """
    text = text[:_MAX_CHARS]
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    found: list[Equality] = []
    for run in _RUN.finditer(text):
        if "=" in run[0] and len(found) < _MAX_FOUND:
            found.extend(_chain(_sides(text, run)))
    return tuple(found)


def _sides(text: str, run: re.Match[str]) -> list[str]:
    """The sides of a chain; those that a neighbouring word or variable makes doubtful are blank."""
    sides = [side.strip().rstrip(".").strip() for side in run[0].split("=")]
    before = text[max(0, run.start() - 12) : run.start()]
    after = text[run.end() : run.end() + 2]
    touching = bool(before) and not before[-1].isspace() and not run[0][0].isspace()
    if (touching and (before[-1].isalnum() or before[-1] in "_\\})%")) or before.split()[-1:] in (["of"], ["%"]):
        sides[0] = ""
    # A word, then an operator: its left operand is the word.
    if before.strip() and before.rstrip()[-1].isalnum() and sides[0][:1] in tuple("+*/^-"):
        sides[0] = ""
    next_to = after[:1].isalpha() and (not run[0][-1].isspace() or not after[1:2].isalpha())
    if next_to or after[:1] in ("\\", "_", "%", "{"):
        sides[-1] = ""
    return sides


def _chain(sides: list[str]) -> list[Equality]:
    found = []
    values = [_evaluate(side) for side in sides]
    for left, right, a, b in zip(sides, sides[1:], values, values[1:], strict=False):
        if a is None or b is None or not (a[1] > 1 or b[1] > 1):
            continue
        text = f"{left}={right}".replace(" ", "").replace("\t", "")
        computed = left if a[1] > 1 else right
        operands = tuple(Fraction(number) for number in re.findall(r"\d+(?:\.\d+)?", computed))
        found.append(Equality(text, a[0], operands, a[0] == b[0]))
    return found


def _evaluate(text: str) -> tuple[Fraction, int] | None:
    """(value, how many numbers it is made of), or None where it is not plain arithmetic within the limits."""
    tokens, position = [], 0
    if not 0 < len(text) <= _MAX_SIDE:
        return None
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or len(match[1]) > _MAX_DIGITS:
            return None
        tokens.append(match[1])
        position = match.end()
    parser = _Parser(tokens)
    try:
        value = parser.sum(0)
    except (_Refused, ZeroDivisionError):
        return None
    numbers = sum(token[0].isdigit() for token in tokens)
    return (value, numbers) if parser.position == len(tokens) else None


class _Refused(Exception):
    pass


class _Parser:
    """Recursive descent over numbers, + - * / ^ and brackets."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.position = 0

    def _take(self, *wanted: str) -> str | None:
        if self.position < len(self.tokens) and self.tokens[self.position] in wanted:
            self.position += 1
            return self.tokens[self.position - 1]
        return None

    def sum(self, depth: int) -> Fraction:
        """term (("+" | "-") term)*"""
        if depth > _MAX_DEPTH:
            raise _Refused
        value = self._product(depth)
        while sign := self._take("+", "-"):
            term = self._product(depth)
            value = value + term if sign == "+" else value - term
        return value

    def _product(self, depth: int) -> Fraction:
        value = self._signed(depth)
        while sign := self._take("*", "/"):
            factor = self._signed(depth)
            value = value * factor if sign == "*" else value / factor
        return value

    def _signed(self, depth: int) -> Fraction:
        if self._take("-"):
            return -self._power(depth)
        return self._power(depth)

    def _power(self, depth: int) -> Fraction:
        base = self._atom(depth)
        if not self._take("^"):
            return base
        exponent = self._atom(depth)
        if exponent.denominator != 1 or exponent > _MAX_EXPONENT or base.numerator.bit_length() > 128:
            raise _Refused
        return base ** int(exponent)

    def _atom(self, depth: int) -> Fraction:
        if self._take("("):
            value = self.sum(depth + 1)
            if not self._take(")"):
                raise _Refused
            return value
        if self.position >= len(self.tokens) or not self.tokens[self.position][0].isdigit():
            raise _Refused
        self.position += 1
        return Fraction(self.tokens[self.position - 1])
