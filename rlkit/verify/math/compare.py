"""Whether two answers are the same: the rules on names, sets, tuples, systems and equations."""

from __future__ import annotations

from itertools import pairwise

from rlkit.verify.math.equality import same_expression
from rlkit.verify.math.equations import as_equation, same_equation, same_inequality
from rlkit.verify.math.exact import NotExact, Undefined
from rlkit.verify.math.nodes import EXPRESSIONS, Node, contains, substitute, symbols
from rlkit.verify.math.regions import same_region
from rlkit.verify.math.sequences import same_dotted
from rlkit.verify.math.shapes import REGIONS, shape
from rlkit.verify.math.special_forms import same_special_form

_NUMBER = frozenset(("num",))
_MAX_PAIRS = 2500
"""Most comparisons of an item of one collection with one of the other."""
_SAME_FUNCTION = ({"y", "f()"}, {"y", "y()"})
"""Names that stand for one function: y = 2x + 1 is f(x) = 2x + 1."""
_SETS = REGIONS | {"seq", "set"}
"""Values of a name that are sets, or may be an interval."""


def same_answer(gold: Node, answer: Node) -> bool:
    """Whether two trees are the same answer.

    Raises:
        NotExact: it cannot be decided.
    """
    return _same(shape(gold), shape(answer))


def _same(gold: Node, answer: Node) -> bool:
    """Whether two shaped trees are the same answer; the first rule for the two operations decides."""
    if gold.op in EXPRESSIONS and answer.op in EXPRESSIONS:
        return same_expression(gold, answer)
    named = _without_names(gold, answer)
    if named is not None:
        return named
    if gold.op == answer.op == "given":
        return gold.args[1] == answer.args[1] and _same(gold.args[0], _renamed(answer, gold))
    if "dotted" in (gold.op, answer.op):
        return same_dotted(gold, answer, _same)
    gold, answer = _unwrap(gold), _unwrap(answer)
    if _is_region(gold) or _is_region(answer):
        return _same_regions(gold, answer)
    pair = frozenset((gold.op, answer.op))
    if pair <= EXPRESSIONS:
        return same_expression(gold, answer)
    if pair <= {"set", "many"}:
        return _same_collection(gold, answer)
    if "system" in pair:
        return _same_system(gold, answer)
    if pair <= {"seq", "matrix"} or (gold.op, answer.op) == ("seq", "many"):
        return _same_sequence(gold, answer)
    return same_special_form(gold, answer, _same)


def _without_names(gold: Node, answer: Node) -> bool | None:
    """x = 5 beside 5 or x = 5; an equation beside an equation. None where neither side has a name or is an equation."""
    ops = gold.op, answer.op
    if ops == ("assign", "assign"):
        if not _same_name(gold.args[0], answer.args[0]):
            return same_equation(as_equation(gold), as_equation(answer))
        return _same(gold.args[1], answer.args[1])
    if "equation" in ops and set(ops) <= {"equation", "assign"}:
        return same_equation(as_equation(gold), as_equation(answer))
    for mine, other, given in ((gold, answer, False), (answer, gold, True)):
        value_op = mine.args[1].op if mine.op == "assign" else ""
        if value_op and (value_op in _SETS or not _is_region(other)) and other.op != "system":
            if _other_name(mine, other):
                return False
            value = mine.args[1]
            return _same(value, other) if not given else _same(other, value)
        if mine.op in ("equation", "chain"):
            value = _stated_value(mine)
            if value is None:
                return False
            return _same(value, other) if not given else _same(other, value)
    return None


def _other_name(assigned: Node, other: Node) -> bool:
    """x in (0, 1) beside y > 0: each is about another variable."""
    names = symbols(other) if other.op in REGIONS else frozenset()
    return bool(names) and assigned.args[0] not in names


def _renamed(node: Node, other: Node) -> Node:
    """n pi, n in Z in the letter of k pi, k in Z."""
    mine, theirs = node.args[2], other.args[2]
    value: Node = node.args[0]
    if mine == theirs or mine.op != "sym" or theirs.op != "sym" or theirs.args[0] in symbols(value):
        return value
    if value.op == "assign":
        return Node("assign", (value.args[0], substitute(value.args[1], mine.args[0], theirs)))
    return substitute(value, mine.args[0], theirs)


def _same_name(left: str, right: str) -> bool:
    """x = 5 and y = 5 are not one number, unless both names are those of one function."""
    return left == right or {left, right} in _SAME_FUNCTION


def _stated_value(node: Node) -> Node | None:
    """The value that an equation states: `a + b = 5`, `AB = 5`, `2 + 3 = 5`; None if it is false or must be solved."""
    sides = node.args
    if node.op == "equation":
        left, right = sides
        if not symbols(left) and not symbols(right):
            return right if same_expression(left, right) else None
        if symbols(left) and symbols(left) == symbols(right) and left.op in EXPRESSIONS and right.op in EXPRESSIONS:
            # An identity such as x + x = 2x means that the value is 2x.
            return right if same_expression(left, right) else None
        return right if not symbols(right) and not contains(_without_calls(left), _NUMBER) else None
    known = [side for side in sides if not symbols(side)] or list(sides)
    if all(_same(shape(a), shape(b)) for a, b in pairwise(known)):
        return shape(sides[-1])
    return None


def _without_calls(node: Node) -> Node:
    """f(3) as f: a number that a function takes is part of its name."""
    if node.op == "mul" and len(node.args) == 2 and node.args[0].op == "sym" and node.args[1].op == "num":
        name: Node = node.args[0]
        return name
    return node


def _unwrap(node: Node) -> Node:
    """{5} is 5."""
    if node.op in ("set", "many") and len(node.args) == 1 and node.args[0].op not in ("seq", "set"):
        item: Node = node.args[0]
        return item
    return node


def _is_region(node: Node) -> bool:
    return node.op in REGIONS or node.op == "rels"


def _same_regions(gold: Node, answer: Node) -> bool:
    """Whether two sets of real numbers, one at least of which is an inequality, a union or the like, are the same."""
    if gold.op == "rel" and answer.op == "rel" and len(symbols(gold)) > 1:
        return same_inequality(gold, answer)
    if any(_one_region(left, right) for left in _as_regions(gold) for right in _as_regions(answer)):
        return True
    if gold.op == answer.op == "rel":
        return same_inequality(gold, answer)
    if gold.op == answer.op == "minus":
        # All but the multiples of k\pi: points without a place on the line.
        return all(_same(left, right) for left, right in zip(gold.args, answer.args, strict=True))
    return gold.op == answer.op == "union" and _same_collection(gold, answer)


def _one_region(gold: Node, answer: Node) -> bool:
    try:
        return same_region(gold, answer)
    except (NotExact, Undefined):
        return False


def _as_regions(node: Node) -> list[Node]:
    """A list of inequalities holds all at once, or, where nothing could, one by one."""
    if node.op in EXPRESSIONS:
        return [Node("set", (node,))]
    return [Node("inter", node.args), Node("union", node.args)] if node.op == "rels" else [node]


def _same_collection(gold: Node, answer: Node) -> bool:
    """The same items in any order; a set holds each once."""
    left, right = list(gold.args), list(answer.args)
    if "set" in (gold.op, answer.op):
        left, right = _distinct(left), _distinct(right)
    return len(left) == len(right) and _matched(left, right)


def _distinct(items: list[Node]) -> list[Node]:
    out: list[Node] = []
    for item in items:
        if not any(_same_item(item, other) for other in out):
            out.append(item)
    return out


def _matched(left: list[Node], right: list[Node]) -> bool:
    """Whether each item of one list is the same as another item of the other."""
    if len(left) * len(right) > _MAX_PAIRS:
        raise NotExact
    rest = list(right)
    for item in left:
        found = next((k for k, other in enumerate(rest) if _same_item(item, other)), None)
        if found is None:
            return False
        rest.pop(found)
    return True


def _same_item(left: Node, right: Node) -> bool:
    """Within a collection {1} is not 1."""
    return (left.op == "set") == (right.op == "set") and _same(left, right)


def _same_system(gold: Node, answer: Node) -> bool:
    """Whether two systems hold the same equations, or a tuple holds a system's values by the order of its names."""
    if gold.op == answer.op:
        return len(gold.args) == len(answer.args) and _matched(list(gold.args), list(answer.args))
    system, other = (gold, answer) if gold.op == "system" else (answer, gold)
    if other.op == "assign":
        other = other.args[1]
    if other.op not in ("seq", "many") or any(item.op != "assign" for item in system.args):
        return False
    values = tuple(item.args[1] for item in sorted(system.args, key=lambda item: str(item.args[0])))
    return _same_sequence(Node("seq", ("(", ")", *values)), other)


def _same_sequence(gold: Node, answer: Node) -> bool:
    """Tuples, points, vectors, matrices: item by item; a pair in other brackets is another interval."""
    if gold.op == answer.op == "matrix":
        return len(gold.args) == len(answer.args) and all(
            _rows(a, b) for a, b in zip(gold.args, answer.args, strict=True)
        )
    if gold.op == answer.op == "seq" and len(gold.args) == 4 and gold.args[:2] != answer.args[:2]:
        return False
    if answer.op == "many" and gold.args[:2] != ("(", ")"):
        return False
    left, right = _row(gold), _row(answer)
    return left is not None and right is not None and _rows(left, right)


def _row(node: Node) -> tuple[Node, ...] | None:
    """The items of a tuple, a list, or a matrix with one row or one column; None for other matrices."""
    if node.op == "seq":
        return node.args[2:]
    if node.op == "many":
        return node.args
    if len(node.args) == 1:
        row: tuple[Node, ...] = node.args[0]
        return row
    return tuple(row[0] for row in node.args) if all(len(row) == 1 for row in node.args) else None


def _rows(left: tuple[Node, ...], right: tuple[Node, ...]) -> bool:
    return len(left) == len(right) and all(_same(shape(a), shape(b)) for a, b in zip(left, right, strict=True))
