"""One factor: numbers, powers, the signs behind it, mixed numbers, bars and brackets."""

from rlkit.verify.math.lexer import Token
from rlkit.verify.math.names import (
    base_of,
)
from rlkit.verify.math.nodes import (
    Node,
    divide,
    is_count,
    negate,
    number,
)
from rlkit.verify.math.token_reader import GrammarRules


class FactorRules(GrammarRules):
    """The rules `factor`, `power`, `mixed`, `primary`, `group` and `brackets` of the grammar in `parser`."""

    def _factor(self) -> Node:
        """factor := (mixed | primary) ("^" power | "!" | "!!" | "%" | "°" | "'")*"""
        node = self._mixed() or self._primary()
        while True:
            if self._take("^"):
                node = self._power(node)
            elif self._take("!"):
                node = Node("fn", ("fact2" if self._take("!") else "fact", node))
            elif self._take("%"):
                node = divide(node, number(100))
            elif self._take("°"):
                node = Node("fn", ("degrees", node))
            elif self._is("'") and node.op == "sym":
                self._next()
                node = Node("sym", (node.args[0] + "'",))
            else:
                return node

    def _power(self, base: Node) -> Node:
        """power := ["-" | "+"] primary ["^" power]"""
        if self._is("'", "prime"):
            self._fail("a prime")
        exponent = self._signed_primary()
        if self._take("^"):
            exponent = self._power(exponent)
        return Node("pow", (base, exponent))

    def _signed_primary(self) -> Node:
        if self._take("-"):
            return negate(self._primary())
        self._take("+")
        return self._primary()

    def _mixed(self) -> Node | None:
        r"""mixed := number "\frac" argument argument | number number "/" number; None where there is none.

        2\frac{1}{2} and 2 1/2: a whole number and a proper fraction side by side are added.
        """
        whole = self._token
        if whole.kind != "num" or whole.value.denominator != 1 or "." in whole.text:
            return None
        follows = self._tokens[self._at + 1]
        if follows.kind != "num" and follows.text != "frac":
            return None
        start, tokens = self._at, list(self._tokens)
        self._at += 1
        share = self._proper_fraction()
        if share is None:
            # In 5\\frac72 the 72 was split into its digits.
            self._at, self._tokens = start, tokens
            return None
        return number(whole.value + share.args[0])

    def _proper_fraction(self) -> Node | None:
        """The fraction of a mixed number, which is positive and below 1; None where there is none."""
        top = self._token
        if top.kind == "cmd" and top.text == "frac":
            self._next()
            over, under = self._argument(), self._argument()
            if is_count(over) and is_count(under) and over.args[0] < under.args[0]:
                return number(over.args[0] / under.args[0])
            return None
        if top.kind != "num" or not top.spaced or self._tokens[self._at + 1].text != "/":
            return None
        bottom = self._tokens[self._at + 2]
        are_whole = top.value.denominator == bottom.value.denominator == 1
        if bottom.kind == "num" and 0 < top.value < bottom.value and are_whole:
            self._at += 3
            return number(top.value / bottom.value)
        return None

    def _argument(self) -> Node:
        r"""What a command takes: a group in braces, or one sign: \frac12, \sqrt2."""
        token = self._token
        if token.kind == "num" and len(token.text) > 1 and token.text.isdigit():
            # One digit now; the rest stays where it is.
            rest = token.text[1:]
            self._tokens[self._at] = Token("num", rest, False, type(token.value)(int(rest)))
            return number(int(token.text[0]))
        return self._primary()

    def _primary(self) -> Node:
        """primary := number ["_" base] | letters | command | "|" sum "|" | group | brackets"""
        token = self._token
        if token.kind == "num":
            self._next()
            return self._based(token) if self._is("_") else Node("num", (token.value,))
        if token.kind == "word":
            return self._letters()
        if token.kind == "cmd":
            return self._command(self._next().text)
        if token.text == "|":
            return self._absolute()
        if token.kind == "op" and token.text == "{":
            return self._group()
        if token.kind == "op" and token.text in ("(", "[", "]"):
            return self._brackets()
        return self._fail(f"an unexpected {token.text or 'end'}")

    def _based(self, token: Token) -> Node:
        """The digits and the base of 12_8 or 12_{\\text{eight}}."""
        self._expect("_")
        base = self._group_as_text()
        if token.value.denominator != 1 or not token.text.isdigit():
            self._fail("a base behind a decimal")
        size = base_of(base.lower())
        if not 2 <= size <= 36 or any(int(digit) >= size for digit in token.text):
            self._fail("a number that its base does not have")
        return Node("based", (token.text.lstrip("0") or "0", size))

    def _absolute(self) -> Node:
        """The absolute value "|" sum "|"."""
        self._expect("|")
        self._bars += 1
        bars = self._bars
        inside = self._sum()
        if self._bars != bars:
            self._fail("unbalanced bars")
        self._bars -= 1
        self._expect("|")
        return Node("fn", ("abs", inside))

    def _group(self) -> Node:
        r"""group := "{" answer ["\over" answer | "\choose" answer] "}", LaTeX's invisible brackets."""
        self._next()
        if self._take("}"):
            self._fail("an empty group")
        inside = self._nested(self._answer)
        if self._take("over"):
            inside = divide(inside, self._nested(self._answer))
        elif self._take("choose"):
            inside = Node("fn", ("binom", inside, self._nested(self._answer)))
        self._expect("}")
        return inside

    def _brackets(self) -> Node:
        """brackets := ("(" | "[" | "]") answer (")" | "]" | "[")

        Around a list: a tuple, a point or an interval, as (1, 2), [0, 1) and the French ]0, 1[ for (0, 1). Around
        anything else: brackets that only group, which must match.
        """
        opening = self._next().text
        if self._is(")", "]") and opening != "]":
            self._fail("empty brackets")
        inside = self._nested(self._answer)
        closing = self._token.text
        if closing not in (")", "]", "[") or (closing == "[" and opening == "("):
            self._fail("unbalanced brackets")
        self._next()
        if inside.op == "list":
            return Node("seq", ("(" if opening == "]" else opening, ")" if closing == "[" else closing, *inside.args))
        if (opening, closing) not in (("(", ")"), ("[", "]")):
            self._fail("unbalanced brackets")
        return inside
