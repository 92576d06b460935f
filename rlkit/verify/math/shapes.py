"""Brings trees to the form that `compare` knows: plus-minus and "or" written out, assignments apart from equations."""

from __future__ import annotations

from itertools import product

from rlkit.verify.math.nodes import EXPRESSIONS, Node, add, contains, mul, number, subtract, symbols
from rlkit.verify.math.regions import whole_numbers

_PM = frozenset(("pm",))
_LINEAR = frozenset(("matrix", "seq"))
"""Containers that are multiplied by numbers."""
_MAX_SIGNS = 4
"""Most plus-minus signs that are written out: each doubles the number of values."""
_MAX_DETERMINANT = 4
"""Rows of the largest determinant that is worked out: its terms grow as the factorial."""
_FUNCTION_LETTERS = frozenset("fghFGHPQ")
"""Letters that name functions and probabilities: f(x) = 2 is a value of f; a(x) = 2 is a product a times x."""
REGIONS = frozenset(("rel", "union", "inter", "minus", "reals"))
"""Operations whose result is a set of real numbers."""


def expand_signs(node: Node) -> list[Node]:
    r"""1 \pm \sqrt{2} as both numbers; all \mp go against the first \pm."""
    count = _count(node)
    if count == 0 and contains(node, _PM):
        # A minus-plus by itself.
        return [_choose(node, [], sign) for sign in (1, -1)]
    if count == 0 or count > _MAX_SIGNS:
        return [node]
    out = []
    for signs in product((1, -1), repeat=count):
        chosen = list(signs)
        tree = _choose(node, chosen, signs[0])
        if tree not in out:
            out.append(tree)
    return out


def _count(node: object) -> int:
    """How many plus-minus signs are free: a minus-plus follows the plus-minus."""
    if not isinstance(node, Node):
        return 0
    own = node.op == "pm" and node.args[2] == 1
    return own + sum(_count(arg) for arg in node.args)


def _choose(node: Node, signs: list[int], first: int) -> Node:
    """The tree with one sign for each plus-minus, taken from `signs`; a minus-plus has the opposite of `first`."""
    if node.op not in EXPRESSIONS:
        return node
    if node.op == "pm":
        left = _choose(node.args[0], signs, first)
        sign = signs.pop(0) if node.args[2] == 1 else -first
        right = _choose(node.args[1], signs, first)
        if left == number(0):
            return right if sign > 0 else subtract(number(0), right).args[1]
        return add(left, right) if sign > 0 else subtract(left, right)
    return Node(node.op, tuple(_choose(arg, signs, first) if isinstance(arg, Node) else arg for arg in node.args))


def _name(node: Node, value: Node) -> str | None:
    """The name on the left of `name = value`: x, f(x), (x, y); None where an expression is there."""
    if node.op == "sym":
        return None if node.args[0] in symbols(value) else str(node.args[0])
    if node.op == "mul" and len(node.args) == 2 and _head(node.args[0]) is not None:
        head = str(_head(node.args[0]))
        if head[0] in _FUNCTION_LETTERS and node.args[1].op != "num" and head not in symbols(value):
            # f(x) = 2x + 1 is a function whatever its letter; P(A) = 1/2 is a number that belongs to A.
            inside = symbols(node.args[1])
            return f"{head}()" if inside <= symbols(value) else f"{head}({','.join(sorted(inside))})"
    if node.op == "seq" and all(isinstance(arg, Node) and arg.op == "sym" for arg in node.args[2:]):
        return "(" + ",".join(arg.args[0] for arg in node.args[2:]) + ")"
    return None


def _head(node: Node) -> str | None:
    """f of f and f^{-1}."""
    inverse = node.op == "pow" and node.args[0].op == "sym" and node.args[1] == number(-1)
    head = node.args[0] if inverse else node
    return f"{head.args[0]}{'^-1' if inverse else ''}" if head.op == "sym" else None


def _equalities(sides: tuple[Node, ...]) -> Node:
    """Sides with = between them: an assignment to a name, a system, an equation, or a chain of more than two."""
    last = shape(sides[-1])
    name = _name(sides[0], sides[-1])
    if name is not None and name.startswith("(") and last.op == "seq":
        pairs = zip(sides[0].args[2:], last.args[2:], strict=False)
        return Node("system", tuple(Node("assign", (left.args[0], right)) for left, right in pairs))
    if name is not None:
        return Node("assign", (name, last if len(sides) == 2 else Node("chain", sides[1:])))
    if len(sides) == 2:
        if sides[1].op == "sym" and (name := _name(sides[1], sides[0])) is not None:
            return Node("assign", (name, shape(sides[0])))
        if contains(sides[1], _PM):
            return Node("many", tuple(Node("equation", (sides[0], tree)) for tree in expand_signs(sides[1])))
        if sides[0].op not in EXPRESSIONS or sides[1].op not in EXPRESSIONS:
            return last
        return Node("equation", sides)
    return Node("chain", sides)


def _is_condition(node: Node) -> bool:
    r"""Whether an item is a condition on a letter of the items before it: k \in \mathbb{Z}."""
    return node.op == "rel" and node.args[1] == ("in",) and node.args[0][1].op == "text"


def _without_reals(args: tuple[Node, ...]) -> tuple[Node, ...]:
    r"""Items without those that only say that a letter of another one is real: x \in \mathbb{R}."""
    kept = list(args)
    for arg in args:
        rest = [other for other in kept if other is not arg]
        states_real = arg.op == "rel" and arg.args[1] == ("in",) and arg.args[0][1].op == "reals"
        if states_real and symbols(arg) <= symbols(Node("list", tuple(rest))):
            kept = rest
    return tuple(kept)


def _items(op: str, args: tuple[Node, ...]) -> Node:
    """A list, an "or", an "and"."""
    if op != "or":
        args = _without_reals(args)
        if len(args) == 1:
            return shape(args[0])
    if _is_condition(args[-1]) and len(args) > 1:
        rest = shape(args[0]) if len(args) == 2 else _items(op, args[:-1])
        return _given(rest, args[-1].args[0][1], args[-1].args[0][0])
    items = [shape(arg) for arg in args]
    if any(item.op == "dots" for item in items):
        return _dotted("list", tuple(items))
    if any(item.op in REGIONS or (item.op == "seq" and op == "or") for item in items) and all(
        item.op in REGIONS | {"seq", "set"} or (item.op == "assign" and op == "or") for item in items
    ):
        return Node({"or": "union", "and": "inter", "list": "rels"}[op], tuple(items))
    names = [item.args[0] for item in items if item.op == "assign"]
    if names and len(set(names)) == 1 and (len(names) == len(items) or items[0].op == "assign"):
        return Node("assign", (names[0], many(tuple(i.args[1] if i.op == "assign" else i for i in items))))
    if op != "or" and items and all(item.op in ("assign", "equation") for item in items):
        return Node("system", tuple(items))
    return many(tuple(items))


def _given(answer: Node, numbers: Node, letter: Node) -> Node:
    r"""An answer with a condition on a letter; 0 < x < 4, x \in \mathbb{Z} is \{1, 2, 3\}."""
    if answer.op in REGIONS and symbols(answer) == symbols(letter):
        found = whole_numbers(answer, str(numbers.args[0]).removeprefix("\\"))
        if found is not None:
            return Node("set", tuple(map(number, found)))
    return Node("given", (answer, numbers, letter))


def _dotted(kind: str, items: tuple[Node, ...]) -> Node:
    r"""Terms with an ellipsis; n = 0, 1, \ldots has the name n."""
    if items[0].op == "assign" and not any(item.op == "assign" for item in items[1:]):
        return Node("assign", (items[0].args[0], Node("dotted", (kind, items[0].args[1], *items[1:]))))
    return Node("dotted", (kind, *items))


def _linear_algebra(node: Node) -> Node:
    """A matrix times a number multiplied out, a determinant worked out, a point without its name."""
    op, args = node
    if op == "fn" and args[0] == "det" and len(args) == 2 and args[1].op == "matrix":
        rows = args[1].args
        return _determinant(rows) if len(rows) == len(rows[0]) <= _MAX_DETERMINANT else node
    if op == "mul":
        inside = [arg for arg in args if arg.op in _LINEAR]
        factors = tuple(arg for arg in args if arg.op not in _LINEAR)
        if len(inside) == 1 and not any(contains(factor, _LINEAR) for factor in factors):
            if inside[0].op == "seq":
                return shape(inside[0]) if len(factors) == 1 and factors[0].op == "sym" else node
            return Node("matrix", tuple(tuple(mul(*factors, cell) for cell in row) for row in inside[0].args))
    return node


def _determinant(rows: tuple[tuple[Node, ...], ...]) -> Node:
    """By its first row (Laplace)."""
    if len(rows) == 1:
        return rows[0][0]
    terms = []
    for k, cell in enumerate(rows[0]):
        minor = tuple(row[:k] + row[k + 1 :] for row in rows[1:])
        terms.append(mul(number((-1) ** k), cell, _determinant(minor)))
    return add(*terms)


def many(items: tuple[Node, ...]) -> Node:
    """Values in any order; those of a plus-minus among them."""
    flat: list[Node] = []
    for item in items:
        flat.extend(item.args if item.op == "many" else (item,))
    return flat[0] if len(flat) == 1 else Node("many", tuple(flat))


def shape(node: Node) -> Node:
    """The tree in the form that `compare` knows.

    Gives, besides expressions: assign(name, value) equation(left, right) chain(*) system(*) many(*) set(*) seq(...)
    matrix(...) rel(...) union inter minus reals rels(*) ratio based time mod.
    """
    op, args = node
    if op in EXPRESSIONS:
        if contains(node, _LINEAR):
            return _linear_algebra(node)
        if not contains(node, _PM):
            return node
        trees = expand_signs(node)
        return trees[0] if len(trees) == 1 else Node("many", tuple(trees))
    if op == "rel":
        sides, signs = args
        if set(signs) == {"="}:
            return _equalities(sides)
        if signs == ("!=",):
            hole = Node("minus", (Node("reals"), Node("set", (shape(sides[1]),))))
            return Node("assign", (sides[0].args[0], hole)) if sides[0].op == "sym" else node
        if signs == ("in",):
            name = _name(sides[0], sides[1])
            return shape(sides[1]) if name is None else Node("assign", (name, shape(sides[1])))
        return node
    if op in ("list", "and", "or"):
        return _items(op, args)
    if op in ("set", "seq") and any(arg.op == "dots" for arg in args if isinstance(arg, Node)):
        return _dotted(op, tuple(shape(arg) for arg in args if isinstance(arg, Node)))
    if op == "set":
        inside = many(tuple(shape(arg) for arg in args)) if args else Node("many", ())
        items = inside.args if inside.op == "many" else (inside,)
        if len(items) == 1 and items[0].op in REGIONS:
            region: Node = items[0]
            return region
        return Node("set", tuple(items))
    if op == "seq" and len(args) > 2 and all(arg.op == "seq" and arg.args[:2] == ("[", "]") for arg in args[2:]):
        rows = tuple(arg.args[2:] for arg in args[2:])
        return Node("matrix", rows) if len({len(row) for row in rows}) == 1 else node
    if op == "seq":
        return Node("seq", (*args[:2], *(shape(arg) for arg in args[2:])))
    if op in ("union", "inter", "minus"):
        return Node(op, tuple(shape(arg) for arg in args))
    if op == "given":
        return _given(shape(args[0]), *args[1:])
    return node
