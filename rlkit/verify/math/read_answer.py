"""A text as an answer: its normal form, its words, its tree and its unit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from rlkit.verify.math.lexer import MAX_CHARS
from rlkit.verify.math.names import base_of
from rlkit.verify.math.nodes import Node, Unreadable, mul, number, symbols
from rlkit.verify.math.normal import normalize
from rlkit.verify.math.notation import PREFIXED, Notation
from rlkit.verify.math.parser import parse
from rlkit.verify.math.unit_names import known_unit
from rlkit.verify.math.units import split_magnitude, split_unit
from rlkit.verify.math.words import number_of, plain_words, without_commands

_TREES = {"reals": Node("reals"), "no solution": Node("set", ())}
"""Answers in words that are mathematics."""
_MAGNITUDE = re.compile(r"illion|thousand|hundred|[万亿千]", re.IGNORECASE)
"""A quick look: a text without a match has no word for a power of ten."""
_HEX = re.compile(
    r"[(]? ?([0-9A-Za-z]*\d[0-9A-Za-z]*|[A-F]{2,}(?=.*16)) ?[)]? ?_ ?\{? ?\(?(?:base )?(\d{1,2}|[a-z]+)\)? ?\}?"
)
"""A numeral with its base as an index; letters alone are digits only in base 16."""
_BASE_WORDS = re.compile(r"[(]?([0-9A-Za-z]*\d[0-9A-Za-z]*)[)]? ?\(?(?:in )?base[ -]?(\d{1,2}|[a-z]+)\)?")
"""A numeral with its base in words: "1101 in base 2"."""
_TIME = re.compile(
    r"(\d{1,2}):(\d{2})(?::(\d{2}))?(?: ?(?:\\(?:text|mathrm) ?\{ ?)?([ap])\.? ?m\.?\}?)?", re.IGNORECASE
)
"""A time of day: 3:30, 3:30:15 p.m."""
_CLOCK = re.compile(r"(\d{1,2}) ?(?:\\(?:text|mathrm) ?\{ ?)?([ap])\.? ?m\.?\}?", re.IGNORECASE)
"""A full hour: 3 p.m."""
_MINUTES = re.compile(r"(-?\d+) ?° ?(\d+(?:\.\d+)?) ?'(?: ?(\d+(?:\.\d+)?) ?'')?")
"""Degrees, minutes and seconds: 12° 30' 15''."""
_APPROXIMATELY = re.compile(r"(?:\\approx|≈|about |approximately |exactly )\s*")
"""Words and signs before an answer that do not change its meaning."""
_NAMED = re.compile(r"(?:\\(?:text|mathrm|textbf|mbox) ?\{[A-Za-z ]*\}|[A-Za-z][A-Za-z ]{3,40}) ?= ?")
r"""The name of a quantity in words before its value: \text{Area} = 5."""
_TURNING = re.compile(r"\b(?:not|but|minus|except|never|cannot|no)\b")
"""A name with one of these words denies the value or changes it."""
_COMPOUND_PART = re.compile(r"(\d+(?:\.\d+)?) ?(?:\\(?:text|mathrm) ?\{ ?)?([A-Za-z]+)? ?\}?")
"""A number with its unit, one of those in `_COMPOUND`."""
_COMPOUND = re.compile(
    r"\d+(?:\.\d+)? ?(?:\\(?:text|mathrm) ?\{ ?)?(?:[a-z]{2,}|[hmskgR])\.? ?\}?(?:,? (?:and )?"
    r"\d+(?:\.\d+)?(?: ?(?:\\(?:text|mathrm) ?\{ ?)?(?:[a-z]{2,}|[hmskg])\.? ?\}?)?){1,2}"
)
"""Two or three numbers, each with a unit, in order: 2 h 30 min, 5 ft 6 in, 3 R 2."""
_BRACKETED = re.compile(r"(?:[(\[]|\\\{)[^()\[\]{}\\]*(?:[)\]]|\\\})")
"""Brackets without others in them."""

_MATHEMATICAL_WORDS = re.compile(r"pi|sin|cos|tan|ln|log|sqrt|inf")
"""Words with one of these in them may be a formula."""
_LONGEST_PRODUCT = 4
"""Letters that may be variables side by side; a longer text of letters is words."""
_ITEM_JOIN = re.compile(r",\s+(?:and |or )?|;\s*| and | or ")
"""What parts the items of a list in words."""
_MAX_ITEMS = 20
"""Most items of a list whose items carry units or words."""
_MOST_MINUTES, _MOST_HOURS = 59, 24
"""Of a time of day."""


@dataclass(frozen=True)
class Reading:
    """An answer as it was read."""

    text: str
    """The normal form."""
    words: str | None
    """The words of a text answer; None for others."""
    tree: Node | None
    """None where the text is no mathematics."""
    unit: str
    letter: str
    """The letter that the unit may be as a variable, as in 5m; "" for other units."""
    problem: str
    """Why there is no tree."""


def _based(text: str) -> Node | None:
    r"""A numeral with its base, 12_8 or "1F base 16"; None for other texts, and for digits that the base lacks."""
    plain = without_commands(text)
    match = _HEX.fullmatch(plain) or _BASE_WORDS.fullmatch(plain)
    if match is None:
        return None
    base = base_of(match[2])
    try:
        # int() has bases up to 36; it refuses base 1.
        int(match[1], base if 2 <= base <= 36 else 1)
    except ValueError:
        return None
    return Node("based", (match[1].lstrip("0").upper() or "0", base))


def _prefixed(text: str) -> Node | None:
    """0x1f, 0o17, 0b101."""
    match = PREFIXED.fullmatch(text)
    if match is None:
        return None
    base, digits = next((base, digits) for base, digits in zip((16, 8, 2), match.groups(), strict=True) if digits)
    return Node("based", (digits.lstrip("0").upper() or "0", base))


def _time(text: str) -> Node | None:
    """A time of day; None for other texts."""
    if match := _CLOCK.fullmatch(text):
        return Node("time", (int(match[1]), 0, 0, match[2].lower()))
    match = _TIME.fullmatch(text)
    if match is None or max(int(match[2]), int(match[3] or 0)) > _MOST_MINUTES or int(match[1]) > _MOST_HOURS:
        return None
    return Node("time", (int(match[1]), int(match[2]), int(match[3] or 0), (match[4] or "").lower()))


def _special(text: str) -> Node | None:
    """What is no formula: numerals with a base, times, several units, degrees with minutes; None for other texts."""
    if "_" in text or "base" in text:
        return _based(text)
    if text[:1] == "0" and (prefixed := _prefixed(text)) is not None:
        return prefixed
    if ":" in text or text[-1:] in "mM.}":
        return _time(text)
    if text[:1].isdigit() and (compound := _compound(text)) is not None:
        return compound
    if "°" in text and (match := _MINUTES.fullmatch(text)):
        degrees, minutes, seconds = int(match[1]), match[2], match[3] or "0"
        size = Fraction(minutes) / 60 + Fraction(seconds) / 3600
        return number(degrees + (size if degrees >= 0 else -size))
    return None


def _scaled(text: str, notation: Notation) -> tuple[Node, str, str]:
    """(tree, unit, the letter that the unit may be as a variable) of a formula with or without a unit and "million".

    Raises:
        Unreadable: it is no mathematics.
    """
    power = 0
    if _MAGNITUDE.search(text):
        head, power, tail = split_magnitude(text)
        text = f"{head} {tail}".strip() if power else text
    body, unit, letter = split_unit(text)
    try:
        tree = parse(body, notation)
    except Unreadable:
        if not unit:
            raise
        tree, unit, letter = parse(text, notation), "", ""
    in_a_sum = letter in symbols(tree) or (tree.op == "add" and body[-1] != ")")
    if letter and (in_a_sum or not notation.unit_letters):
        tree, unit, letter = parse(text, notation), "", ""
    return (mul(number(10**power), tree) if power else tree), unit, letter


def _listed(text: str, notation: Notation) -> tuple[Node, str, str]:
    r"""Items that each carry a unit or words: "5 cm and 6 cm", "\$3, \$4"."""
    plain = re.sub(r"\\text ?\{ ?,? ?(and|or) ?\}", r" \1 ", text)
    parts = _ITEM_JOIN.split(plain)
    if not 1 < len(parts) <= _MAX_ITEMS or any(not part.strip() for part in parts):
        raise Unreadable("no mathematics")
    readings = [_scaled(part.strip(), notation._replace(grouped=True)) for part in parts]
    units = {unit for _, unit, _ in readings if unit}
    if len(units) > 1:
        raise Unreadable("several units")
    op = "or" if " or " in plain else "and" if " and " in plain else "list"
    return Node(op, tuple(tree for tree, _, _ in readings)), next(iter(units), ""), ""


@lru_cache(maxsize=4000)
def read(text: str, notation: Notation) -> Reading:
    """Reads an answer; never raises on any text.

    Args:
        text: As it was given, of any kind.
        notation: How signs with two readings are read.
    """
    normal = normalize(text)
    if len(normal) > MAX_CHARS:
        return Reading(normal, None, None, "", "", "too long")
    normal = _APPROXIMATELY.sub("", normal, count=1) if _APPROXIMATELY.match(normal) else normal
    words = plain_words(normal)
    if words in _TREES:
        return Reading(normal, None, _TREES[words], "", "", "")
    if words is not None and (spelled := number_of(words)) is not None:
        return Reading(normal, words, number(spelled), "", "", "")
    if (
        words is not None
        and len(words) > _LONGEST_PRODUCT
        and "\\" not in normal
        and not _MATHEMATICAL_WORDS.search(words)
    ):
        return Reading(normal, words, None, "", "", "words")
    normal = _BRACKETED.sub(_part_items, normal)
    if r"\ldots" in normal and ", " not in normal:
        # 1,10,100,\ldots: the commas part terms.
        notation = notation._replace(grouped=False)
    problem = "no mathematics"
    try:
        tree = _special(normal)
        found = (tree, "", "") if tree is not None else _scaled(normal, notation)
        return Reading(normal, words, *found, "")
    except Unreadable as e:
        problem = str(e)
    except RecursionError:
        return Reading(normal, words, None, "", "", "nested too deep")
    if (named := _NAMED.match(normal)) and "=" not in normal[named.end() :]:
        return _named(normal, named, notation)
    try:
        return Reading(normal, words, *_listed(normal, notation), "")
    except (Unreadable, RecursionError):
        return Reading(normal, words, None, "", "", problem)


def _named(normal: str, named: re.Match[str], notation: Notation) -> Reading:
    r"""\text{Area} = 5: the value under its name, unless the words before it turn it round."""
    value = read(normal[named.end() :], notation)
    name = " ".join(without_commands(named[0]).rstrip("= ").lower().split())
    if value.tree is None or _TURNING.search(name) or number_of(name) is not None:
        return Reading(normal, None, None, "", "", "words before an equals sign")
    tree = Node("rel", ((Node("sym", (name,)), value.tree), ("=",)))
    return Reading(normal, None, tree, value.unit, value.letter, "")


def _compound(text: str) -> Node | None:
    """2 h 30 min, 5 ft 6 in, 3 R 2: numbers each with a unit of its own, in order."""
    if not _COMPOUND.fullmatch(text):
        return None
    parts = _COMPOUND_PART.findall(text)
    units = [unit if unit in ("", "R") else known_unit(unit) for _, unit in parts]
    if len(parts) < 2 or not all(unit or (unit == "" and units[0] == "R") for unit in units):
        return None
    return Node("compound", tuple((Fraction(value), unit) for (value, _), unit in zip(parts, units, strict=True)))


def _part_items(match: re.Match[str]) -> str:
    r"""The commas in brackets part items: (100,200) and \{1,234\}; but not where others stand apart: (1,000, 2,000)."""
    return match[0] if ", " in match[0] else match[0].replace(",", ", ")
