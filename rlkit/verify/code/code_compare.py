"""When a returned value or a printed output is the expected one, by rules applied outside the candidate's process.

Values. Exact by default, as Python's `==` compares built-in values, with these rules:
- int, float and complex compare by value: 1 equals 1.0. A bool equals only a bool: True is not 1.
- NaN equals NaN, so that a test can ask for it, and nothing else.
- A list is not a tuple; a JSON array expects a list. A set equals a frozenset, bytes equal a bytearray.
- dict, Counter, defaultdict and OrderedDict equal where their items do, in any order; a Counter's zeros count.
- A deque or a range equals only its like.
Options: `rel_tol` and `abs_tol` let floats (and ints where a float is expected or came) differ as `math.isclose` does;
`any_order` compares lists and tuples, at every level, without their order; `tuples_as_lists` takes one for the other.

Outputs. Line by line and token by token: blanks between tokens and at a line's ends do not count, nor do empty lines at
the end; every other line, empty ones too, does. With `numbers`, tokens that are both decimal numbers compare by value,
2.50 as 2.5, and with a tolerance within it; but two whole numbers only as text, where 007 and 7 may be a code and not
a count.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from rlkit.verify.sandbox.values import MAX_DEPTH, BadValue, Tree, integer

# Kinds of values: each name begins with its place in the order.
_NUMBER, _NAN, _COMPLEX = "1 number", "2 nan", "3 complex"
_RANKS = {"l": "6 list", "t": "7 tuple", "S": "8 set", "F": "8 set", "q": "9 deque", "r": "9 range"}
_DICT = "8 dict"
_DECIMAL = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?")
_WHOLE = re.compile(rb"[+-]?\d+")
_MAX_NUMBER_CHARS = 400
"""Longer tokens compare as text: arithmetic with them would take long."""

Canonical = tuple[Any, ...]
"""(kind, content): equal for equal values; any two can be put in order."""


@dataclass(frozen=True)
class Rules:
    """How values and outputs are compared; the defaults are exact."""

    rel_tol: float = 0.0
    """Largest difference of two floats relative to the larger one."""
    abs_tol: float = 0.0
    """Largest difference of two floats."""
    any_order: bool = False
    """Lists and tuples are compared without their order."""
    tuples_as_lists: bool = False
    """A tuple and a list with equal items are equal."""
    numbers: bool = False
    """Printed decimal numbers compare by value, also without a tolerance."""

    def close(self, got: float, want: float) -> bool:
        """Whether two numbers are equal, or within the tolerance."""
        if got == want:
            return True
        try:
            return self.tolerant and math.isclose(got, want, rel_tol=self.rel_tol, abs_tol=self.abs_tol)
        except OverflowError:  # an integer beyond every float
            return False

    @property
    def tolerant(self) -> bool:
        """Whether floats may differ at all."""
        return self.rel_tol > 0 or self.abs_tol > 0


def same_value(got: Tree, want: Tree, rules: Rules) -> bool:
    """Whether two trees (rlkit.verify.sandbox.values) are equal by the rules above.

    Nothing in `got` is hashed, evaluated or shown: a hostile program may have written it.

    Raises:
        BadValue: `got` is no tree.
    """
    a, b = canonical(got, rules), canonical(want, rules)
    # Both are tuples of plain values, so no code of the candidate runs in the comparison.
    return a == b or (rules.tolerant and _close(a, b, rules))


def canonical(tree: Tree, rules: Rules, depth: int = 0) -> Canonical:
    """The value of a tree in a form that can be compared and sorted.

    ["S", 2, 1] -> ("8 set", (("1 number", 1), ("1 number", 2)))

    Raises:
        BadValue: it is no tree.
    """
    if depth > MAX_DEPTH:
        raise BadValue("a value nested too deep")
    kind = type(tree)
    if kind is int or kind is float:
        return _number(tree)
    if tree is None or kind is bool or kind is str:
        return (("0 none" if tree is None else f"0 {kind.__name__}"), tree if tree is not None else 0)
    if kind is not list or not tree or type(tree[0]) is not str:
        raise BadValue("a value that cannot be read")
    return _tagged(tree[0], tree[1:], rules, depth)


def _tagged(tag: str, body: list[Tree], rules: Rules, depth: int) -> Canonical:
    """The canonical form of a tagged tree."""
    if tag in _RANKS:
        items = [canonical(item, rules, depth + 1) for item in body]
        if tag in "SF" or (rules.any_order and tag in "lt"):
            items.sort()
        return (_RANKS["l" if tag == "t" and rules.tuples_as_lists else tag], tuple(items))
    if tag in ("d", "C", "O"):
        if len(body) % 2:
            raise BadValue("a value that cannot be read")
        parts = [canonical(part, rules, depth + 1) for part in body]
        return (_DICT, tuple(sorted(zip(parts[::2], parts[1::2], strict=True))))
    if tag == "c" and len(body) == 2 and type(body[0]) is type(body[1]) is float:
        return _number(body[0]) if body[1] == 0 else (_COMPLEX, _number(body[0]), _number(body[1]))
    if tag in ("i", "B") and len(body) == 1 and type(body[0]) is str:
        return _number(_read(integer, body[0])) if tag == "i" else ("5 bytes", _read(bytes.fromhex, body[0]))
    raise BadValue("a value that cannot be read")


def _read(reader: Callable[[str], Any], text: str) -> Any:
    try:
        return reader(text)
    except ValueError as e:
        raise BadValue("a value that cannot be read") from e


def _number(value: float) -> Canonical:
    return (_NAN,) if value != value else (_NUMBER, value)


def _close(a: Any, b: Any, rules: Rules) -> bool:
    """Whether two canonical values are equal but for the tolerance.

    Sets, and lists in any order, are compared after sorting; items closer together than the tolerance may then be
    paired otherwise than a person would.
    """
    if type(a) is not tuple or type(b) is not tuple or len(a) != len(b):
        return bool(a == b)
    if a and a[0] == _NUMBER and b[0] == _NUMBER:
        # Integers have no rounding: only where a float takes part does the tolerance count.
        return rules.close(a[1], b[1]) if float in (type(a[1]), type(b[1])) else bool(a[1] == b[1])
    return all(_close(x, y, rules) for x, y in zip(a, b, strict=True))


def same_output(got: bytes, want: bytes, rules: Rules) -> bool:
    """Whether a printed output is the expected one by the rules above."""
    a, b = _tokens(got), _tokens(want)
    return a == b or ((rules.numbers or rules.tolerant) and _close_tokens(a, b, rules))


def _tokens(output: bytes) -> list[list[bytes]]:
    return [line.split() for line in output.rstrip().split(b"\n")]


def _close_tokens(got: list[list[bytes]], want: list[list[bytes]], rules: Rules) -> bool:
    if [len(line) for line in got] != [len(line) for line in want]:
        return False
    pairs = ((a, b) for x, y in zip(got, want, strict=True) for a, b in zip(x, y, strict=True))
    return all(a == b or _close_token(a, b, rules) for a, b in pairs)


def _close_token(got: bytes, want: bytes, rules: Rules) -> bool:
    if max(len(got), len(want)) > _MAX_NUMBER_CHARS or not (_DECIMAL.fullmatch(got) and _DECIMAL.fullmatch(want)):
        return False
    if _WHOLE.fullmatch(got) and _WHOLE.fullmatch(want):
        return False
    return Decimal(got.decode()) == Decimal(want.decode()) or rules.close(float(got), float(want))
