"""What stands behind a backslash: fractions, roots, sets, matrices and systems."""

import re

from rlkit.verify.math.names import (
    ACCENTS,
    BIG,
    CONSTANTS,
    FUNCTIONS,
    LETTERS,
    RENAMED,
)
from rlkit.verify.math.nodes import (
    Node,
    divide,
    negate,
    number,
)
from rlkit.verify.math.number_sets import NUMBER_SETS
from rlkit.verify.math.token_reader import MAX_ITEMS, GrammarRules

_MATRICES = ("matrix", "pmatrix", "bmatrix", "Bmatrix", "vmatrix", "Vmatrix", "smallmatrix", "array")
_SYSTEMS = ("cases", "aligned", "align", "gathered")
_BUILDER_DOMAIN = re.compile(r"inmathbb\{([ZNQ][-+*]?)\}")
r"""The tokens behind the letter of \{k \in \mathbb{Z} | ...\}, joined: the numbers that the letter runs through."""
_BUILDER_DOMAIN_TOKENS = 6
_BUILDER_HEAD_TOKENS = 8
r"""The bar of a set builder comes within this many tokens of its brace: \{x \in \mathbb{R} | ...\}."""
_PARTS_OF_THE_LINE = {
    "R": Node("reals"),
    "R+": Node("seq", ("(", ")", number(0), CONSTANTS["oo"])),
    "R-": Node("seq", ("(", ")", negate(CONSTANTS["oo"]), number(0))),
    "R0+": Node("seq", ("[", ")", number(0), CONSTANTS["oo"])),
    "R*": Node("minus", (Node("reals"), Node("set", (number(0),)))),
}
r"""The sets of real numbers that \mathbb{} names, as regions."""


class CommandRules(GrammarRules):
    """Reads a LaTeX command with what belongs to it."""

    def _command(self, name: str) -> Node:
        """A LaTeX command that has been taken, with what belongs to it."""
        renamed = RENAMED.get(name, name)
        if name == "sqrt":
            return self._root()
        if renamed in FUNCTIONS:
            return self._function(renamed)
        if name in CONSTANTS:
            return CONSTANTS[name]
        if name in LETTERS:
            return self._indexed(name)
        if name in BIG:
            return self._big(name)
        if name in ("overline", "bar") and self._is("{") and self._tokens[self._at + 1].kind == "num":
            # \overline{3 + 4i}; \overline{AB} is a name.
            return Node("fn", ("conj", self._primary()))
        if name in ACCENTS:
            return Node("sym", (f"{name} {self._group_as_text()}",))
        match name:
            case "frac":
                top = self._argument()
                return divide(top, self._argument())
            case "binom":
                top = self._argument()
                return Node("fn", ("binom", top, self._argument()))
            case "lfloor" | "lceil":
                return self._rounded("floor" if name == "lfloor" else "ceil")
            case "angle":
                return Node("sym", (f"angle {self._next().text}",))
            case "emptyset":
                return Node("set", ())
            case "mathbb":
                return self._number_set()
            case "lbrace":
                return self._set()
            case "begin":
                return self._environment()
        return self._fail(f"the command \\{name}")

    def _root(self) -> Node:
        r"""\sqrt{2}, \sqrt[3]{2}"""
        degree = None
        if self._is("[") and self._token.kind == "op":
            self._next()
            degree = self._nested(self._sum)
            self._expect("]")
        inside = self._primary()
        return Node("fn", ("sqrt", inside) if degree is None else ("root", inside, degree))

    def _rounded(self, function: str) -> Node:
        r"""\lfloor sum \rfloor, \lceil sum \rceil"""
        inside = self._nested(self._sum)
        self._expect("r" + function)
        return Node("fn", (function, inside))

    def _number_set(self) -> Node:
        r"""\mathbb{R}, \mathbb{Z}"""
        name = self._group_as_text()
        if name not in NUMBER_SETS:
            self._fail("a set")
        return _PARTS_OF_THE_LINE.get(name) or Node("text", (f"\\{name}",))

    def _set(self) -> Node:
        r"""\{1, 2\} and \{x | x > 3\}."""
        if self._take("rbrace"):
            return Node("set", ())
        bars, self._bars = self._bars, 1
        behind = self._tokens[self._at + 1 : self._at + 1 + _BUILDER_DOMAIN_TOKENS]
        domain = _BUILDER_DOMAIN.match("".join(token.text for token in behind))
        inside = self._builder_letter() or self._nested(self._answer)
        self._bars = bars
        if self._take("|", ":"):
            inside, variable = self._nested(self._answer), inside
            self._expect("rbrace")
            if domain is not None:
                return Node("given", (inside, Node("text", (f"\\{domain[1]}",)), variable))
            return inside
        self._expect("rbrace")
        return Node("set", inside.args if inside.op in ("list", "and", "or") else (inside,))

    def _builder_letter(self) -> Node | None:
        r"""Takes the letter of a set builder, with "\in \mathbb{R}" after it or not; None where this is another set."""
        texts = [token.text for token in self._tokens[self._at : self._at + _BUILDER_HEAD_TOKENS]]
        if not {"|", ":"} & set(texts):
            return None
        bar = min(texts.index(text) for text in ("|", ":") if text in texts)
        if texts[0] == "in" or not texts[0].isalpha() or (bar != 1 and texts[1] != "in"):
            return None
        self._at += bar
        return Node("sym", (texts[0],))

    def _environment(self) -> Node:
        r"""\begin{pmatrix} ... \end{pmatrix}: a matrix, or a system where each row is a relation."""
        environment = self._group_as_text()
        if environment == "array" and self._is("{"):
            self._group_as_text()
        if environment in _SYSTEMS:
            # x &= 1: there the signs only align.
            self._tokens[self._at :] = [t for t in self._tokens[self._at :] if t.text != "&" or t.kind != "op"]
        rows = self._rows()
        self._group_as_text()
        if len({len(row) for row in rows}) != 1:
            self._fail("an environment without even rows")
        if len(rows[0]) == 1 and (environment in _SYSTEMS or all(row[0].op == "rel" for row in rows)):
            return Node("and", tuple(row[0] for row in rows))
        if environment not in _MATRICES:
            self._fail("an environment")
        matrix = Node("matrix", tuple(tuple(row) for row in rows))
        return Node("fn", ("det", matrix)) if environment == "vmatrix" else matrix

    def _rows(self) -> list[list[Node]]:
        r"""The rows of an environment that are not empty, up to its \end."""
        rows: list[list[Node]] = [[]]
        while not self._take("end"):
            if self._take("newline"):
                rows.append([])
            elif not self._take("&") and not self._take(","):
                rows[-1].append(self._nested(self._relation))
            if sum(map(len, rows)) > MAX_ITEMS:
                self._fail("too many items")
        return [row for row in rows if row]
