r"""Whole answers: lists, "or", sets, intervals, tuples, matrices, relations, and the LaTeX commands within them."""

from __future__ import annotations

from rlkit.verify.answers.expression import ACCENTS, BIG, CONSTANTS, FUNCTIONS, LETTERS, RENAMED, ExpressionParser
from rlkit.verify.answers.lexer import Token, tokenize
from rlkit.verify.answers.nodes import EXPRESSIONS, MINUS_ONE, Node, divide, number

_RELATIONS = {
    "=": "=",
    "<": "<",
    ">": ">",
    "le": "<=",
    "ge": ">=",
    "ne": "!=",
    "in": "in",
    "approx": "=",
    "equiv": "mod",
    ":": ":",
}
_MATRICES = frozenset("matrix pmatrix bmatrix Bmatrix vmatrix Vmatrix smallmatrix array".split())
_SYSTEMS = frozenset("cases aligned align gathered".split())
_SET_WORDS = {"R": "R", "Z": "Z", "N": "N", "Q": "Q", "C": "C"}
_WORD_DIGITS = {
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "twelve": 12,
    "sixteen": 16,
}
_MAX_ITEMS = 100


class AnswerParser(ExpressionParser):
    """A whole answer; `parse` is the way in."""

    def answer(self) -> Node:
        """Items with commas, semicolons, "and", "or" between them."""
        items, joins = [self._item()], []
        while True:
            if self._take(",", ";"):
                join = ","
                join = "and" if self._take_and() else "or" if self._take_or() else join
            elif self._take_and():
                join = "and"
            elif self._take_or():
                join = "or"
            else:
                break
            joins.append(join)
            items.append(self._item())
            if len(items) > _MAX_ITEMS:
                self._fail("too many items")
        if not joins:
            return items[0]
        return Node("list" if set(joins) == {","} else "or" if "or" in joins else "and", tuple(items))

    def _take_and(self) -> bool:
        return self._take("and", "land") or self._take_text("and")

    def _take_or(self) -> bool:
        return self._take("or", "lor") or self._take_text("or")

    def _take_text(self, *words: str) -> bool:
        found = self._token.kind == "text" and self._token.text.lower().strip(" ,") in words
        self._at += found
        return found

    def _item(self) -> Node:
        """Sets joined by union, intersection and difference."""
        node = self._relation()
        while True:
            if self._take("cup"):
                node = Node("union", (node, self._relation()))
            elif self._take("cap"):
                node = Node("inter", (node, self._relation()))
            elif self._take("setminus"):
                node = Node("minus", (node, self._relation()))
            elif self._is("-") and node.op in ("reals", "seq", "union"):
                self._next()
                node = Node("minus", (node, self._relation()))
            else:
                return node

    def _relation(self) -> Node:
        if self._take("="):
            return self._relation()
        sides, signs = [self._side()], []
        while self._token.kind in ("op", "cmd", "word") and self._token.text in _RELATIONS:
            sign = _RELATIONS[self._next().text]
            if sign in "<>" and self._take("="):
                sign += "="
            if sign == "=" and self._take("="):
                pass
            signs.append(sign)
            sides.append(self._side())
        if not signs:
            return sides[0]
        if set(signs) == {":"}:
            return Node("ratio", tuple(sides))
        if signs == ["mod"]:
            return self._congruence(sides[1])
        return Node("rel", (tuple(sides), tuple(signs)))

    def _side(self) -> Node:
        node = self.sum()
        if self._is("cup", "cap", "setminus") and node.op not in EXPRESSIONS:
            # x \in A \cup B: the sets belong together.
            while self._is("cup", "cap", "setminus"):
                op = {"cup": "union", "cap": "inter", "setminus": "minus"}[self._next().text]
                node = Node(op, (node, self.sum()))
        if self._take("mod"):
            return Node("mod", (node, self.sum()))
        if self._take("pmod"):
            return Node("mod", (node, self._primary()))
        if self._is("(") and self._tokens[self._at + 1].text == "mod":
            self._at += 2
            node = Node("mod", (node, self.sum()))
            self._expect(")")
        return node

    def _congruence(self, right: Node) -> Node:
        return right if right.op == "mod" else self._fail("a congruence without its modulus")

    def primary_container(self) -> Node | None:
        """Round, square and curly brackets; see `_bracketed` for what they mean."""
        token = self._token
        if token.kind == "op" and token.text == "{":
            self._next()
            return self._braces()
        if token.kind == "op" and token.text in "([":
            self._next()
            return self._bracketed(token.text)
        if token.kind == "op" and token.text == "]":
            # ]0, 1[ as the French write an open interval
            self._next()
            return self._bracketed("]")
        return None

    def _braces(self) -> Node:
        """LaTeX's invisible group, with a over b and n choose k in it."""
        if self._take("}"):
            self._fail("an empty group")
        inside = self._nested(self.answer)
        if self._take("over"):
            inside = divide(inside, self._nested(self.answer))
        elif self._take("choose"):
            inside = Node("fn", ("binom", inside, self._nested(self.answer)))
        self._expect("}")
        return inside

    def _bracketed(self, opening: str) -> Node:
        if self._is(")", "]") and opening != "]":
            self._fail("empty brackets")
        inside = self._nested(self.answer)
        closing = self._token.text
        if closing not in (")", "]", "[") or (closing == "[") != (opening == "]" and closing == "["):
            self._fail("unbalanced brackets")
        self._next()
        if inside.op == "list":
            opening = {"]": "("}.get(opening, opening)
            closing = {"[": ")"}.get(closing, closing) if opening == "(" or closing == "[" else closing
            return Node("seq", (opening, closing, *inside.args))
        if (opening, closing) not in (("(", ")"), ("[", "]")):
            self._fail("unbalanced brackets")
        return inside

    def _based(self, token: Token) -> Node:
        self._expect("_")
        base = self._raw_group()
        if token.value.denominator != 1 or not token.text.isdigit():
            self._fail("a base behind a decimal")
        size = _WORD_DIGITS.get(base.lower()) or (int(base) if base.isdigit() and len(base) < 3 else 0)
        if not 2 <= size <= 36 or any(int(digit) >= size for digit in token.text):
            self._fail("a number that its base does not have")
        return Node("based", (token.text.lstrip("0") or "0", size))

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
        if name in ACCENTS:
            return Node("sym", (f"{name} {self._raw_group()}",))
        reader = getattr(self, f"_read_{name}", None)
        return reader() if reader is not None else self._fail(f"the command \\{name}")

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
        node = (
            Node("reals")
            if name == "R"
            else Node("text", (f"\\{name}",))
            if name in _SET_WORDS
            else self._fail("a set")
        )
        if node.op == "reals" and self._take("^"):
            sign = self._raw_group()
            low, high = (number(0), CONSTANTS["oo"]) if sign == "+" else (self._fail("a power of a set"),) * 2
            return Node("seq", ("(", ")", low, high))
        return node

    def _read_lbrace(self) -> Node:
        r"""\{1, 2\} and \{x | x > 3\}."""
        if self._take("rbrace"):
            return Node("set", ())
        bars, self._bars = self._bars, 1
        inside = self._nested_in_set()
        self._bars = bars
        if self._take("|", ":"):
            inside = self._nested(self.answer)
            self._expect("rbrace")
            return inside
        self._expect("rbrace")
        return Node("set", inside.args if inside.op in ("list", "and", "or") else (inside,))

    def _nested_in_set(self) -> Node:
        start = self._at
        texts = [t.text for t in self._tokens[start : start + 6]]
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
        rows: list[list[Node]] = [[]]
        while True:
            if self._take("newline"):
                rows.append([])
            elif self._take("end"):
                break
            elif not self._take("&") and not self._take(","):
                rows[-1].append(self._nested(self._relation))
            if sum(map(len, rows)) > _MAX_ITEMS:
                self._fail("too many items")
        self._raw_group()
        rows = [row for row in rows if row]
        if environment in _SYSTEMS:
            return (
                Node("and", tuple(row[0] for row in rows))
                if all(len(row) == 1 for row in rows)
                else self._fail("a system")
            )
        if environment not in _MATRICES or not rows or len({len(row) for row in rows}) != 1:
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
        inner = AnswerParser([*self._tokens[self._at : end], *head, Token("end", "")], imaginary=self._imaginary)
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


def parse(text: str, *, imaginary: bool = True, grouped: bool = True) -> Node:
    """The tree of a normalised answer without its unit.

    Args:
        text: What `normalize` gave.
        imaginary: Whether i is the imaginary unit.
        grouped: Whether 1,000 is one number.

    Raises:
        Unreadable: it is no mathematics that this grammar knows.
    """
    parser = AnswerParser(tokenize(text, grouped=grouped), imaginary=imaginary)
    node = parser.answer()
    if parser._token.kind != "end":
        parser._fail(f"an unexpected {parser._token.text}")
    return node
