"""Equations and inequalities in more than one form: the same line, circle, curve or half plane."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from rlkit.verify.math.equality import same_expression
from rlkit.verify.math.exact import NotExact, Undefined, rational
from rlkit.verify.math.nodes import EXPRESSIONS, Node, divide, mul, number, subtract, symbols
from rlkit.verify.math.symbolic import same_zero_set


def as_equation(node: Node) -> Node:
    """equation(left, right) of an equation or an assignment."""
    if node.op == "equation":
        return node
    name, value = node.args
    left = Node("sym", (name.removesuffix("()"),))
    if value.op == "many":
        # x = 1 or x = 2 is (x - 1)(x - 2) = 0.
        return Node("equation", (mul(*(subtract(left, item) for item in value.args)), number(0)))
    return Node("equation", (left, value))


def same_equation(gold: Node, answer: Node) -> bool:
    """The same line or curve: one is the other times a constant, or both have the same irreducible factors."""
    if any(side.op not in EXPRESSIONS for node in (gold, answer) for side in node.args):
        return False
    left, right = subtract(*gold.args), subtract(*answer.args)
    if symbols(left) != symbols(right):
        return False
    try:
        if same_expression(left, right) or same_expression(left, mul(number(-1), right)):
            return True
    except NotExact:
        pass
    try:
        return same_zero_set(left, right)
    except (NotExact, Undefined):
        return False


def same_inequality(gold: Node, answer: Node) -> bool:
    """y > 2x + 1 and 2x - y < -1: one difference is a positive multiple of the other, the sign as strict."""
    (left, sign), (right, other) = _as_greater(gold), _as_greater(answer)
    if left is None or right is None or sign != other:
        return False
    quotient = divide(left, right)
    return any(same_expression(quotient, scale) for scale in _scales(left, right))


def _scales(left: Node, right: Node) -> Iterator[Node]:
    """The constant that one side would be of the other, if it is one: their quotient at a point."""
    values = {name: Fraction(17 + 5 * i, 3) for i, name in enumerate(sorted(symbols(left) | symbols(right)))}
    try:
        scale = rational(left, values) / rational(right, values)
    except (NotExact, Undefined, ZeroDivisionError):
        return
    if scale > 0:
        yield number(scale)


def _as_greater(node: Node) -> tuple[Node | None, str]:
    """(d, ">" or ">=") of an inequality d > 0."""
    sides, signs = node.args
    if len(sides) != 2 or signs[0] not in ("<", ">", "<=", ">="):
        return None, ""
    if any(side.op not in EXPRESSIONS for side in sides):
        return None, ""
    if signs[0].startswith(">"):
        return subtract(sides[0], sides[1]), signs[0]
    return subtract(sides[1], sides[0]), ">" + signs[0][1:]
