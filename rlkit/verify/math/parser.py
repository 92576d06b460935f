r"""The grammar of answers: one recursive descent from the list at the top to the single number at the bottom.

    answer   := item ((("," | ";") ["and" | "or"] | "and" | "or") item)*
    item     := "\ldots" | relation (("\cup" | "\cap" | "\setminus" | "-") relation)*
    relation := ["="] side (("=" | "<" | ">" | "\le" | "\ge" | "\ne" | "\in" | "\approx" | "\equiv" | ":") side)*
    side     := sum (("\cup" | "\cap" | "\setminus") sum)* [modulus]
    modulus  := "mod" sum | "(" "mod" sum ")" | "\pmod" primary
    sum      := product (("+" | "-" | "\pm" | "\mp") product)*
    product  := ("-" | "+") product | factor (("*" | "/" | nothing) signed)*
    signed   := ("-" | "+") signed | factor
    factor   := (mixed | primary) ("^" power | "!" | "!!" | "%" | "°" | "'")*
    power    := ["-" | "+"] primary ["^" power]
    mixed    := number "\frac" argument argument | number number "/" number
    primary  := number ["_" base] | letters | command | "|" sum "|" | group | brackets
    group    := "{" answer ["\over" answer | "\choose" answer] "}"
    brackets := ("(" | "[" | "]") answer (")" | "]" | "[")

Each method reads the rule of its docstring and leaves the parser behind it. The rules lie in files by what they read:
here lists and relations, then `terms` (sum, product, signed), `factors` (factor to brackets), `letters`, `operators`
(functions, sums, integrals) and `commands` (LaTeX). `docs/math-answers.md` shows all of it with examples.
"""

from __future__ import annotations

from rlkit.verify.math.commands import CommandRules
from rlkit.verify.math.factors import FactorRules
from rlkit.verify.math.letters import NameRules
from rlkit.verify.math.lexer import tokenize
from rlkit.verify.math.nodes import (
    DOTS,
    EXPRESSIONS,
    Node,
)
from rlkit.verify.math.notation import Notation
from rlkit.verify.math.operators import FunctionRules
from rlkit.verify.math.terms import TermRules
from rlkit.verify.math.token_reader import MAX_ITEMS

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
"""The sign of a relation by its token."""
_SET_OPERATIONS = {"cup": "union", "cap": "inter", "setminus": "minus"}
"""The operation on sets by its LaTeX command."""


def parse(text: str, notation: Notation) -> Node:
    """The tree of a normalised answer without its unit.

    Args:
        text: What `normalize` gave.
        notation: How signs with two readings are read.

    Raises:
        Unreadable: it is no mathematics that this grammar knows.
    """
    return AnswerParser(tokenize(text, notation), imaginary=notation.imaginary).whole_answer()


class AnswerParser(TermRules, FactorRules, NameRules, FunctionRules, CommandRules):
    """All rules of the grammar; `whole_answer` reads from the first token to the last."""

    def whole_answer(self) -> Node:
        """The answer, which must take up all tokens.

        Raises:
            Unreadable: it does not, or it is no answer.
        """
        node = self._answer()
        if self._token.kind != "end":
            self._fail(f"an unexpected {self._token.text}")
        return node

    def _answer(self) -> Node:
        """answer := item ((("," | ";") ["and" | "or"] | "and" | "or") item)*"""
        items, joins = [self._item()], []
        while join := self._join(items[-1]):
            joins.append(join)
            items.append(self._item())
            if len(items) > MAX_ITEMS:
                self._fail("too many items")
        if not joins:
            return items[0] if items[0] != DOTS else self._fail("nothing but dots")
        return Node("list" if set(joins) == {","} else "or" if "or" in joins else "and", tuple(items))

    def _join(self, before: Node) -> str:
        """Takes what joins two items and returns how: ",", "and" or "or"; "" where the list ends."""
        comma = self._take(",", ";")
        if self._take("and", "land") or self._take_text("and"):
            return "and"
        if self._take("or", "lor") or self._take_text("or"):
            return "or"
        if comma:
            return ","
        # 1, 3, \ldots 99 without a comma behind the dots, and 1, 3, 5... without one before them; 3.1... is no list.
        dots_before = before == DOTS and self._starts_factor()
        dots_behind = self._is("ldots") and "." not in self._tokens[self._at - 1].text
        return "," if dots_before or dots_behind else ""

    def _item(self) -> Node:
        r"""item := "\ldots" | relation (("\cup" | "\cap" | "\setminus" | "-") relation)*"""
        if self._take("ldots"):
            return DOTS
        node = self._relation()
        while True:
            if self._is(*_SET_OPERATIONS):
                node = Node(_SET_OPERATIONS[self._next().text], (node, self._relation()))
            elif self._is("-") and node.op in ("reals", "seq", "union"):
                self._next()
                node = Node("minus", (node, self._relation()))
            else:
                return node

    def _relation(self) -> Node:
        """relation := ["="] side (sign side)*, with the signs of `_RELATIONS`."""
        if self._take("="):
            return self._relation()
        sides, signs = [self._side()], []
        while self._token.kind in ("op", "cmd", "word") and self._token.text in _RELATIONS:
            about = self._is("approx") and sides[-1].op != "sym"
            sign = _RELATIONS[self._next().text]
            if about:
                # 2/3 \approx 0.667 means 2/3.
                self._side()
                continue
            if sign in ("<", ">") and self._take("="):
                sign += "="
            elif sign == "=":
                # a == b, as programs write it.
                self._take("=")
            signs.append(sign)
            sides.append(self._side())
        if not signs:
            return sides[0]
        if set(signs) == {":"}:
            return Node("ratio", tuple(sides))
        if signs == ["mod"]:
            return sides[1] if sides[1].op == "mod" else self._fail("a congruence without its modulus")
        return Node("rel", (tuple(sides), tuple(signs)))

    def _side(self) -> Node:
        r"""side := sum (("\cup" | "\cap" | "\setminus") sum)* ["mod" sum | "(" "mod" sum ")" | "\pmod" primary]"""
        node = self._sum()
        if node.op not in EXPRESSIONS:
            # x \in A \cup B: the sets belong together.
            while self._is(*_SET_OPERATIONS):
                node = Node(_SET_OPERATIONS[self._next().text], (node, self._sum()))
        if self._take("mod"):
            return Node("mod", (node, self._sum()))
        if self._take("pmod"):
            return Node("mod", (node, self._primary()))
        if self._is("(") and self._tokens[self._at + 1].text == "mod":
            self._at += 2
            node = Node("mod", (node, self._sum()))
            self._expect(")")
        return node
