r"""LaTeX commands: roots, fractions, sets, matrices, sums and integrals."""

from __future__ import annotations

import re

from rlkit.verify.math.expression import ExpressionParser
from rlkit.verify.math.lexer import Token
from rlkit.verify.math.names import ACCENTS, BIG, CONSTANTS, FUNCTIONS, LETTERS, RENAMED
from rlkit.verify.math.nodes import MINUS_ONE, Node, divide, negate, number
from rlkit.verify.math.number_sets import NUMBER_SETS

MAX_ITEMS = 100
"""Most items of a list, and cells of a matrix."""
_MATRICES = ("matrix", "pmatrix", "bmatrix", "Bmatrix", "vmatrix", "Vmatrix", "smallmatrix", "array")
_SYSTEMS = ("cases", "aligned", "align", "gathered")
_BUILDER = re.compile(r"inmathbb\{([ZNQ][-+*]?)\}")
_PARTS_OF_THE_LINE = {
    "R": Node("reals"),
    "R+": Node("seq", ("(", ")", number(0), CONSTANTS["oo"])),
    "R-": Node("seq", ("(", ")", negate(CONSTANTS["oo"]), number(0))),
    "R0+": Node("seq", ("[", ")", number(0), CONSTANTS["oo"])),
    "R*": Node("minus", (Node("reals"), Node("set", (number(0),)))),
}


class CommandParser(ExpressionParser):
    """Reads what stands behind a backslash; `AnswerParser` adds brackets and lists."""

    def relation(self) -> Node:
        """Sides with = < > and the like between them; the subclass knows them."""
        raise NotImplementedError

    def command(self, name: str) -> Node:
        r"""What stands behind a backslash."""
        renamed = RENAMED.get(name, name)
        if name == "sqrt":
            return self._root()
        if renamed in FUNCTIONS:
            return self._function(renamed)
        if name in CONSTANTS:
            return CONSTANTS[name]
        if name in LETTERS:
            return self._subscripted(name)
        if name in BIG:
            return self._big(name)
        if name in ("overline", "bar") and self._is("{") and self._tokens[self._at + 1].kind == "num":
            return Node("fn", ("conj", self._primary()))
        if name in ACCENTS:
            return Node("sym", (f"{name} {self._raw_group()}",))
        reader = getattr(self, f"_read_{name}", None)
        if reader is None:
            self._fail(f"the command \\{name}")
        node: Node = reader()
        return node

    def _read_frac(self) -> Node:
        top = self.argument()
        return divide(top, self.argument())

    def _root(self) -> Node:
        degree = None
        if self._is("[") and self._token.kind == "op":
            self._next()
            degree = self._nested(self.sum)
            self._expect("]")
        inside = self._primary()
        return Node("fn", ("sqrt", inside) if degree is None else ("root", inside, degree))

    def _read_binom(self) -> Node:
        top = self.argument()
        return Node("fn", ("binom", top, self.argument()))

    def _read_lfloor(self) -> Node:
        inside = self._nested(self.sum)
        self._expect("rfloor")
        return Node("fn", ("floor", inside))

    def _read_lceil(self) -> Node:
        inside = self._nested(self.sum)
        self._expect("rceil")
        return Node("fn", ("ceil", inside))

    def _read_angle(self) -> Node:
        return Node("sym", (f"angle {self._next().text}",))

    def _read_emptyset(self) -> Node:
        return Node("set", ())

    def _read_mathbb(self) -> Node:
        name = self._raw_group()
        if name not in NUMBER_SETS:
            self._fail("a set")
        return _PARTS_OF_THE_LINE.get(name) or Node("text", (f"\\{name}",))

    def _read_lbrace(self) -> Node:
        r"""\{1, 2\} and \{x | x > 3\}."""
        if self._take("rbrace"):
            return Node("set", ())
        bars, self._bars = self._bars, 1
        domain = _BUILDER.match("".join(token.text for token in self._tokens[self._at + 1 : self._at + 7]))
        inside = self._nested_in_set()
        self._bars = bars
        if self._take("|", ":"):
            inside, variable = self._nested(self.answer), inside
            self._expect("rbrace")
            if domain is not None:
                return Node("given", (inside, Node("text", (f"\\{domain[1]}",)), variable))
            return inside
        self._expect("rbrace")
        return Node("set", inside.args if inside.op in ("list", "and", "or") else (inside,))

    def _nested_in_set(self) -> Node:
        start = self._at
        texts = [t.text for t in self._tokens[start : start + 8]]
        if ("|" in texts or ":" in texts) and "in" not in texts[:1]:
            # The variable of a set builder, with "\in \mathbb{R}" after it or not.
            cut = min(texts.index(t) for t in ("|", ":") if t in texts)
            if texts[0].isalpha() and (cut == 1 or texts[1] == "in"):
                self._at = start + cut
                return Node("sym", (texts[0],))
        return self._nested(self.answer)

    def _read_begin(self) -> Node:
        environment = self._raw_group()
        if environment == "array" and self._is("{"):
            self._raw_group()
        if environment in _SYSTEMS:
            # x &= 1: there the signs only align.
            self._tokens[self._at :] = [t for t in self._tokens[self._at :] if t.text != "&" or t.kind != "op"]
        rows: list[list[Node]] = [[]]
        while True:
            if self._take("newline"):
                rows.append([])
            elif self._take("end"):
                break
            elif not self._take("&") and not self._take(","):
                rows[-1].append(self._nested(self.relation))
            if sum(map(len, rows)) > MAX_ITEMS:
                self._fail("too many items")
        self._raw_group()
        rows = [row for row in rows if row]
        if len({len(row) for row in rows}) != 1:
            self._fail("an environment without even rows")
        if len(rows[0]) == 1 and (environment in _SYSTEMS or all(row[0].op == "rel" for row in rows)):
            return Node("and", tuple(row[0] for row in rows))
        if environment not in _MATRICES:
            self._fail("an environment")
        matrix = Node("matrix", tuple(tuple(row) for row in rows))
        return Node("fn", ("det", matrix)) if environment == "vmatrix" else matrix

    def _big(self, kind: str) -> Node:
        r"""\sum_{k=1}^{n} body, \prod, \int_a^b body dx, \lim_{x \to a} body."""
        if kind == "int":
            return self._integral()
        self._expect("_")
        self._expect("{")
        variable = self._next().text
        if not self._take("=", "to", "rightarrow"):
            self._fail("a big operator without its variable")
        low = self.sum()
        self._expect("}")
        high = MINUS_ONE
        if kind != "lim":
            self._expect("^")
            high = self._primary()
        return Node("big", (kind, variable, low, high, self.product()))

    def _integral(self) -> Node:
        low = high = None
        while self._is("_", "^"):
            if self._take("_"):
                low = self._primary()
            elif self._take("^"):
                high = self._primary()
        end = next((i for i in range(self._at, len(self._tokens)) if _differential(self._tokens, i)), None)
        if end is None or low is None or high is None:
            self._fail("an integral without its bounds or dx")
        token = self._tokens[end]
        if token.text == "d":
            variable, skip = self._tokens[end + 1].text, 2
        else:
            variable, skip = token.text[-1], 1
        head = [Token("word", token.text[:-2])] if len(token.text) > 2 else []
        inner = type(self)([*self._tokens[self._at : end], *head, Token("end", "")], imaginary=self._imaginary)
        body = inner.sum() if inner._token.kind != "end" else number(1)
        self._at = end + skip
        return Node("big", ("int", variable, low, high, body))


def _differential(tokens: list[Token], at: int) -> bool:
    token = tokens[at]
    if token.kind != "word":
        return False
    return (token.text == "d" and tokens[at + 1].kind == "word") or (
        len(token.text) >= 2 and token.text[-2] == "d" and token.text not in FUNCTIONS
    )
