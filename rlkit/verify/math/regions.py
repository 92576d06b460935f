"""Sets of real numbers: intervals, inequalities, their unions, intersections and differences, compared as sets.

The end points of both sides cut the line into points and gaps; two regions are equal where each piece is in both or in
neither. So (1, 3) is 1 < x < 3, and x != 2 is the union of two rays.
"""

from __future__ import annotations

from functools import cmp_to_key

from rlkit.verify.math.equality import infinite, same_expression
from rlkit.verify.math.exact import NotExact, Undefined
from rlkit.verify.math.nodes import (
    EXPRESSIONS,
    INFINITY,
    Node,
    add,
    divide,
    mul,
    negate,
    number,
    substitute,
    subtract,
    symbols,
)
from rlkit.verify.math.numeric import Evaluator

_DIGITS = 40
"""Decimal digits by which end points are put in order."""
_MAX_POINTS = 60
"""Most end points that the line is cut at."""


class _Line:
    """The line cut at end points; piece 2k + 1 is point k, piece 2k the gap before it."""

    def __init__(self, points: list[Node]) -> None:
        if len(points) > _MAX_POINTS:
            raise NotExact
        distinct: list[Node] = []
        for point in points:
            if not any(same_expression(point, other) for other in distinct):
                distinct.append(point)
        self._points = sorted(distinct, key=cmp_to_key(_order))
        self.size = 2 * len(distinct) + 1

    def place(self, node: Node) -> int:
        """The piece of an end point."""
        sign = infinite(node)
        if sign:
            return self.size if sign > 0 else -1
        found = next((k for k, point in enumerate(self._points) if same_expression(node, point)), None)
        if found is None:
            raise NotExact
        return 2 * found + 1


def _order(left: Node, right: Node) -> int:
    """1 where the first end point lies right of the second, else -1; NotExact where one is complex."""
    evaluator = Evaluator(_DIGITS, {})
    difference = evaluator.value(left) - evaluator.value(right)
    if evaluator.mp.im(difference) != 0:
        raise NotExact
    return 1 if evaluator.mp.re(difference) > 0 else -1


def same_region(left: Node, right: Node) -> bool:
    """Whether two sets of real numbers are the same.

    Raises:
        NotExact: one of them is no such set.
    """
    names = _names(left) | _names(right)
    left, right = _solved(left), _solved(right)
    if len(names) > 1:
        raise NotExact
    line = _Line(_ends(left) + _ends(right))
    return all(_inside(left, piece, line) == _inside(right, piece, line) for piece in range(line.size))


def whole_numbers(region: Node, numbers: str) -> list[int] | None:
    """The numbers of "Z", "Z+" or "N" (from 0) in a region; None where they have no end or are many.

    1 < x <= 3, "Z" -> [2, 3]
    """
    try:
        region = _solved(region)
        ends = [int(Evaluator(_DIGITS, {}).value(end)) for end in _ends(region)]
        if not ends or numbers not in ("Z", "Z+", "N"):
            return None
        low, high = {"Z+": 1, "N": 0}.get(numbers, min(ends) - 1), max(ends) + 1
        line = _Line([*_ends(region), *map(number, range(low, min(high, low + _MAX_POINTS) + 1))])
        if _inside(region, line.size - 1, line) or (numbers == "Z" and _inside(region, 0, line)):
            return None
        return [k for k in range(low, high + 1) if _inside(region, line.place(number(k)), line)]
    # A complex or undefined end is no place on the line.
    except (NotExact, Undefined, TypeError):
        return None


def _solved(node: Node) -> Node:
    """Inequalities as intervals: x > 3, 2x - 1 <= 5, |x - 1| < 2, 1 < x < 3."""
    op, args = node
    if op == "rel":
        sides, signs = args
        if any(side.op not in EXPRESSIONS for side in sides):
            raise NotExact
        steps = [_solve(a, sign, b) for a, sign, b in zip(sides, signs, sides[1:], strict=False)]
        return steps[0] if len(steps) == 1 else Node("inter", tuple(steps))
    if op in ("union", "inter", "minus"):
        return Node(op, tuple(_solved(arg) for arg in args))
    return node


def _solve(left: Node, sign: str, right: Node) -> Node:
    """The interval of left < right, which must be linear in its one variable, or the absolute value of such."""
    if sign not in ("<", ">", "<=", ">="):
        raise NotExact
    for inside, bound, less in ((left, right, sign[0] == "<"), (right, left, sign[0] == ">")):
        if inside.op == "pow" and inside.args[1] == number(2) and not symbols(bound):
            # x^2 < c is |x| < sqrt(c).
            inside, bound = Node("fn", ("abs", inside.args[0])), Node("fn", ("sqrt", bound))
        if inside.op == "fn" and inside.args[0] == "abs" and not symbols(bound):
            bar = inside.args[1]
            low, high = ("<" if less else ">") + sign[1:], (">" if less else "<") + sign[1:]
            return Node("inter" if less else "union", (_solve(bar, low, bound), _solve(bar, high, negate(bound))))
    if sign[0] == ">":
        left, right = right, left
    slope, end = _root(subtract(left, right))
    closed = "]" if sign[1:] else ")"
    if slope > 0:
        return Node("seq", ("(", closed, negate(INFINITY), end))
    return Node("seq", ("[" if sign[1:] else "(", ")", end, INFINITY))


def _root(line: Node) -> tuple[int, Node]:
    """(sign of the slope, zero) of a linear function of one variable."""
    (name,) = symbols(line) if len(symbols(line)) == 1 else (None,)
    if name is None:
        raise NotExact
    if line.op == "add" and len(line.args) == 2 and line.args[0] == Node("sym", (name,)):
        return 1, negate(line.args[1])
    if line.op == "add" and len(line.args) == 2 and line.args[1] == negate(Node("sym", (name,))):
        return -1, line.args[0]
    start = substitute(line, name, number(0))
    slope = subtract(substitute(line, name, number(1)), start)
    if not same_expression(line, add(mul(slope, Node("sym", (name,))), start)):
        raise NotExact
    evaluator = Evaluator(_DIGITS, {})
    value = evaluator.value(slope)
    if evaluator.is_zero(value) or evaluator.mp.im(value) != 0:
        raise NotExact
    return (1 if evaluator.mp.re(value) > 0 else -1), negate(divide(start, slope))


def _names(node: Node) -> frozenset[str]:
    """The variables whose values a set holds."""
    if node.op == "rel":
        return symbols(node)
    if node.op == "assign":
        return frozenset((node.args[0],))
    if node.op in EXPRESSIONS:
        return symbols(node)
    return frozenset[str]().union(*(_names(arg) for arg in node.args if isinstance(arg, Node)))


def _ends(node: Node) -> list[Node]:
    """The finite end points and points of a set; NotExact where it is no set of real numbers."""
    op, args = node
    if op == "seq":
        if len(args) != 4:
            raise NotExact
        found = list(args[2:])
    elif op == "set" or op == "many":
        found = list(args)
    elif op == "assign":
        found = list(args[1].args) if args[1].op == "many" else [args[1]]
    elif op in ("union", "inter", "minus", "reals"):
        return [end for arg in args for end in _ends(arg)]
    else:
        raise NotExact
    if any(end.op not in EXPRESSIONS or symbols(end) for end in found):
        raise NotExact
    return [end for end in found if not infinite(end)]


def _inside(node: Node, piece: int, line: _Line) -> bool:
    """Whether a set holds one piece of the line."""
    op, args = node
    if op == "reals":
        return True
    if op == "seq":
        low, high = line.place(args[2]), line.place(args[3])
        if low > high:
            raise NotExact
        return (low < piece or (low == piece and args[0] == "[")) and (
            piece < high or (piece == high and args[1] == "]")
        )
    if op in ("set", "many"):
        return any(line.place(item) == piece for item in args)
    if op == "assign":
        return _inside(Node("set", args[1].args if args[1].op == "many" else (args[1],)), piece, line)
    if op == "union":
        return any(_inside(arg, piece, line) for arg in args)
    if op == "inter":
        return all(_inside(arg, piece, line) for arg in args)
    return _inside(args[0], piece, line) and not _inside(args[1], piece, line)
