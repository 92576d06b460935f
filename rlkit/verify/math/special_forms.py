"""Answers that are no formulas: ratios, times of day, several units, numerals with a base, residues, named sets."""

from __future__ import annotations

from collections.abc import Callable

from rlkit.verify.math.equality import infinite, same_expression
from rlkit.verify.math.exact import rational
from rlkit.verify.math.nodes import EXPRESSIONS, Node, divide, mul, number, subtract


def same_special_form(gold: Node, answer: Node, same: Callable[[Node, Node], bool]) -> bool:
    """Whether two answers, one or both of such a form, are the same.

    Args:
        gold: ratio(*), time(*), compound(*), based(*), mod(*), text(*), or what such an answer may equal.
        answer: The same.
        same: Whether two answers of any kind are.
    """
    if gold.op == answer.op == "text":
        return gold.args == answer.args
    if gold.op == answer.op == "time":
        return _same_time(gold, answer)
    gold, answer = _as_ratio(gold), _as_ratio(answer)
    ops = {gold.op, answer.op}
    if ops == {"compound"}:
        return gold.args == answer.args
    if ops == {"ratio"}:
        left, right = gold.args, answer.args
        return len(left) == len(right) and all(
            same_expression(mul(left[0], right[k]), mul(right[0], left[k])) for k in range(1, len(left))
        )
    if ops == {"based"}:
        return gold.args == answer.args
    if ops == {"mod"}:
        return same(gold.args[1], answer.args[1]) and _congruent(gold, answer)
    for mine, other in ((gold, answer), (answer, gold)):
        if other.op not in EXPRESSIONS or infinite(other):
            continue
        if mine.op == "ratio" and len(mine.args) == 2:
            return same_expression(divide(*mine.args), other)
        if mine.op == "based" and mine is gold and mine.args[0].isdigit():
            # An answer that leaves the base out: the digits as they stand.
            return same_expression(number(int(mine.args[0])), other)
        if mine.op == "mod":
            return same_expression(mine.args[0], other)
    return False


def _same_time(gold: Node, answer: Node) -> bool:
    """3:30 p.m. is 15:30, and 3:30 where one side leaves the half of the day out."""
    if gold.args[3] and answer.args[3]:
        return gold.args == answer.args
    return gold.args[:3] == answer.args[:3] or _on_day(gold) == _on_day(answer)


def _on_day(node: Node) -> tuple[int, ...]:
    hour, minute, second, half = node.args
    return (hour % 12 + 12 * (half == "p") if half else hour, minute, second)


def _as_ratio(node: Node) -> Node:
    """3:30 beside a ratio is one."""
    return (
        Node("ratio", (number(node.args[0]), number(node.args[1]))) if node.op == "time" and not node.args[3] else node
    )


def _congruent(gold: Node, answer: Node) -> bool:
    difference, modulus = rational(subtract(gold.args[0], answer.args[0])), rational(gold.args[1])
    return modulus != 0 and (difference / modulus).denominator == 1
