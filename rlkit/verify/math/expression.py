"""Expressions by recursive descent: sums, products written side by side, powers, functions, big operators."""

from __future__ import annotations

from rlkit.verify.math.letters import LetterParser
from rlkit.verify.math.lexer import Token
from rlkit.verify.math.names import (
    ACCENTS,
    BIG,
    CONSTANTS,
    FUNCTIONS,
    LETTERS,
    RENAMED,
    STARTERS,
    TRIGONOMETRY,
)
from rlkit.verify.math.nodes import DOTS, MINUS_ONE, Node, add, divide, is_count, mul, negate, number


class ExpressionParser(LetterParser):
    """Reads tokens from left to right; the subclasses add commands and containers."""

    def answer(self) -> Node:
        """What stands between brackets; the subclass reads lists there."""
        raise NotImplementedError

    def primary_container(self) -> Node | None:
        """A container at this place, if there is one; the subclass knows them."""
        raise NotImplementedError

    def sum(self) -> Node:
        """Terms with + - and plus-minus between them."""
        self._deeper()
        terms = [self._plus_minus(number(0)) if self._is_pm() else self.product()]
        while True:
            if self._take("+"):
                terms.append(DOTS if self._take("ldots") else self.product())
            elif self._is("-"):
                self._next()
                terms.append(Node("dots", ("-",)) if self._take("ldots") else negate(self.product()))
            elif self._is_pm():
                terms = [self._plus_minus(terms[0] if len(terms) == 1 else add(*terms))]
            else:
                break
        self._depth -= 1
        if any(term.op == "dots" for term in terms):
            return Node("dotted", ("+", *terms))
        return terms[0] if len(terms) == 1 else add(*terms)

    def _is_pm(self) -> bool:
        return self._token.kind == "cmd" and self._is("pm", "mp")

    def _plus_minus(self, left: Node) -> Node:
        sign = 1 if self._next().text == "pm" else -1
        return Node("pm", (left, self.product(), sign))

    def product(self) -> Node:
        """Factors joined by signs or standing side by side; a leading minus covers the whole product."""
        if self._take("-"):
            return negate(self.product())
        if self._take("+"):
            return self.product()
        node = self.factor()
        terms = [node]
        while True:
            if self._goes_on_as_a_product():
                terms.append(DOTS)
                self._take("*", "cdot", "times")
                terms.append(self._signed_factor())
            elif self._take("*", "cdot", "times"):
                terms.append(self._signed_factor())
                node = self._times(node, terms[-1])
            elif self._take("/"):
                factor = self._signed_factor()
                node, terms[-1] = divide(node, factor), divide(terms[-1], factor)
            elif self._starts_factor():
                factor = self._beside()
                node, terms[-1] = self._times(node, factor), self._times(terms[-1], factor)
            else:
                return Node("dotted", ("*", *terms)) if DOTS in terms else node

    def _beside(self) -> Node:
        """A factor without a sign before it."""
        before = self._tokens[self._at - 1].kind
        # In a_n 2^n the letter is an index.
        is_name = before == "word" and self._tokens[self._at - 2].text != "_"
        if self._token.kind == "num" and (before == "num" or (is_name and self._token.spaced)):
            self._fail("a number behind a number or a word")
        return self.factor()

    def _goes_on_as_a_product(self) -> bool:
        r"""Takes the ellipsis of 1 \cdot 2 \cdots n; that of 1, 2, \ldots belongs to the list."""
        start = self._at
        self._take("*", "cdot", "times")
        if self._take("ldots") and (self._is("*", "cdot", "times") or self._starts_factor()):
            return True
        self._at = start
        return False

    def _signed_factor(self) -> Node:
        if self._take("-"):
            return negate(self._signed_factor())
        return self._signed_factor() if self._take("+") else self.factor()

    def _times(self, left: Node, right: Node) -> Node:
        if left.op == "mul" and left.args[0] is not MINUS_ONE:
            return Node("mul", (*left.args, right))
        return mul(left, right)

    def _mixed(self) -> Node | None:
        r"""2\frac{1}{2} and 2 1/2: a whole number and a proper fraction side by side are added."""
        first, second = self._token, self._tokens[min(self._at + 1, len(self._tokens) - 1)]
        if first.kind != "num" or first.value.denominator != 1 or "." in first.text:
            return None
        start = self._at
        if second.kind == "cmd" and second.text == "frac":
            self._at += 1
            self._at += 1
            top, bottom = self.argument(), self.argument()
            if is_count(top) and is_count(bottom) and top.args[0] < bottom.args[0]:
                return number(first.value + top.args[0] / bottom.args[0])
        elif (
            second.kind == "num"
            and second.spaced
            and [t.text for t in self._tokens[self._at + 2 : self._at + 3]] == ["/"]
        ):
            third = self._tokens[self._at + 3]
            whole = second.value.denominator == third.value.denominator == 1
            if third.kind == "num" and 0 < second.value < third.value and whole:
                self._at += 4
                return number(first.value + second.value / third.value)
        self._at = start
        return None

    def _starts_factor(self) -> bool:
        token = self._token
        if token.kind in ("num", "text"):
            return token.kind == "num"
        if token.kind == "word":
            return token.text not in ("or", "and", "mod", "if", "where", "for", "to", "in")
        if token.kind == "cmd":
            return token.text in LETTERS or token.text in ACCENTS or token.text in CONSTANTS or token.text in STARTERS
        if token.text == "|":
            return self._bars == 0
        return token.kind == "op" and token.text in "([{"

    def factor(self) -> Node:
        """A primary with its powers, factorials, percent signs."""
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
        if self._is("'", "prime"):
            self._fail("a prime")
        if self._is("-") or self._is("+"):
            minus = self._next().text == "-"
            exponent = self._primary()
            exponent = negate(exponent) if minus else exponent
        else:
            exponent = self._primary()
        if self._take("^"):
            exponent = self._power(exponent)
        return Node("pow", (base, exponent))

    def argument(self) -> Node:
        r"""What a command takes: a group in braces, or one sign: \frac12, \sqrt2."""
        token = self._token
        if token.kind == "op" and token.text == "{":
            return self._primary()
        if token.kind == "num" and len(token.text) > 1 and token.text.isdigit():
            # \frac12: a command takes one digit; the rest stays where it is.
            rest = token.text[1:]
            self._tokens[self._at] = Token("num", rest, False, type(token.value)(int(rest)))
            return number(int(token.text[0]))
        return self._primary()

    def _primary(self) -> Node:
        token = self._token
        if token.kind == "num":
            self._next()
            return self._based(token) if self._is("_") else Node("num", (token.value,))
        if token.kind == "word":
            return self._word()
        if token.kind == "cmd":
            return self.command(self._next().text)
        if token.text == "|":
            return self._absolute()
        container = self.primary_container()
        if container is None:
            self._fail(f"an unexpected {token.text or 'end'}")
        return container

    def _based(self, token: Token) -> Node:
        raise NotImplementedError

    def _absolute(self) -> Node:
        self._expect("|")
        self._bars += 1
        bars = self._bars
        inside = self.sum()
        if self._bars != bars:
            self._fail("unbalanced bars")
        self._bars -= 1
        self._expect("|")
        return Node("fn", ("abs", inside))

    def command(self, name: str) -> Node:
        """What a LaTeX command says; the subclass knows them."""
        raise NotImplementedError

    def _function(self, name: str) -> Node:
        """A function with its base, its power and its argument: \\sin^2 x, \\log_2 8, \\ln(x+1)."""
        base: Node | None = None
        power: Node | None = None
        while self._is("_", "^") and (power is None or base is None):
            if self._take("_"):
                base = self._primary()
            elif self._take("^"):
                minus = self._take("-")
                power = self._primary()
                power = negate(power) if minus else power
        argument = self._function_argument()
        if power == MINUS_ONE and name in TRIGONOMETRY:
            return Node("fn", ("a" + name, *argument))
        if name == "log" and base is not None:
            argument = (*argument, base)
        if name == "lg":
            name, argument = "log", (*argument, number(10))
        node = Node("fn", (name, *argument))
        return node if power is None else Node("pow", (node, power))

    def _function_argument(self) -> tuple[Node, ...]:
        if self._is("(", "{", "[", "lbrace"):
            inside = self._primary()
            if inside.op in ("list", "seq", "set"):
                return tuple(arg for arg in inside.args if isinstance(arg, Node))
            # sin(x)^2 is (sin x)^2: the power is left for `factor`.
            return (inside,)
        factors = [negate(self.factor())] if self._take("-") else [self.factor()]
        while self._starts_factor() and not self._starts_function():
            factors.append(self.factor())
        if factors[-1] == CONSTANTS["pi"] and self._is("/") and self._tokens[self._at + 1].kind == "num":
            # \sin \pi/6, but \ln 2/3 and sqrt3/2 end before the stroke.
            self._next()
            factors = [*factors[:-1], divide(factors[-1], self.factor())]
        return (factors[0] if len(factors) == 1 else mul(*factors),)

    def _starts_function(self) -> bool:
        token = self._token
        name = RENAMED.get(token.text, token.text)
        return (
            token.kind in ("cmd", "word") and (name in FUNCTIONS or token.text in BIG) and name not in ("sqrt", "cbrt")
        )
