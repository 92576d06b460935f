"""Relations that a text states, such as 8 + 5 = 13 or 2 x 7 < 15, found and checked exactly over fractions.

It reads + - * / ^ ! % brackets, decimals, \\frac, \\sqrt and \\binom, and variables: 2x + 3 = 13 holds where the text
also states x = 5, and (x + 1)^2 = x^2 + 2x + 1 holds whatever x is. Arithmetic in words, or beside a word that changes
it, is left out rather than misread. Where a reading is doubtful, a relation counts only if it holds, so that no text is
blamed for a misreading.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from rlkit.verify.steps.arithmetic_parser import Refused, Tree, names_of, numbers_of, parse, value_of
from rlkit.verify.steps.arithmetic_tokens import ArithmeticToken, tokens_of

_MAX_CHARS = 100_000
"""Characters of a text that are read."""
_MAX_FOUND = 1000
"""Most relations that are returned for one text."""
_MAX_VALUES = 3
"""Values of one variable that are kept: a text may use a letter again."""
_MAX_TRIES = 9
"""Combinations of such values that an equation is tried with."""
_MAX_UNIT_WORDS = 3
"""Words of a unit within a formula: 3 big red apples * 4."""
_POINTS = (Fraction(10_007, 3), Fraction(-7919, 5))
"""Where an identity in variables is tried: polynomials that agree there by accident do not occur in practice."""
_POINT_STEP = 1009
"""By how much the value of each further variable differs there."""
_NEAR = Fraction(1, 100)
"""How far the sides of an approximation may be apart, relative to the larger."""
_JOINING = {"and", "between", "by", "every", "from", "minus", "of", "or", "per", "plus", "than", "times", "to", "with"}
"""Before a formula these words make its first number part of something that is written in words."""
_CHANGING = {"dozen", "hundred", "thousand", "million", "billion", "percent", "squared", "cubed", "mod", "modulo"}
_CHANGING |= {"plus", "minus", "times", "more", "less"}
"""After a formula these words change its last number."""
_BARE = ("number", "negate", "%")
"""Operations of a lone number: 5 = 5 computes nothing, and is no step."""
_ROUNDED = re.compile(r"-?\d*\.(\d{2,})")
"""A decimal of at least two places, which may be rounded."""
_HOLDS: Mapping[str, Callable[[Fraction, Fraction], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
    "≈": lambda a, b: abs(a - b) <= _NEAR * max(abs(a), abs(b)),
}
"""When two values stand in a relation."""


@dataclass(frozen=True)
class Relation:
    """A stated relation of two expressions, at least one of which is more than a number."""

    text: str
    """As written, in plain signs and without blanks: "8+5=13"."""
    sign: str
    """= != < > <= >= or ≈."""
    left: tuple[Fraction, ...]
    """The numbers written on the left side, in order, without their signs."""
    right: tuple[Fraction, ...]
    """The same of the right side."""
    values: tuple[Fraction, ...]
    """What the two sides are; empty for a relation of variables."""
    solution: tuple[Fraction, ...]
    """The values of the variables for which an equation holds, by the variables' names; else empty."""
    holds: bool
    """Whether it is true; 10/3 = 3.33 is, by the two and more decimals that it states."""


@dataclass(frozen=True)
class _Side:
    """One side of a relation."""

    text: str
    tree: Tree | None
    """None if it cannot be read."""


@dataclass(frozen=True)
class _Chain:
    """a = b < c: sides and the signs between them."""

    sides: tuple[_Side, ...]
    signs: tuple[str, ...]
    doubtful: bool
    """Whether words were left out to read it."""


def find_relations(text: str, context: str = "") -> tuple[Relation, ...]:
    """The relations stated in a text that can be checked, in order; a chain a = b = c states a = b and b = c.

    "8+5=13, so 2 x 13 = 27" -> 8+5=13 (holds), 2*13=27 (does not)

    Args:
        context: another text in which variables may get their values.
    """
    chains = _chains(text)
    values = _assigned([*chains, *_chains(context)]) if chains else {}
    found = (relation for chain in chains for relation in _relations(chain, values))
    return tuple(itertools.islice(found, _MAX_FOUND))


# A problem is read with each of its replies, and a reply both as text and as context.
@lru_cache(maxsize=16)
def _chains(text: str) -> tuple[_Chain, ...]:
    return tuple(_chain(run, before, after) for run, before, after in _runs(tokens_of(text[:_MAX_CHARS])))


def _runs(
    tokens: list[ArithmeticToken],
) -> Iterator[tuple[list[ArithmeticToken], ArithmeticToken | None, ArithmeticToken | None]]:
    """Stretches of tokens that state a relation, each with the token before and after it."""
    start = 0
    for end in range(len(tokens) + 1):
        if end < len(tokens) and not _ends(tokens, start, end):
            continue
        run = tokens[start:end]
        if any(token.kind == "relation" for token in run):
            yield run, tokens[start - 1] if start else None, tokens[end] if end < len(tokens) else None
        start = end + 1


def _ends(tokens: list[ArithmeticToken], start: int, at: int) -> bool:
    """Whether a formula ends at this token. A unit does not end it: "3 apples * 4 = 12"."""
    if tokens[at].kind != "word":
        return tokens[at].kind in ("stop", "other")
    first = at
    while first > start and tokens[first - 1].kind == "word":
        first -= 1
    after_number = first > start and (tokens[first - 1].kind == "number" or tokens[first - 1].text == ")")
    if not after_number:
        return True
    last = at
    while last + 1 < len(tokens) and tokens[last + 1].kind == "word" and last - first < _MAX_UNIT_WORDS:
        last += 1
    goes_on = last + 1 < len(tokens) and tokens[last + 1].kind in ("sign", "relation")
    if not goes_on or last - first >= _MAX_UNIT_WORDS:
        return True
    return any(word.text.lower() in _JOINING | _CHANGING for word in tokens[first : last + 1])


def _chain(run: list[ArithmeticToken], before: ArithmeticToken | None, after: ArithmeticToken | None) -> _Chain:
    """The chain that a run of tokens states; a side that the text round it may change has no tree."""
    plain = [token for token in run if token.kind != "word"]
    doubtful = len(plain) < len(run) or any(token.text == "%" for token in plain)
    pieces: list[list[ArithmeticToken]] = [[]]
    signs: list[str] = []
    for token in plain:
        if token.kind == "relation":
            signs.append(token.text)
            pieces.append([])
        else:
            pieces[-1].append(token)
    if before is not None and _spoils_start(before, pieces[0]):
        pieces[0] = []
    if after is not None and (after.kind == "other" or after.text.lower() in _CHANGING or not _apart(after)):
        pieces[-1] = []
    doubtful = doubtful or (before is not None and before.text.lower() in _JOINING)
    _without_sentence_brackets(pieces)
    return _Chain(tuple(_side(piece) for piece in pieces), tuple(signs), doubtful)


def _apart(after: ArithmeticToken) -> bool:
    """Whether a blank or a sign parts a formula from the token behind it; the letters of "5th" are not parted."""
    return after.kind != "word" or after.spaced


def _spoils_start(before: ArithmeticToken, piece: Sequence[ArithmeticToken]) -> bool:
    """Whether the text before a formula is part of its first side: "_2 + 3", "a total - 5"."""
    if before.kind == "other" or (before.kind == "word" and piece and not piece[0].spaced):
        return True
    return before.kind == "word" and bool(piece) and piece[0].kind == "sign"


def _without_sentence_brackets(pieces: list[list[ArithmeticToken]]) -> None:
    """Takes off the brackets of a sentence that a formula stands in: "(so 3 + 4 = 7)"."""
    while pieces[0] and pieces[0][0].text == "(" and _open_brackets(pieces[0]) > 0:
        pieces[0] = pieces[0][1:]
    while pieces[-1] and pieces[-1][-1].text == ")" and _open_brackets(pieces[-1]) < 0:
        pieces[-1] = pieces[-1][:-1]


def _open_brackets(piece: Sequence[ArithmeticToken]) -> int:
    return sum((token.text == "(") - (token.text == ")") for token in piece)


def _side(piece: list[ArithmeticToken]) -> _Side:
    text = "".join(token.text for token in piece)
    try:
        return _Side(text, parse(piece))
    except Refused:
        return _Side(text, None)


def _assigned(chains: Sequence[_Chain]) -> dict[str, list[Fraction]]:
    """The values that a text gives to its variables by `x = 5` or `x = 2 + 3 = 5`; at most three each."""
    values: dict[str, list[Fraction]] = {}
    for chain in chains:
        if set(chain.signs) != {"="}:
            continue
        names = [side.tree.name for side in chain.sides if side.tree is not None and side.tree.operation == "name"]
        known = [value for side in chain.sides if (value := _value(side.tree, {})) is not None]
        for name, value in itertools.product(names, known[-1:]):
            kept = values.setdefault(name, [])
            if value not in kept and len(kept) < _MAX_VALUES:
                kept.append(value)
    return values


def _value(tree: Tree | None, values: Mapping[str, Fraction]) -> Fraction | None:
    """The value of an expression; None if it has none."""
    if tree is None:
        return None
    try:
        return value_of(tree, values)
    except (Refused, ZeroDivisionError):
        return None


def _relations(chain: _Chain, values: Mapping[str, Sequence[Fraction]]) -> Iterator[Relation]:
    """The relations of a chain that can be checked."""
    for sign, left, right in zip(chain.signs, chain.sides, chain.sides[1:], strict=False):
        if left.tree is None or right.tree is None:
            continue
        names = names_of(left.tree) | names_of(right.tree)
        if not names:
            relation = _numeric(sign, left, right)
        elif sign == "=":
            relation = _symbolic(left, right, sorted(names), values)
        else:
            relation = None
        if relation is not None and (relation.holds or not chain.doubtful):
            yield relation


def _numeric(sign: str, left: _Side, right: _Side) -> Relation | None:
    """A relation of numbers; None where nothing is computed or a side has no value."""
    a, b = _value(left.tree, {}), _value(right.tree, {})
    assert left.tree is not None
    assert right.tree is not None
    if a is None or b is None or (left.tree.operation in _BARE and right.tree.operation in _BARE):
        return None
    holds = _HOLDS[sign](a, b) or (sign == "=" and (_rounds(a, right.text) or _rounds(b, left.text)))
    return Relation(
        left.text + sign + right.text, sign, numbers_of(left.tree), numbers_of(right.tree), (a, b), (), holds
    )


def _rounds(value: Fraction, stated: str) -> bool:
    """Whether a decimal of at least two places is the value, rounded or cut to them."""
    match = _ROUNDED.fullmatch(stated)
    return match is not None and abs(value - Fraction(stated)) < Fraction(1, 10 ** len(match[1]))


def _symbolic(left: _Side, right: _Side, names: list[str], values: Mapping[str, Sequence[Fraction]]) -> Relation | None:
    """An identity, or an equation that the stated values of its variables solve; None for any other.

    Another relation cannot be judged false, because its variable may mean something else there.
    """
    assert left.tree is not None
    assert right.tree is not None
    if "name" in (left.tree.operation, right.tree.operation) and not names_of(right.tree) & names_of(left.tree):
        # x = 2y defines x; there is nothing to check.
        return None
    text = f"{left.text}={right.text}"
    a, b = numbers_of(left.tree), numbers_of(right.tree)
    points = [dict(zip(names, (start + _POINT_STEP * i for i in range(len(names))), strict=True)) for start in _POINTS]
    if all(_equal_at(left.tree, right.tree, point) for point in points):
        return Relation(text, "=", a, b, (), (), True)
    options = [values.get(name, ()) for name in names]
    for chosen in itertools.islice(itertools.product(*options), _MAX_TRIES):
        if _equal_at(left.tree, right.tree, dict(zip(names, chosen, strict=True))):
            return Relation(text, "=", a, b, (), chosen, True)
    return None


def _equal_at(left: Tree, right: Tree, values: Mapping[str, Fraction]) -> bool:
    value = _value(left, values)
    return value is not None and value == _value(right, values)
