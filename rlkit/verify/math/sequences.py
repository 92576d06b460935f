r"""Sequences, sums and products with an ellipsis: 1, 3, 5, \ldots and 1 + 2 + \cdots + n.

They are the same where the terms shown are, in order. Where one side shows more terms, these must be what the other
side's own terms go on with: every number in a term grows by a step of its own (a_1 b_2, a_2 b_4), the terms are a
polynomial in their place (1, 4, 9, 16), have a constant ratio (1, 2, 4), or each comes from the two before it
(1, 1, 2, 3, 5). One that ends in a known term can be written out: 1 + 2 + \cdots + 100 is 5050.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise

from rlkit.verify.math.equality import same_expression
from rlkit.verify.math.exact import NotExact, Undefined, rational
from rlkit.verify.math.nodes import DOTS, EXPRESSIONS, Node, mul, number, subtract

_MAX_ORDER = 3
"""Highest order of differences that is tried: each one doubles an expression's size."""
_MAX_TERMS = 5000
"""Most terms that an ellipsis is written out to."""
_SHOWS_STEP, _SHOWS_DIFFERENCES, _SHOWS_RATIO, _SHOWS_RECURRENCE = 2, 3, 3, 5
"""How many terms must be shown before a rule can be read off them: a rule that fits fewer fits by chance."""
_INDEXED = re.compile(r"(.*_)(\d{1,9})")
"""A name with a number as its index, which grows from term to term."""
Same = Callable[[Node, Node], bool]
"""Whether two answers are the same: `compare._same`, passed in because it calls this module."""


def same_dotted(gold: Node, answer: Node, same: Same) -> bool:
    """Whether two answers, one or both with an ellipsis, are the same.

    Args:
        gold: dotted(kind, *terms), or what it may be once it is written out.
        answer: The same.
        same: Whether two answers are.
    """
    if gold.op == answer.op and _same_shown(gold, answer, same):
        return True
    plain = [_written_out(node) if node.op == "dotted" else node for node in (gold, answer)]
    return plain[0] is not None and plain[1] is not None and same(plain[0], plain[1])


def _same_shown(gold: Node, answer: Node, same: Same) -> bool:
    """Whether two with an ellipsis each show the same terms, or more of them by the same rule."""
    kinds = {gold.args[0], answer.args[0]}
    if len(kinds) > 1 and kinds not in ({"list", "set"}, {"list", "seq"}):
        return False
    (left_dots, left), (right_dots, right) = _runs(gold.args[1:]), _runs(answer.args[1:])
    if len(left_dots) != len(right_dots):
        return False
    if len(left) != 2:
        # More than one ellipsis, as in ..., -2, 0, 2, ...
        return all(_same_terms(a, b, same) for a, b in zip(left, right, strict=True)) or (
            len(left) == 3 and not any((left[0], left[2], right[0], right[2])) and _same_middle(left[1], right[1], same)
        )
    (head, tail), (longer_head, longer_tail) = sorted((left, right), key=lambda runs: len(runs[0]))
    if not _same_terms(head, longer_head[: len(head)], same) or not _same_terms(tail, longer_tail, same):
        return False
    if len(head) == len(longer_head):
        return left_dots == right_dots
    return bool(len(head) > 1 or tail) and _goes_on(head, longer_head)


def _written_out(node: Node) -> Node | None:
    r"""1, 2, \ldots, 5 as 1, 2, 3, 4, 5; None where the terms left out are not known."""
    kind = node.args[0]
    dots, (head, *tails) = _runs(node.args[1:])
    if dots != [DOTS] or not head or len(tails[0]) != 1 or any(term.op not in EXPRESSIONS for term in head + tails[0]):
        return None
    between = _terms_between(head, tails[0][0])
    if between is None:
        return None
    terms = (*head, *between, *tails[0])
    if kind in ("+", "*"):
        return Node("add" if kind == "+" else "mul", terms)
    return Node("seq", ("(", ")", *terms)) if kind == "seq" else Node("set" if kind == "set" else "many", terms)


def _runs(terms: tuple[Node, ...]) -> tuple[list[Node], list[list[Node]]]:
    """(the ellipses with their signs, the terms between them)."""
    dots: list[Node] = []
    runs: list[list[Node]] = [[]]
    for term in terms:
        if term.op == DOTS.op:
            dots.append(term)
            runs.append([])
        else:
            runs[-1].append(term)
    return dots, runs


def _same_terms(left: list[Node], right: list[Node], same: Same) -> bool:
    return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))


def _same_middle(left: list[Node], right: list[Node], same: Same) -> bool:
    """Whether one of two pieces of an endless sequence holds the other and continues it to both sides."""
    short, long = sorted((left, right), key=len)
    for start in range(len(long) - len(short) + 1):
        end = start + len(short)
        if (
            _same_terms(short, long[start:end], same)
            and _goes_on(short, long[start:])
            and _goes_on(short[::-1], long[:end][::-1])
        ):
            return True
    return False


def _goes_on(head: list[Node], longer: list[Node]) -> bool:
    """Whether the longer list follows the rule that the shorter one shows."""
    if not head or any(term.op not in EXPRESSIONS for term in longer):
        return False
    try:
        return (
            _by_steps(head, longer)
            or _by_differences(head, longer)
            or _by_ratio(head, longer)
            or _by_recurrence(head, longer)
        )
    except (NotExact, Undefined):
        return False


def _by_steps(head: list[Node], longer: list[Node]) -> bool:
    """Every number in a term grows by a step of its own: a_1 b_2, a_2 b_4."""
    read = [_numbers(term) for term in longer]
    if len({form for form, _ in read}) > 1:
        return False
    values = [numbers for _, numbers in read]
    steps = _steps(values[: len(head)], values[-1])
    return steps is not None and all(
        after == tuple(value + step for value, step in zip(before, steps, strict=True))
        for before, after in pairwise(values)
    )


def _steps(shown: list[tuple[Fraction, ...]], last: tuple[Fraction, ...]) -> tuple[Fraction, ...] | None:
    """By how much each number grows from term to term; a single term shows steps of 1, as in a_1, ..., a_9."""
    if len(shown) == 1:
        return tuple(Fraction(a != b) for a, b in zip(shown[0], last, strict=True))
    found = {tuple(b - a for a, b in zip(before, after, strict=True)) for before, after in pairwise(shown)}
    return found.pop() if len(found) == 1 else None


def _numbers(node: Node) -> tuple[Node, tuple[Fraction, ...]]:
    """(a term without its numbers, these numbers in order): 2a_3 is (?a_?, (2, 3))."""
    if node.op == "num":
        return Node("num"), node.args
    if node.op == "sym":
        match = _INDEXED.fullmatch(node.args[0])
        return (Node("sym", (match[1],)), (Fraction(match[2]),)) if match else (node, ())
    read = [_numbers(arg) if isinstance(arg, Node) else (arg, ()) for arg in node.args]
    return Node(node.op, tuple(form for form, _ in read)), tuple(value for _, values in read for value in values)


def _with_numbers(form: Node, values: Iterator[Fraction]) -> Node:
    """The term of a form; the inverse of `_numbers`."""
    if form.op == "num":
        return number(next(values))
    if form.op == "sym":
        return Node("sym", (f"{form.args[0]}{next(values)}",)) if form.args[0].endswith("_") else form
    args = tuple(_with_numbers(arg, values) if isinstance(arg, Node) else arg for arg in form.args)
    return Node(form.op, args)


def _by_differences(head: list[Node], longer: list[Node]) -> bool:
    """Constant differences: two terms show a first one, three one that holds, four a second one that holds."""
    for order in range(1, _MAX_ORDER + 1):
        if len(head) < (_SHOWS_STEP if order == 1 else _SHOWS_DIFFERENCES):
            return False
        head, longer = _differences(head), _differences(longer)
        if all(same_expression(head[0], other) for other in head[1:]):
            return all(same_expression(head[0], other) for other in longer)
    return False


def _differences(terms: list[Node]) -> list[Node]:
    return [subtract(after, before) for before, after in pairwise(terms)]


def _by_ratio(head: list[Node], longer: list[Node]) -> bool:
    """A constant ratio; three terms show it."""
    if len(head) < _SHOWS_RATIO or same_expression(head[0], number(0)):
        return False
    return all(same_expression(mul(after, head[0]), mul(before, head[1])) for before, after in pairwise(longer))


def _by_recurrence(head: list[Node], longer: list[Node]) -> bool:
    """Each term a whole multiple of the one before it and of the one before that; five terms show it."""
    if len(head) < _SHOWS_RECURRENCE:
        return False
    first, second, third, fourth = (rational(term) for term in head[:4])
    scale = second * second - first * third
    if scale == 0:
        return False
    a, b = (second * third - first * fourth) / scale, (second * fourth - third * third) / scale
    values = [rational(term) for term in longer]
    follows = all(z == a * y + b * x for x, y, z in zip(values, values[1:], values[2:], strict=False))
    return follows and a.denominator == b.denominator == 1


def _terms_between(head: list[Node], last: Node) -> list[Node] | None:
    """The terms that an ellipsis leaves out, by steps or a constant ratio; None where they are not known."""
    read = [_numbers(term) for term in (*head, last)]
    form = read[0][0]
    if any(other != form for other, _ in read):
        return None
    *shown, end = (numbers for _, numbers in read)
    steps = _steps(shown, end)
    if steps is None:
        return _powers_between(head, last)
    growing = {(b - a) / step for a, b, step in zip(shown[-1], end, steps, strict=True) if step}
    if len(growing) != 1 or any(a != b for a, b, step in zip(shown[-1], end, steps, strict=True) if not step):
        return None
    (num_steps,) = growing
    if num_steps.denominator != 1 or not 1 <= num_steps <= _MAX_TERMS:
        return None
    rows = [[a + k * step for a, step in zip(shown[-1], steps, strict=True)] for k in range(1, int(num_steps))]
    return [_with_numbers(form, iter(row)) for row in rows]


def _powers_between(head: list[Node], last: Node) -> list[Node] | None:
    """The terms up to the last one by a constant ratio; None where it is not constant or misses the last term."""
    if any(term.op != "num" for term in (*head, last)):
        return None
    values, end = [term.args[0] for term in head], last.args[0]
    if len(values) < _SHOWS_RATIO or 0 in values or not _by_ratio(head, head):
        return None
    ratio = values[1] / values[0]
    terms: list[Node] = []
    value = values[-1] * ratio
    while value != end:
        if len(terms) > _MAX_TERMS or (abs(value) > abs(end)) == (abs(ratio) > 1):
            return None
        terms.append(number(value))
        value *= ratio
    return terms
