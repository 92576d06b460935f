"""Functions with their base, power and argument, and big operators: sums, products, integrals, limits."""

from rlkit.verify.math.lexer import Token
from rlkit.verify.math.names import (
    BIG,
    CONSTANTS,
    FUNCTIONS,
    RENAMED,
    TRIGONOMETRY,
)
from rlkit.verify.math.nodes import (
    MINUS_ONE,
    Node,
    divide,
    mul,
    negate,
    number,
)
from rlkit.verify.math.token_reader import GrammarRules


class FunctionRules(GrammarRules):
    """Reads what follows the name of a function or the sign of a big operator."""

    def _function(self, name: str) -> Node:
        r"""A function with its base, its power and its argument: \sin^2 x, \log_2 8, \ln(x+1)."""
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
            # \sin^{-1} x is the arcsine, no reciprocal.
            return Node("fn", ("a" + name, *argument))
        if name == "log" and base is not None:
            argument = (*argument, base)
        if name == "lg":
            name, argument = "log", (*argument, number(10))
        node = Node("fn", (name, *argument))
        return node if power is None else Node("pow", (node, power))

    def _function_argument(self) -> tuple[Node, ...]:
        """The brackets behind a function's name, with one or more arguments in them, or the factors up to a sign."""
        if self._is("(", "{", "[", "lbrace"):
            inside = self._primary()
            if inside.op in ("list", "seq", "set"):
                return tuple(arg for arg in inside.args if isinstance(arg, Node))
            # sin(x)^2 is (sin x)^2: the power is left for `_factor`.
            return (inside,)
        factors = [negate(self._factor())] if self._take("-") else [self._factor()]
        while self._starts_factor() and not self._starts_function():
            factors.append(self._factor())
        if factors[-1] == CONSTANTS["pi"] and self._is("/") and self._tokens[self._at + 1].kind == "num":
            # \sin \pi/6, but \ln 2/3 and sqrt3/2 end before the stroke.
            self._next()
            factors = [*factors[:-1], divide(factors[-1], self._factor())]
        return (factors[0] if len(factors) == 1 else mul(*factors),)

    def _starts_function(self) -> bool:
        """Whether a function begins here: \\sin x \\cos x has two arguments; but \\sin 2\\sqrt{3} has one."""
        token = self._token
        name = RENAMED.get(token.text, token.text)
        return (
            token.kind in ("cmd", "word") and (name in FUNCTIONS or token.text in BIG) and name not in ("sqrt", "cbrt")
        )

    def _big(self, kind: str) -> Node:
        r"""\sum_{k=1}^{n} body, \prod, \int_a^b body dx, \lim_{x \to a} body."""
        if kind == "int":
            return self._integral()
        self._expect("_")
        self._expect("{")
        variable = self._next().text
        if not self._take("=", "to", "rightarrow"):
            self._fail("a big operator without its variable")
        low = self._sum()
        self._expect("}")
        high = MINUS_ONE
        if kind != "lim":
            self._expect("^")
            high = self._primary()
        return Node("big", (kind, variable, low, high, self._product()))

    def _integral(self) -> Node:
        r"""The bounds, the body and the variable of \int_a^b body dx."""
        low = high = None
        while self._is("_", "^"):
            if self._take("_"):
                low = self._primary()
            elif self._take("^"):
                high = self._primary()
        end = next((i for i in range(self._at, len(self._tokens)) if _is_differential(self._tokens, i)), None)
        if end is None or low is None or high is None:
            self._fail("an integral without its bounds or dx")
        token = self._tokens[end]
        if token.text == "d":
            variable, skip = self._tokens[end + 1].text, 2
        else:
            variable, skip = token.text[-1], 1
        head = [Token("word", token.text[:-2])] if len(token.text) > 2 else []
        inner = type(self)([*self._tokens[self._at : end], *head, Token("end", "")], imaginary=self._imaginary)
        body = inner._sum() if inner._token.kind != "end" else number(1)
        self._at = end + skip
        return Node("big", ("int", variable, low, high, body))


def _is_differential(tokens: list[Token], at: int) -> bool:
    """Whether dx begins here, in a word of its own or at the end of one: x dx, xdx."""
    token = tokens[at]
    if token.kind != "word":
        return False
    return (token.text == "d" and tokens[at + 1].kind == "word") or (
        len(token.text) >= 2 and token.text[-2] == "d" and token.text not in FUNCTIONS
    )
