r"""A normalised text as tokens, with bounds on everything before any number is made.

Token kinds: num (an exact number), word (letters as they stand), cmd (a LaTeX command's name), text (the inside of
\text{...}), op (one sign), end.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from rlkit.verify.math.nodes import Unreadable
from rlkit.verify.math.notation import PREFIXED, Notation, power_of_ten

MAX_CHARS = 1000
"""Longest normalised answer that is read."""
_MAX_TOKENS = 600
_MAX_NESTING = 24
"""Deepest nesting of brackets; no real answer comes near it, and the parser calls itself for each level."""
_MAX_POWER_OF_TEN = 5000
"""Largest exponent of a power of ten that is made a number."""
_LONGEST_FIXED_PART = 6
"""Digits that may stand before the repeating ones of a decimal that ends in dots."""
_TEXT_NAMES = """
    text textbf textit textrm textsf texttt mathrm mbox hbox operatorname mathsf mathit mathbf boldsymbol bm textnormal
    emph mathcal mathtt"""
_FUNCTION_NAMES = """
    sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log lg exp min max gcd lcm abs Re Im or and mod"""
_TEXT_COMMANDS = frozenset(_TEXT_NAMES.split())
"""Commands whose braces hold text, or symbols in another font."""
_FUNCTION_WORDS = frozenset(_FUNCTION_NAMES.split())
"""Words that keep their meaning in such braces: \\mathrm{sin}, \\text{or}."""
_PROSE_COMMANDS = ("text", "mbox", "hbox", "textbf")
"""Commands for prose: a single letter in them is text; in the others it is a symbol."""
_ALWAYS_SYMBOLS = ("e", "i")
"""Letters that are the constants also in a command for prose, since models write \\text{e} and \\text{i}."""
_BOLD_COMMANDS = ("mathbf", "boldsymbol", "bm")
_UNIT_VECTORS = ("i", "j", "k")
"""Letters that in bold are names of their own: a bold i is a vector, not the imaginary unit."""
_REPEATING = re.compile(
    r"(\d*)\.(\d*?)(?:"
    r"\\(?:overline|bar) ?(?:\{ ?(\d+) ?\}|(\d))"  # 0.1\overline{6}
    r"|\((\d+)\)"  # 0.1(6)
    r"|\\dot ?\{?(\d)\}?(\d*)\\dot ?\{?(\d)\}?"  # 0.\dot{1}4285\dot{7}
    r"|\\dot ?\{?(\d)\}?)"  # 0.\dot{3}
)
"""A repeating decimal in any of its spellings; its groups are named in `_special_number`."""
_ELLIPSIS = re.compile(r"(\d*)\.(\d{2,60})(?:\.\.\.|…| ?\\ldots)")
"""A decimal that ends in dots: 0.333..."""
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?![\d])(?:\.\d+)?")
"""1,234,567.89 as one number."""
_UNDERSCORED = re.compile(r"\d{1,3}(?:\\?_\d{3})+(?![\d_\\])(?:\.\d+)?")
"""1_000 as programs write it; an index has other than three digits, or no digits before it."""
_PLAIN = re.compile(r"\d+(?:\.\d+)?|\.\d+|\d+\.(?!\.)")
"""12, 1.5, .5 and 12. (whose point is no ellipsis)."""
_WORD = re.compile(r"[A-Za-z]+")
_COMMAND = re.compile(r"\\([A-Za-z]+|.)")
"""A LaTeX command: letters, or one sign, behind a backslash."""
_SIGN_COMMANDS = {"{": "lbrace", "}": "rbrace", "|": "norm", "\\": "newline"}
_OPERATORS = frozenset("+-*/^_=<>()[]{}|,;:!'%°&$€£¥°")


class Token(NamedTuple):
    """One piece of an answer."""

    kind: str
    text: str
    """As written; for an op or cmd its name."""
    spaced: bool = False
    """Whether a blank stands before it."""
    value: Fraction = Fraction(0)
    """Of a num."""


def _repeating(whole: str, fixed: str, cycle: str) -> Fraction:
    """The number with these digits before the point, behind it, and repeated: 0.1(6) is 1/6."""
    start = Fraction(int(whole or "0")) + (Fraction(int(fixed), 10 ** len(fixed)) if fixed else 0)
    return start + Fraction(int(cycle), (10 ** len(cycle) - 1) * 10 ** len(fixed))


def _cycle(digits: str) -> tuple[str, str] | None:
    """(fixed, repeated) of digits that end in at least two whole rounds, such as 333 or 142857142857."""
    for start in range(min(len(digits), _LONGEST_FIXED_PART)):
        tail = digits[start:]
        for size in range(1, len(tail) // 2 + 1):
            rounds = (len(tail) // size + 1) * tail[:size]
            if rounds.startswith(tail):
                return digits[:start], tail[:size]
    return None


def _special_number(text: str, at: int, notation: Notation) -> tuple[Fraction, int] | None:
    """A repeating decimal or a number with an exponent at this place, and where it ends."""
    if match := _REPEATING.match(text, at):
        whole, fixed, line, digit, bracket, first, middle, last, dot = match.groups()
        cycle = line or digit or bracket or dot or first + middle + last
        return _repeating(whole, fixed, cycle), match.end()
    if match := _ELLIPSIS.match(text, at):
        found = _cycle(match[2])
        if found is None:
            raise Unreadable("a number that continues")
        return _repeating(match[1], *found), match.end()
    if match := power_of_ten(text, at, notation):
        power = int(match[3])
        if abs(power) > _MAX_POWER_OF_TEN:
            raise Unreadable("too large a number")
        return Fraction(match[1] if match[1][-1] != "." else match[1] + "0") * Fraction(10) ** power, match.end()
    return None


def _number(text: str, at: int, grouped: bool) -> tuple[Fraction, int]:
    """A plain number at this place, and where it ends."""
    if text[at] == "0" and PREFIXED.match(text, at):
        raise Unreadable("a number in another base within an expression")
    match = (_GROUPED.match(text, at) if grouped else None) or _UNDERSCORED.match(text, at) or _PLAIN.match(text, at)
    if match is None:
        raise Unreadable("a misplaced point")
    digits = re.sub(r"[,\\_]", "", match[0])
    if "." not in digits:
        return Fraction(int(digits)), match.end()
    whole, _, part = digits.partition(".")
    return Fraction(int(whole + part or "0"), 10 ** len(part)), match.end()


def _group(text: str, at: int) -> tuple[str, int]:
    """The inside of the braces that open at or just after this place, or the one letter there; and where they end."""
    while at < len(text) and text[at] == " ":
        at += 1
    if at < len(text) and text[at].isalnum():
        return text[at], at + 1
    if at >= len(text) or text[at] != "{":
        raise Unreadable("a command without its braces")
    depth = 0
    for end in range(at, len(text)):
        depth += (text[end] == "{") - (text[end] == "}")
        if depth == 0:
            return text[at + 1 : end], end + 1
    raise Unreadable("an unfinished brace")


def _command(text: str, at: int, spaced: bool) -> tuple[Token, int]:
    """The token of a LaTeX command at this place, with its braces if they hold text, and where it ends."""
    match = _COMMAND.match(text, at)
    if match is None:
        raise Unreadable("a lone backslash")
    name, end = _SIGN_COMMANDS.get(match[1], match[1]), match.end()
    if name not in _TEXT_COMMANDS:
        return Token("cmd", name, spaced), end
    inside, end = _group(text, end)
    words = inside.strip()
    if name in _BOLD_COMMANDS and len(words) == 1:
        return Token("word", f"bold {words}" if words in _UNIT_VECTORS else words, spaced), end
    if words in _FUNCTION_WORDS:
        return Token("word", words, spaced), end
    if len(words) == 1 and words.isalpha() and (words in _ALWAYS_SYMBOLS or name not in _PROSE_COMMANDS):
        return Token("word", words, spaced), end
    return Token("text", words, spaced), end


def _starts_number(text: str, at: int) -> bool:
    r"""Whether a number begins here: 5, .5 and .\overline{3}."""
    following = text[at + 1 : at + 2]
    return text[at].isdigit() or (text[at] == "." and (following.isdigit() or following == "\\"))


def tokenize(text: str, notation: Notation) -> list[Token]:
    """Tokens of a normalised text, ended by an `end`.

    Args:
        text: What `normalize` gave.
        notation: How signs with two readings are read.

    Raises:
        Unreadable: a character or a size that no answer has.
    """
    if len(text) > MAX_CHARS:
        raise Unreadable("too long")
    tokens: list[Token] = []
    at, depth = 0, 0
    while at < len(text):
        spaced = text[at] == " "
        at += spaced
        if at >= len(text):
            break
        char = text[at]
        depth += (char in "([{") - (char in ")]}")
        if depth > _MAX_NESTING or len(tokens) > _MAX_TOKENS:
            raise Unreadable("nested too deep or too long")
        if _starts_number(text, at):
            value, end = _special_number(text, at, notation) or _number(text, at, notation.grouped)
            tokens.append(Token("num", text[at:end], spaced, value))
        elif char == "\\":
            token, end = _command(text, at, spaced)
            tokens.append(token)
        elif match := _WORD.match(text, at):
            end = match.end()
            tokens.append(Token("word", match[0], spaced))
        elif char in _OPERATORS:
            end = at + 2 if text.startswith("**", at) else at + 1
            tokens.append(Token("op", "^" if end - at == 2 else char, spaced))
        else:
            raise Unreadable(f"the character {char!r}")
        at = end
    return [*tokens, Token("end", "")]
