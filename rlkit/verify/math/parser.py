"""Whole answers: lists, "or", sets, intervals, tuples, relations."""

from __future__ import annotations

from rlkit.verify.math.commands import MAX_ITEMS, CommandParser
from rlkit.verify.math.lexer import Token, tokenize
from rlkit.verify.math.names import base_of
from rlkit.verify.math.nodes import DOTS, EXPRESSIONS, Node, divide
from rlkit.verify.math.notation import Notation

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


class AnswerParser(CommandParser):
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
            elif items[-1] == DOTS and self._starts_factor():
                # 1, 3, \ldots 99 without a comma behind the dots.
                join = ","
            elif self._is("ldots") and not self._is_decimal():
                # 1, 3, 5... without one before them.
                join = ","
            else:
                break
            joins.append(join)
            items.append(self._item())
            if len(items) > MAX_ITEMS:
                self._fail("too many items")
        if not joins:
            return items[0] if items[0] != DOTS else self._fail("nothing but dots")
        return Node("list" if set(joins) == {","} else "or" if "or" in joins else "and", tuple(items))

    def _is_decimal(self) -> bool:
        """Whether a number with a point stands before this place: 3.1... is no list."""
        return "." in self._tokens[self._at - 1].text

    def _take_and(self) -> bool:
        return self._take("and", "land") or self._take_text("and")

    def _take_or(self) -> bool:
        return self._take("or", "lor") or self._take_text("or")

    def _take_text(self, *words: str) -> bool:
        found = self._token.kind == "text" and self._token.text.lower().strip(" ,") in words
        self._at += found
        return found

    def _item(self) -> Node:
        """Sets joined by union, intersection and difference; an ellipsis."""
        if self._take("ldots"):
            return DOTS
        node = self.relation()
        while True:
            if self._take("cup"):
                node = Node("union", (node, self.relation()))
            elif self._take("cap"):
                node = Node("inter", (node, self.relation()))
            elif self._take("setminus"):
                node = Node("minus", (node, self.relation()))
            elif self._is("-") and node.op in ("reals", "seq", "union"):
                self._next()
                node = Node("minus", (node, self.relation()))
            else:
                return node

    def relation(self) -> Node:
        """Sides with = < > in : between them."""
        if self._take("="):
            return self.relation()
        sides, signs = [self._side()], []
        while self._token.kind in ("op", "cmd", "word") and self._token.text in _RELATIONS:
            about = self._is("approx") and sides[-1].op != "sym"
            sign = _RELATIONS[self._next().text]
            if about:
                # 2/3 \approx 0.667 says 2/3.
                self._side()
                continue
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
        size = base_of(base.lower())
        if not 2 <= size <= 36 or any(int(digit) >= size for digit in token.text):
            self._fail("a number that its base does not have")
        return Node("based", (token.text.lstrip("0") or "0", size))


def parse(text: str, notation: Notation) -> Node:
    """The tree of a normalised answer without its unit.

    Args:
        text: What `normalize` gave.
        notation: How signs with two readings are read.

    Raises:
        Unreadable: it is no mathematics that this grammar knows.
    """
    parser = AnswerParser(tokenize(text, notation), imaginary=notation.imaginary)
    node = parser.answer()
    if parser._token.kind != "end":
        parser._fail(f"an unexpected {parser._token.text}")
    return node
