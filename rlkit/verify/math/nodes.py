"""The tree that an answer is read into: plain data, made by the parser alone."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple


class Unreadable(Exception):
    """The text cannot be read as an answer; the message states why in a few words."""


class Node(NamedTuple):
    """One operation or container, with its operands or items.

    Expressions: num(Fraction) sym(name) const("pi" | "e" | "i" | "inf") add(*) mul(*) pow(base, exponent) fn(name, *)
    pm(a, b, sign: +1 for a plus-minus, -1 for a minus-plus) big(kind, variable, from, to, body).
    Answers: list(*) set(*) seq(open, close, *) matrix(row seqs) union(*) inter(*) minus(a, b) rel(sides, signs)
    and(*) or(*) ratio(*) based(digits, base) time(hour, minute, second, half) mod(residue, modulus) reals() text(words)
    compound(*(number, unit)) given(answer, set, variable). dots() is an ellipsis, dots("-") one behind a minus;
    dotted("list" | "set" | "seq" | "+" | "*", *) holds one among its terms.
    """

    op: str
    args: tuple[Any, ...] = ()


MINUS_ONE = Node("num", (Fraction(-1),))
INFINITY = Node("const", ("inf",))
DOTS = Node("dots")
EXPRESSIONS = frozenset(("num", "sym", "const", "add", "mul", "pow", "fn", "pm", "big"))
"""The operations that make an expression; every other node is a container or a text."""


def number(value: int | Fraction) -> Node:
    """A constant."""
    return Node("num", (Fraction(value),))


def add(*terms: Node) -> Node:
    """A sum."""
    return Node("add", terms)


def mul(*factors: Node) -> Node:
    """A product."""
    return Node("mul", factors)


def negate(node: Node) -> Node:
    """-node."""
    return Node("num", (-node.args[0],)) if node.op == "num" else Node("mul", (MINUS_ONE, node))


def divide(top: Node, bottom: Node) -> Node:
    """top / bottom."""
    if top.op == "num" and bottom.op == "num" and bottom.args[0] != 0:
        return Node("num", (top.args[0] / bottom.args[0],))
    return Node("mul", (top, Node("pow", (bottom, MINUS_ONE))))


def subtract(left: Node, right: Node) -> Node:
    """left - right."""
    return Node("add", (left, negate(right)))


def is_count(node: Node) -> bool:
    """Whether it is a whole number above 0."""
    return node.op == "num" and node.args[0].denominator == 1 and node.args[0] > 0


def symbols(node: Any) -> frozenset[str]:
    """Names of the free variables in a tree."""
    if not isinstance(node, Node):
        return frozenset()
    if node.op == "sym":
        return frozenset(node.args)
    if node.op == "text":
        return frozenset()
    found: frozenset[str] = frozenset()
    for arg in node.args:
        if isinstance(arg, Node):
            found |= symbols(arg)
        elif isinstance(arg, tuple):
            for item in arg:
                found |= symbols(item)
    if node.op == "big" and node.args[1]:
        found -= {node.args[1]}
    return found


def substitute(node: Node, name: str, value: Node) -> Node:
    """The tree with a value in place of a variable."""
    if node.op == "sym":
        return value if node.args[0] == name else node
    return Node(node.op, tuple(substitute(arg, name, value) if isinstance(arg, Node) else arg for arg in node.args))


def contains(node: Any, ops: frozenset[str]) -> bool:
    """Whether an operation of these occurs anywhere in the tree."""
    if isinstance(node, Node):
        return node.op in ops or any(contains(arg, ops) for arg in node.args)
    return isinstance(node, tuple) and any(contains(arg, ops) for arg in node)
