r"""Sequences, sums and products with an ellipsis: 1, 3, 5, \ldots and 1 + 2 + \cdots + n.

They are the same where the terms shown are, in order. Where one side shows more terms, they must be what the other
side's own terms go on with: as a polynomial in their place (1, 3, 5 and 1, 4, 9, 16), or by a constant ratio (1, 2, 4).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from rlkit.verify.answers.equality import same_expression
from rlkit.verify.answers.exact import NotExact, Undefined
from rlkit.verify.answers.nodes import DOTS, EXPRESSIONS, Node, mul, number, subtract

_MAX_ORDER = 3
"""Of differences of differences: each doubles an expression's size."""
Same = Callable[[Node, Node], bool]


def same_dotted(gold: Node, answer: Node, same: Same) -> bool:
    """Whether two of what holds an ellipsis are the same.

    Args:
        gold: dotted(kind, *terms).
        answer: The same.
        same: Whether two terms are.
    """
    kinds = {gold.args[0], answer.args[0]}
    if len(kinds) > 1 and kinds not in ({"list", "set"}, {"list", "seq"}):
        return False
    left, right = _runs(gold.args[1:]), _runs(answer.args[1:])
    if left[0] != right[0]:
        return False
    if len(left[1]) != 2:
        # More than one ellipsis, as in ..., -2, 0, 2, ...
        return all(_same_terms(a, b, same) for a, b in zip(left[1], right[1], strict=True))
    shown = sorted((left[1], right[1]), key=lambda runs: len(runs[0]))
    (head, tail), (longer_head, longer_tail) = shown
    if not _same_terms(head, longer_head[: len(head)], same):
        return False
    if len(tail) != len(longer_tail):
        return False
    return _same_terms(tail, longer_tail, same) and (len(head) == len(longer_head) or _goes_on(head, longer_head))


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


def _goes_on(head: list[Node], longer: list[Node]) -> bool:
    """Whether the longer list follows the rule that the shorter one shows."""
    if any(term.op not in EXPRESSIONS for term in longer):
        return False
    try:
        return _by_differences(head, longer) or _by_ratio(head, longer)
    except (NotExact, Undefined):
        return False


def _by_differences(head: list[Node], longer: list[Node]) -> bool:
    """Constant differences: two terms show a first one, three one that holds, four a second one that holds."""
    for order in range(1, _MAX_ORDER + 1):
        if len(head) < (2 if order == 1 else 3):
            return False
        head, longer = _differences(head), _differences(longer)
        if all(same_expression(head[0], other) for other in head[1:]):
            return all(same_expression(head[0], other) for other in longer)
    return False


def _differences(terms: list[Node]) -> list[Node]:
    return [subtract(after, before) for before, after in pairwise(terms)]


def _by_ratio(head: list[Node], longer: list[Node]) -> bool:
    if len(head) < 3 or same_expression(head[0], number(0)):
        return False
    return all(same_expression(mul(after, head[0]), mul(before, head[1])) for before, after in pairwise(longer))
