"""Sums and products: what stands between signs, and factors side by side."""

from rlkit.verify.math.names import (
    ACCENTS,
    CONSTANTS,
    LETTERS,
    STARTERS,
)
from rlkit.verify.math.nodes import (
    DOTS,
    MINUS_ONE,
    Node,
    add,
    divide,
    mul,
    negate,
    number,
)
from rlkit.verify.math.token_reader import GrammarRules

_AFTER_INTERVAL = frozenset(("cup", "cap", "setminus", "or", "and", ",", ";", ")", "]", "}"))
"""What may stand behind an interval, and cannot begin a term."""
_CONNECTIVES = ("or", "and", "mod", "if", "where", "for", "to", "in")
"""Words that stand between expressions, so none of them begins a factor."""


class TermRules(GrammarRules):
    """The rules `sum`, `product` and `signed` of the grammar in `parser`."""

    def _sum(self) -> Node:
        r"""sum := product (("+" | "-" | "\pm" | "\mp") product)*; an ellipsis may be one of its terms."""
        self._deeper()
        terms = [self._plus_minus(number(0)) if self._is_plus_minus() else self._product()]
        while True:
            if self._take("+"):
                terms.append(DOTS if self._take("ldots") else self._product())
            elif self._is("-"):
                self._next()
                terms.append(Node("dots", ("-",)) if self._take("ldots") else negate(self._product()))
            elif self._is_plus_minus():
                terms = [self._plus_minus(terms[0] if len(terms) == 1 else add(*terms))]
            else:
                break
        self._depth -= 1
        if any(term.op == "dots" for term in terms):
            return Node("dotted", ("+", *terms))
        return terms[0] if len(terms) == 1 else add(*terms)

    def _is_plus_minus(self) -> bool:
        return self._token.kind == "cmd" and self._is("pm", "mp")

    def _plus_minus(self, left: Node) -> Node:
        sign = 1 if self._next().text == "pm" else -1
        return Node("pm", (left, self._product(), sign))

    def _product(self) -> Node:
        """product := ("-" | "+") product | factor (("*" | "/" | nothing) signed)*

        A leading minus covers the whole product. An ellipsis may stand among the factors.
        """
        if self._take("-"):
            return negate(self._product())
        if self._take("+"):
            return self._product()
        node = self._factor()
        # The factors as they are written, for a product with an ellipsis; `node` is their product.
        terms = [node]
        while True:
            if self._goes_on_as_a_product():
                terms.append(DOTS)
                self._take("*", "cdot", "times")
                terms.append(self._signed())
            elif self._take("*", "cdot", "times"):
                terms.append(self._signed())
                node = self._times(node, terms[-1])
            elif self._take("/"):
                factor = self._signed()
                node, terms[-1] = divide(node, factor), divide(terms[-1], factor)
            elif self._starts_factor():
                factor = self._factor_beside()
                node, terms[-1] = self._times(node, factor), self._times(terms[-1], factor)
            else:
                return Node("dotted", ("*", *terms)) if DOTS in terms else node

    def _signed(self) -> Node:
        """signed := ("-" | "+") signed | factor"""
        if self._take("-"):
            return negate(self._signed())
        return self._signed() if self._take("+") else self._factor()

    def _factor_beside(self) -> Node:
        """A factor without a sign before it; 3 7 and x 2 are none, but a_n 2^n is: there the letter is an index."""
        before = self._tokens[self._at - 1].kind
        is_name = before == "word" and self._tokens[self._at - 2].text != "_"
        if self._token.kind == "num" and (before == "num" or (is_name and self._token.spaced)):
            self._fail("a number behind a number or a word")
        return self._factor()

    def _goes_on_as_a_product(self) -> bool:
        r"""Takes the ellipsis of 1 \cdot 2 \cdots n; that of 1, 2, \ldots belongs to the list."""
        start = self._at
        self._take("*", "cdot", "times")
        if self._take("ldots") and (self._is("*", "cdot", "times") or self._starts_factor()):
            return True
        self._at = start
        return False

    def _times(self, left: Node, right: Node) -> Node:
        """A product in one flat node; the minus of a negated product stays apart."""
        if left.op == "mul" and left.args[0] is not MINUS_ONE:
            return Node("mul", (*left.args, right))
        return mul(left, right)

    def _starts_factor(self) -> bool:
        """Whether a factor begins here, so that it is multiplied with what stands before it."""
        token = self._token
        if token.kind == "num":
            return True
        if token.kind == "word":
            return token.text not in _CONNECTIVES
        if token.kind == "cmd":
            return token.text in LETTERS or token.text in ACCENTS or token.text in CONSTANTS or token.text in STARTERS
        if token.kind == "op" and token.text == "|":
            return self._bars == 0
        if token.kind == "op" and token.text == "[":
            return not self._closes_interval()
        return token.kind == "op" and token.text in ("(", "{")

    def _closes_interval(self) -> bool:
        """Whether a "[" is the right end of an interval, as in ]0, 1[: nothing that it could open follows it."""
        after = self._tokens[self._at + 1]
        return after.kind == "end" or after.text in _AFTER_INTERVAL
