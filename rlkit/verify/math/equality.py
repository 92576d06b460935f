"""Whether two expressions are equal: exactly where they are rational, else to more digits than the texts have.

    both rational constants -> both rational functions (modulo a prime) -> 40 digits at points (decides what differs)
    -> as many digits as the two texts could hide a difference in (decides what agrees)

No tolerance: 3.14 is not pi. Agreement is asked for far beyond the smallest number that either side mentions, at every
point where both are real.
"""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Any

from rlkit.verify.math.exact import NotExact, TooLarge, Undefined, field, modular, rational
from rlkit.verify.math.huge import differ_in_size, name_huge
from rlkit.verify.math.nodes import Node, contains, subtract, symbols
from rlkit.verify.math.numeric import Evaluator
from rlkit.verify.math.symbolic import evaluate

_FIRST_DIGITS = 40
"""Digits at first: enough to tell apart nearly all that differ."""
_MOST_DIGITS = 4000
"""Most digits that two constants are compared to; beyond, equality cannot be decided."""
_MOST_DIGITS_AT_A_POINT = 600
"""The same for expressions with variables, which are compared at many points."""
_RANGES = ((0.1, 0.9), (1.1, 3.0), (3.0, 9.0), (0.2, 1.5))
"""Where variables are put, each in a range of its own."""
_SIGNS = ((1, 1), (1, 1), (1, 1), (-1, -1), (1, -1), (-1, 1), (-1, -1))
"""Signs of the variables in odd and in even places, point by point."""
_WHOLE = (4, 5, 2, 7, 3)
"""Whole numbers for the variables: factorials, binomials and floors show themselves there."""
_FAR = 60
"""How far out variables are put at least: expressions that differ by little near 0 differ there."""
_FAR_SPREAD = (1.2, 2.5)
"""The far points lie between these multiples of it."""
_MOST_REACH = 10**6
"""The far points go as far out as the largest number of an expression, up to this."""
_LOST_AT_FIRST, _LOST_DIGITS = 8, 12
"""Last digits that rounding may have spoilt, at the first precision and at the last one."""
_MODULAR_POINTS = 3
"""At how many points rational functions must agree modulo the prime."""
_MODULAR_TRIES = 12
"""Points that are tried until so many are no poles."""
_MODULAR_SEED, _REAL_SEED, _DIFFERENCE_SEED = 1009, 4127, 2003
"""Fixed, so that a verdict never changes. Only the prime is secret, so no answer can be fitted to it: `exact.field`."""
_ENOUGH = 2
"""At how many points two expressions must be defined and agree."""
_BIG = frozenset(("big",))


def infinite(node: Node) -> int:
    """1 for infinity, -1 for minus infinity, else 0."""
    if node.op == "const" and node.args[0] == "inf":
        return 1
    if node.op == "mul" and len(node.args) == 2 and node.args[1].op == "const" and node.args[0].op == "num":
        scale = node.args[0].args[0]
        return infinite(node.args[1]) * (int(scale > 0) - int(scale < 0))
    if node.op == "add" and len(node.args) == 1:
        return infinite(node.args[0])
    return 0


@lru_cache(maxsize=2000)
def same_expression(left: Node, right: Node) -> bool:
    """Exact equality; an undefined expression equals nothing.

    Raises:
        NotExact: it cannot be decided.
    """
    if infinite(left) or infinite(right):
        return infinite(left) == infinite(right)
    try:
        return _same(left, right)
    except Undefined:
        return False


def _same(left: Node, right: Node) -> bool:
    """As `same_expression` for two expressions that are not infinite; the cheapest way that can tell decides."""
    if left == right and contains(left, _BIG):
        return _defined_somewhere(left, sorted(symbols(left)))
    if contains(left, _BIG):
        left = evaluate(left)
    if contains(right, _BIG):
        right = evaluate(right)
    names = sorted(symbols(left) | symbols(right))
    if not names:
        exact = [_rational_or_none(node) for node in (left, right)]
        if exact[0] is not None and exact[1] is not None:
            return bool(exact[0] == exact[1])
    try:
        return _same_rational_function(left, right, names)
    except NotExact:
        pass
    if left == right:
        # The same tree is equal to itself only if it has a value: 1/0 is not 1/0.
        return _defined_somewhere(left, names)
    return _same_numerically(left, right, names)


def _rational_or_none(node: Node) -> Any:
    try:
        return rational(node)
    except NotExact:
        return None


def _same_rational_function(left: Node, right: Node, names: list[str]) -> bool:
    """Whether two rational functions agree at random points modulo a prime.

    Raises:
        NotExact: one of them is no rational function.
        Undefined: every point is a pole.
    """
    chance = random.Random(_MODULAR_SEED)
    tried = 0
    for _ in range(_MODULAR_TRIES):
        values = {name: chance.randrange(2, field()[0]) for name in names}
        try:
            same = modular(left, values) == modular(right, values)
        except Undefined:
            if not names:
                raise
            continue
        if not same:
            return False
        tried += 1
        if tried == (_MODULAR_POINTS if names else 1):
            return True
    raise Undefined


def _points(names: list[str], far: float) -> list[dict[str, float]]:
    """Points near and far, with every mixture of signs, and whole numbers."""
    if not names:
        return [{}]
    chance = random.Random(_REAL_SEED)

    def near(row: int, column: int) -> float:
        return _SIGNS[row][column % 2] * chance.uniform(*_RANGES[(row + column) % len(_RANGES)])

    rows = [[near(row, column) for column in range(len(names))] for row in range(len(_SIGNS))]
    rows += [[sign * far * chance.uniform(*_FAR_SPREAD) for _ in names] for sign in (1, -1)]
    rows += [[_WHOLE[(row + 2 * column) % len(_WHOLE)] for column in range(len(names))] for row in range(2)]
    return [dict(zip(names, row, strict=True)) for row in rows]


def _reach(node: Any) -> float:
    """The largest number that a tree mentions, below a million."""
    if not isinstance(node, Node):
        return 0.0
    if node.op == "num":
        return float(min(abs(node.args[0]), _MOST_REACH))
    return max((_reach(arg) for arg in node.args), default=0.0)


def _defined_somewhere(node: Node, names: list[str]) -> bool:
    """Whether an expression has a value at one of the points, or one that cannot be worked out here."""
    for point in _points(names, _FAR):
        try:
            Evaluator(_FIRST_DIGITS, point).value(node)
            return True
        except Undefined:
            continue
        except NotExact:
            return True
    return False


def _same_numerically(left: Node, right: Node, names: list[str]) -> bool:
    """Whether two expressions agree at every point where both are real; without such points, at all others."""
    agree = complex_agree = complex_differ = 0
    huge = False
    for point in _points(names, max(_FAR, _reach(left), _reach(right))):
        try:
            first = Evaluator(_FIRST_DIGITS, point)
            a, b = first.value(left), first.value(right)
            same = _same_at(left, right, point, first, a - b)
        except Undefined:
            continue
        except TooLarge:
            huge = True
            continue
        if names and first.complex:
            # Off the real line, roots and logarithms have branches: a difference there counts only if no point is real.
            complex_agree += same
            complex_differ += not same
        elif not same:
            return False
        else:
            agree += 1
    if huge and not (agree or complex_agree or complex_differ):
        return _same_huge(left, right)
    if agree >= (_ENOUGH if names else 1):
        return True
    return agree == complex_differ == 0 and complex_agree >= _ENOUGH


def _same_huge(left: Node, right: Node) -> bool:
    """Whether two expressions that are too large at every point are equal: by names for huge parts, or by logarithms.

    Raises:
        TooLarge: neither equality nor a difference can be shown.
    """
    left_named, right_named = name_huge(left, right)
    names = sorted(symbols(left_named) | symbols(right_named))
    both_huge = symbols(left_named) != symbols(left) and symbols(right_named) != symbols(right)
    if both_huge and (same := _same_with_names(left_named, right_named, names)) is not None:
        return same
    if not symbols(left) and not symbols(right) and differ_in_size(left, right):
        return False
    raise TooLarge


def _same_with_names(left: Node, right: Node, names: list[str]) -> bool | None:
    """Whether two expressions are the same for any values of their names; False only where they never meet."""
    if left == right:
        return True
    try:
        if _same_rational_function(left, right, names):
            return True
        return False if _differ_by_a_constant(left, right, names) else None
    except NotExact:
        return None


def has_value(node: Node) -> bool:
    """Whether an expression is defined, as far as can be seen, whatever the size of its parts."""
    named, _ = name_huge(node, node)
    return _defined_somewhere(named, sorted(symbols(named)))


def _differ_by_a_constant(left: Node, right: Node, names: list[str]) -> bool:
    """Whether two rational functions that are not equal have a difference without variables: h + 1 and h."""
    chance = random.Random(_DIFFERENCE_SEED)
    difference = subtract(left, right)
    points = [{name: chance.randrange(2, field()[0]) for name in names} for _ in range(_MODULAR_POINTS)]
    return len({modular(difference, point) for point in points}) == 1


def _same_at(left: Node, right: Node, point: dict[str, float], first: Evaluator, difference: Any) -> bool:
    """At one point: to 40 digits, and then with digits enough to see the smallest number beside the largest one."""
    if abs(difference) > first.largest * first.mp.mpf(10) ** (_LOST_AT_FIRST - _FIRST_DIGITS):
        return False
    span = first.mp.log10(first.largest / first.smallest)
    digits = int(2 * span) + 2 * _FIRST_DIGITS
    if digits > (_MOST_DIGITS_AT_A_POINT if point else _MOST_DIGITS):
        raise TooLarge
    last = Evaluator(digits, point)
    difference = last.value(left) - last.value(right)
    return bool(abs(difference) <= last.largest * last.mp.mpf(10) ** (_LOST_DIGITS - digits))
