"""The parts that need sympy: infinite sums, integrals, limits, factors of an equation. Runs in a worker only.

sympy objects are built from `Node` trees, never from text.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import Any

from rlkit.verify.math.exact import NotExact, Undefined, rational
from rlkit.verify.math.nodes import Node, add, mul, negate, symbols

_MAX_WIDTH = 100_000
"""Most terms of a sum or product that sympy may be asked for: beyond, only a closed form helps."""
_MAX_DEGREE = 24
"""Largest degree of a polynomial that is factored."""

_SAME = "sin cos tan cot sec csc asin acos atan acot asec acsc sinh cosh tanh coth asinh acosh atanh exp sqrt"
_SAME_NAMES = frozenset(_SAME.split())
"""Functions that sympy knows by the same name."""
_RENAMED = {
    "ln": "log",
    "log": "log",
    "abs": "Abs",
    "fact": "factorial",
    "binom": "binomial",
    "floor": "floor",
    "ceil": "ceiling",
}
"""Functions that sympy knows by another name."""


def _sympy() -> Any:
    import sympy

    return sympy


def to_sympy(node: Node) -> Any:
    """The sympy expression of a tree.

    Raises:
        NotExact: an operation that has no counterpart.
    """
    sp = _sympy()
    op, args = node
    if op == "num":
        return sp.Rational(args[0].numerator, args[0].denominator)
    if op == "sym":
        return sp.Symbol(args[0], real=True)
    if op == "const":
        return {"pi": sp.pi, "e": sp.E, "i": sp.I, "inf": sp.oo}[args[0]]
    if op == "add":
        return sp.Add(*map(to_sympy, args))
    if op == "mul":
        return sp.Mul(*map(to_sympy, args))
    if op == "pow":
        return to_sympy(args[0]) ** to_sympy(args[1])
    if op == "fn":
        return _function(args[0], [to_sympy(arg) for arg in args[1:]])
    if op == "big":
        return _big(node)
    raise NotExact


def _function(name: str, args: list[Any]) -> Any:
    """The sympy function of a name."""
    sp = _sympy()
    if name in _SAME_NAMES:
        return getattr(sp, name)(*args)
    if name in _RENAMED:
        return getattr(sp, _RENAMED[name])(*args)
    if name in ("root", "cbrt"):
        return sp.real_root(args[0], args[1] if name == "root" else 3)
    if name == "degrees":
        return args[0] * sp.pi / 180
    raise NotExact


def _big(node: Node) -> Any:
    """A sum, product, integral or limit, worked out by sympy as far as it can."""
    sp = _sympy()
    kind, variable, low, high, body = node.args
    running = kind in ("sum", "prod")
    if running and _too_wide(kind, variable, low, high, body):
        raise NotExact
    symbol = sp.Symbol(variable, integer=True) if running else sp.Symbol(variable, real=True)
    inside = to_sympy(body).subs(sp.Symbol(variable, real=True), symbol)
    if kind == "lim":
        return sp.limit(inside, symbol, to_sympy(low))
    operator = {"sum": sp.Sum, "prod": sp.Product, "int": sp.Integral}[kind]
    return operator(inside, (symbol, to_sympy(low), to_sympy(high))).doit()


def _too_wide(kind: str, variable: str, low: Node, high: Node, body: Node) -> bool:
    """Whether a sum or product has too many terms to be added up, and is of a kind without a closed form."""
    try:
        width = rational(high) - rational(low)
    except (NotExact, Undefined):
        return False
    return width > _MAX_WIDTH and (kind == "prod" or _self_power(body, variable))


def _self_power(node: Node, variable: str) -> bool:
    """k^k and k!: terms without a closed sum."""
    if node.op == "pow" and all(variable in symbols(arg) for arg in node.args):
        return True
    if node.op == "fn" and node.args[0] in ("fact", "fact2", "binom", "floor", "ceil") and variable in symbols(node):
        return True
    return any(_self_power(arg, variable) for arg in node.args if isinstance(arg, Node))


def from_sympy(value: Any) -> Node:
    """The tree of a sympy expression.

    Raises:
        NotExact: sympy did not get to an end, or found something that no answer holds.
        Undefined: infinity or nothing at all.
    """
    sp = _sympy()
    if value.has(sp.nan, sp.zoo):
        raise Undefined
    if value.is_Rational:
        return Node("num", (Fraction(int(value.p), int(value.q)),))
    constants = {sp.pi: "pi", sp.E: "e", sp.I: "i", sp.oo: "inf"}
    if value in constants:
        return Node("const", (constants[value],))
    if value == -sp.oo:
        return negate(Node("const", ("inf",)))
    if value.is_Symbol:
        return Node("sym", (value.name,))
    parts = [from_sympy(arg) for arg in value.args]
    if value.is_Add or value.is_Mul:
        return add(*parts) if value.is_Add else mul(*parts)
    if value.is_Pow:
        return Node("pow", tuple(parts))
    names = {cls: name for name, cls in _RENAMED.items() if name != "log"} | {name: name for name in _SAME_NAMES}
    name = names.get(type(value).__name__)
    if name is None:
        raise NotExact
    return Node("fn", (name, *parts))


@lru_cache(maxsize=500)
def evaluate(node: Node) -> Node:
    """The tree with its sums, products, integrals and limits worked out."""
    if node.op == "big":
        try:
            value = rational(node)
        except NotExact:
            return from_sympy(to_sympy(node))
        return Node("num", (value,))
    if node.op in ("num", "sym", "const"):
        return node
    return Node(node.op, tuple(evaluate(arg) if isinstance(arg, Node) else arg for arg in node.args))


def same_zero_set(left: Node, right: Node) -> bool:
    """Whether two polynomials (or quotients of such) vanish at the same points, by their irreducible factors."""
    if max(_degree(left), _degree(right)) > _MAX_DEGREE:
        raise NotExact
    factors = [_factors(node) for node in (left, right)]
    return factors[0] == factors[1]


def _degree(node: Node) -> int:
    """An upper estimate of the degree of a polynomial or of the parts of a quotient."""
    if node.op == "sym":
        return 1
    inner = [_degree(arg) for arg in node.args if isinstance(arg, Node)]
    if node.op == "pow" and node.args[1].op == "num":
        return int(inner[0] * math.ceil(abs(node.args[1].args[0])))
    return sum(inner) if node.op == "mul" else max(inner, default=0)


@lru_cache(maxsize=200)
def _factors(node: Node) -> frozenset[Any]:
    sp = _sympy()
    numerator = sp.fraction(sp.together(to_sympy(node)))[0]
    found = sp.factor_list(sp.expand(numerator))[1]
    return frozenset(sp.Poly(factor).monic().as_expr() if factor.free_symbols else factor for factor, _ in found)
