r"""What a LaTeX text may contain before any parser sees it: known commands, bounded size, nesting, digits and powers.

Refusing is cheap and certain; a limit on time (see `math.py`) stands behind it for what slips through.
"""

from __future__ import annotations

import re

MAX_CHARS = 2000
"""Longest answer that is looked at."""
_MAX_PARSED_CHARS = 400
_MAX_NESTING = 12
_MAX_DIGITS = 60
_MAX_POWERS = 12
_MAX_FACTORIAL_DIGITS = 3
_WORDS = """
    frac sqrt pi cdot times div infty pm mp sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln exp binom
    text mathrm textbf mathbf circ cup cap in le leq ge geq lt gt ne neq alpha beta gamma delta epsilon theta lambda mu
    nu rho sigma tau phi varphi omega psi begin end emptyset varnothing mathbb lfloor rfloor lceil rceil lvert rvert
    vert lor"""
_COMMANDS = frozenset(_WORDS.split())


def refusal(text: str) -> str | None:
    """Why a normalised text is not parsed, or None where it may be."""
    if len(text) > _MAX_PARSED_CHARS:
        return "too long"
    if not text or not text.isascii() or not text.isprintable():
        return "empty or not plain text"
    for command in re.findall(r"\\([a-zA-Z]+)", text):
        if command not in _COMMANDS:
            return f"unknown command \\{command}"
    if "__" in text or re.search(r"\d ?_", text):
        return "a subscript after a number"
    if re.search(r"(?<![_\d])\d+ \d", text):
        return "two numbers side by side"
    if max((len(digits) for digits in re.findall(r"\d+", text)), default=0) > _MAX_DIGITS:
        return "too many digits"
    return _nesting_refusal(text) or _power_refusal(text)


def _nesting_refusal(text: str) -> str | None:
    depth = deepest = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        deepest = max(deepest, depth)
    return "nested too deep" if deepest > _MAX_NESTING else None


def _power_refusal(text: str) -> str | None:
    """Towers (a power in an exponent), long exponents, chained or large factorials."""
    if text.count("^") + text.count("**") > _MAX_POWERS:
        return "too many powers"
    if re.search(r"! ?!|\)! ?\^|\) ?!|\} ?!", text):
        return "a factorial of an expression"
    for digits in re.findall(r"(\d+) ?!", text):
        if len(digits) > _MAX_FACTORIAL_DIGITS:
            return "a large factorial"
    for match in re.finditer(r"\^ ?\{", text):
        exponent = _braced(text, match.end())
        if "^" in exponent or "!" in exponent or re.search(r"\d{4}", exponent):
            return "a large exponent"
    if re.search(r"\^ ?-?\d{4}|\^ ?\(|\^ ?\w+ ?\^|\*\*", text):
        return "a large exponent"
    if re.search(r"binom[^a-z]*\d{4}", text):
        return "a large binomial"
    return None


def _braced(text: str, start: int) -> str:
    depth = 1
    for end in range(start, len(text)):
        depth += (text[end] == "{") - (text[end] == "}")
        if depth == 0:
            return text[start:end]
    return text[start:]
