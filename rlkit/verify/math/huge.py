r"""Numbers too large to be worked out, such as 9^{9^{9^{9}}} and 1000000000!: named, or compared by their logarithms.

Two answers with the same huge parts are compared with a name in place of each; 9^{9^{9^{9}}} + 1 is h + 1 and no h.
"""

from __future__ import annotations

from typing import Any

from rlkit.verify.math.exact import NotExact, TooLarge, Undefined, rational
from rlkit.verify.math.nodes import Node, number, symbols
from rlkit.verify.math.numeric import Evaluator

_DIGITS = 80
"""Decimal digits of a logarithm."""
_MARGIN = 30
"""Two logarithms differ if they do so in their first 30 digits; the other 50 are for rounding."""
_LEAVES = frozenset(("num", "sym", "const"))
"""Nodes that hold no others."""


def name_huge(left: Node, right: Node) -> tuple[Node, Node]:
    """Both expressions with one name for each huge part, the same for the same part."""
    names: dict[Node, Node] = {}
    return _named(left, names), _named(right, names)


def _named(node: Node, names: dict[Node, Node]) -> Node:
    """The tree with a name for each huge part; parts that are numbers are worked out."""
    if node.op in _LEAVES:
        return node
    args = [_named(arg, names) if isinstance(arg, Node) else arg for arg in node.args]
    if node.op in ("add", "mul"):
        args.sort(key=hash)
    named = Node(node.op, tuple(args))
    if symbols(node):
        return named
    if not symbols(named):
        try:
            return number(rational(named))
        except (NotExact, Undefined):
            pass
    whole_power = node.op == "pow" and args[1].op == "num" and args[1].args[0].denominator == 1
    if node.op in ("pow", "fn") and not whole_power and _is_huge(node):
        return names.setdefault(named, Node("sym", (f"huge {len(names)}",)))
    return named


def _is_huge(node: Node) -> bool:
    """Whether a constant is too large to be worked out."""
    try:
        Evaluator(_MARGIN, {}).value(node)
    except TooLarge:
        return True
    except (NotExact, Undefined):
        pass
    return False


def differ_in_size(left: Node, right: Node) -> bool:
    """Whether the logarithms of two constants show that they differ; False where they do not show it."""
    try:
        (left_sign, left_log), (right_sign, right_log) = _size(left), _size(right)
    except (NotExact, Undefined):
        return False
    scale = max(abs(left_log), abs(right_log), 1)
    return bool(
        left_sign != right_sign or abs(left_log - right_log) > scale * Evaluator(_DIGITS, {}).mp.mpf(10) ** -_MARGIN
    )


def _size(node: Node) -> tuple[int, Any]:
    """(sign, logarithm of the absolute value) of a constant that is real and not 0.

    Raises:
        NotExact: it cannot be decided.
        Undefined: it has no value.
    """
    mp = (evaluator := Evaluator(_DIGITS, {})).mp
    try:
        value = evaluator.value(node)
        if evaluator.complex or evaluator.is_zero(value):
            raise NotExact
        return (1 if value > 0 else -1), mp.log(abs(value))
    except TooLarge:
        pass
    op, args = node
    if op == "mul":
        sizes = [_size(arg) for arg in args]
        sign = -1 if sum(sign < 0 for sign, _ in sizes) % 2 else 1
        return sign, sum(size for _, size in sizes)
    if op == "pow":
        exponent = rational(args[1])
        sign, size = _size(args[0])
        if sign < 0:
            raise NotExact
        return 1, size * exponent.numerator / exponent.denominator
    if op == "add":
        return _sum_size([_size(arg) for arg in args], mp)
    if op == "fn" and args[0] == "fact":
        return 1, _log_factorial(args[1], mp)
    if op == "fn" and args[0] == "binom":
        parts = [
            _log_factorial(arg, mp)
            for arg in (args[1], args[2], Node("add", (args[1], Node("mul", (number(-1), args[2])))))
        ]
        size = parts[0] - parts[1] - parts[2]
        if size < parts[0] * mp.mpf(10) ** -_MARGIN:
            raise NotExact
        return 1, size
    raise NotExact


def _sum_size(sizes: list[tuple[int, Any]], mp: Any) -> tuple[int, Any]:
    largest = max(size for _, size in sizes)
    total = sum(sign * mp.exp(size - largest) for sign, size in sizes)
    if abs(total) < mp.mpf(10) ** -_MARGIN:
        raise NotExact
    return (1 if total > 0 else -1), largest + mp.log(abs(total))


def _log_factorial(node: Node, mp: Any) -> Any:
    value = rational(node)
    if value.denominator != 1 or value < 0:
        raise Undefined
    return mp.loggamma(value.numerator + 1)
