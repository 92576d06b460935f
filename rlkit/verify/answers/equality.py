"""Whether two expressions are the same: exactly where they are rational, else to more digits than they carry.

    both rational constants -> both rational functions (modulo a prime) -> 40 digits at points (settles what differs)
    -> as many digits as the two texts could hide a difference in (settles what agrees)

No tolerance: 3.14 is not pi. Agreement is asked for far beyond the smallest number that either side mentions, at every
point where both are real.
"""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Any

from rlkit.verify.answers.exact import PRIME, NotExact, Undefined, modular, rational
from rlkit.verify.answers.nodes import Node, contains, symbols
from rlkit.verify.answers.numeric import Evaluator
from rlkit.verify.answers.symbolic import evaluate

_FIRST_DIGITS = 40
_MOST_DIGITS = 4000
_RANGES = ((0.1, 0.9), (1.1, 3.0), (0.1, 0.9), (3.0, 9.0), (-0.9, -0.1), (-3.0, -1.1), (20.0, 40.0))
_PRIMES = 3
_ENOUGH = 2
_BIG = frozenset(("big",))


def infinite(node: Node) -> int:
    """1 for infinity, -1 for minus infinity, else 0."""
    if node.op == "const" and node.args[0] == "inf":
        return 1
    if node.op == "mul" and len(node.args) == 2 and node.args[1].op == "const" and node.args[0].op == "num":
        return infinite(node.args[1]) * (1 if node.args[0].args[0] > 0 else -1)
    if node.op == "add" and len(node.args) == 1:
        return infinite(node.args[0])
    return 0


@lru_cache(maxsize=2000)
def same_expression(left: Node, right: Node) -> bool:
    """Exact equality; an undefined expression equals nothing.

    Raises:
        NotExact: it cannot be told.
    """
    if infinite(left) or infinite(right):
        return infinite(left) == infinite(right)
    try:
        return _same(left, right)
    except Undefined:
        return False


def _same(left: Node, right: Node) -> bool:
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
        # Also defined, as far as can be seen.
        return _defined_somewhere(left, names)
    return _same_numerically(left, right, names)


def _rational_or_none(node: Node) -> Any:
    try:
        return rational(node)
    except NotExact:
        return None


def _same_rational_function(left: Node, right: Node, names: list[str]) -> bool:
    chance = random.Random(1009)
    tried = 0
    for _ in range(4 * _PRIMES):
        values = {name: chance.randrange(2, PRIME) for name in names}
        try:
            same = modular(left, values) == modular(right, values)
        except Undefined:
            if not names:
                raise
            continue
        if not same:
            return False
        tried += 1
        if tried == (_PRIMES if names else 1):
            return True
    raise Undefined


def _points(names: list[str]) -> list[dict[str, float]]:
    if not names:
        return [{}]
    chance = random.Random(4127)
    return [{name: chance.uniform(*bounds) for name in names} for bounds in _RANGES]


def _defined_somewhere(node: Node, names: list[str]) -> bool:
    for point in _points(names):
        try:
            Evaluator(_FIRST_DIGITS, point).value(node)
            return True
        except Undefined:
            continue
        except NotExact:
            return True
    return False


def _same_numerically(left: Node, right: Node, names: list[str]) -> bool:
    """Agreement at every point where both are real; where there is none, as complex numbers."""
    real = complex_ = 0
    for point in _points(names):
        try:
            first = Evaluator(_FIRST_DIGITS, point)
            a, b = first.value(left), first.value(right)
        except Undefined:
            continue
        is_real = _real(first, a) and _real(first, b)
        if names and not is_real and (_real(first, a) or _real(first, b)):
            continue
        same = abs(a - b) <= first.largest * first.mp.mpf(10) ** (8 - _FIRST_DIGITS) and _same_to_the_end(
            left, right, point, first
        )
        if is_real or not names:
            if not same:
                return False
            real += 1
        else:
            complex_ += 1 if same else -100
    if real >= (_ENOUGH if names else 1):
        return True
    return real == 0 and complex_ >= _ENOUGH


def _real(evaluator: Evaluator, value: Any) -> bool:
    return bool(evaluator.is_zero(evaluator.mp.im(value)))


def _same_to_the_end(left: Node, right: Node, point: dict[str, float], first: Evaluator) -> bool:
    """Once more, with digits enough to see the smallest number beside the largest one."""
    span = first.mp.log10(first.largest / first.smallest)
    digits = int(2 * span) + 2 * _FIRST_DIGITS
    if digits > _MOST_DIGITS:
        raise NotExact
    last = Evaluator(digits, point)
    difference = last.value(left) - last.value(right)
    return bool(abs(difference) <= last.largest * last.mp.mpf(10) ** (12 - digits))
