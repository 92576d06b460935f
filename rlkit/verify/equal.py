"""Exact equality of parsed answers, without tolerance. Imports sympy, so only a worker process imports this module."""

from __future__ import annotations

from typing import Any

import sympy

from rlkit.verify.parse import Node

_POINTS = (sympy.Rational(37, 53), sympy.Rational(-71, 61))


def equal(gold: Node, answer: Node) -> bool:
    """Whether two answers are the same: the same kind of container, items equal one by one (sets: in any order)."""
    if gold.kind == "scalar" and answer.kind == "scalar":
        return same_value(gold.items[0], answer.items[0])
    gold, answer = _unwrap(gold, answer), _unwrap(answer, gold)
    if gold.kind != answer.kind or len(gold.items) != len(answer.items):
        return False
    if gold.kind == "equation":
        return _same_equation(gold, answer)
    if gold.kind in ("set", "union"):
        return _same_in_any_order(gold, answer)
    if gold.kind == "scalar":
        return same_value(gold.items[0], answer.items[0])
    return all(equal(g, a) for g, a in zip(gold.items, answer.items, strict=True))


def _unwrap(node: Node, other: Node) -> Node:
    """{5} beside 5 is 5; x = 5 has lost its x in the parser already."""
    if node.kind == "set" and len(node.items) == 1 and other.kind not in ("set", "union"):
        item: Node = node.items[0]
        return item
    return node


def _same_in_any_order(gold: Node, answer: Node) -> bool:
    left = list(answer.items)
    for item in gold.items:
        match = next((other for other in left if equal(item, other)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _same_equation(gold: Node, answer: Node) -> bool:
    """The same line or curve: one difference of sides is the other one, times a number that is not 0."""
    left = gold.items[0] - gold.items[1]
    right = answer.items[0] - answer.items[1]
    if left.is_zero or right.is_zero:
        return bool(left == right)
    ratio = sympy.simplify(left / right)
    return bool(ratio.is_number and ratio.is_finite and not ratio.is_zero)


def same_value(a: Any, b: Any) -> bool:
    """Exact equality of two sympy expressions.

    A numeric check at two fixed points settles what differs; what agrees there must still simplify to the same thing.
    """
    if a == b:
        return True
    a, b = a.doit(), b.doit()
    if a == b:
        return True
    if not _finite(a) or not _finite(b):
        return False
    if a.is_Rational and b.is_Rational:
        return False
    if a.free_symbols != b.free_symbols and _differs(a, b):
        return False
    if _differs(a, b):
        return False
    difference = sympy.simplify(a - b)
    return bool(difference == 0 or sympy.expand(difference) == 0 or difference.equals(0))


def _finite(expression: Any) -> bool:
    return not expression.has(sympy.oo, -sympy.oo, sympy.zoo, sympy.nan)


def _differs(a: Any, b: Any) -> bool:
    """Surely different: their 30-digit values at some fixed point are further apart than rounding explains."""
    symbols = sorted(a.free_symbols | b.free_symbols, key=str)
    for point in _POINTS:
        values = {symbol: point + i for i, symbol in enumerate(symbols)}
        difference = (a - b).subs(values).evalf(30)
        size = abs(a.subs(values).evalf(30)) + 1
        if difference.is_number and size.is_number and abs(difference) > size * sympy.Float("1e-15", 30):
            return True
    return False
