"""The arithmetic of a step: expression trees over fractions, and their exact values.

    text -> tokens (arithmetic_tokens) -> tree -> value, where its variables have given values

    sum     := product (("+" | "-") product)*
    product := signed (("*" | "/" | nothing) signed)*
    signed  := ["-"] power
    power   := postfix ["^" ["-"] power]
    postfix := atom ("!" | "%")*
    atom    := number | name | "(" sum ")" | "\\frac" atom atom | "\\binom" atom atom | "\\sqrt" atom

This is a second parser beside `rlkit.verify.math.parser` because the two read different things: that one a single
answer in the whole notation of mathematics, in a process that can be killed; this one every formula in pages of running
text, plain arithmetic alone, in microseconds and in the caller's own process.

Everything is bounded: length and depth of an expression, digits of a number, size of a power. Nothing is ever handed to
`eval` or to a library that might call it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from rlkit.verify.steps.arithmetic_tokens import ArithmeticToken

_MAX_TOKENS = 120
_MAX_DIGITS = 30
"""Characters of a number."""
_MAX_DEPTH = 20
"""Brackets, powers and commands inside of each other."""
_MAX_EXPONENT = 64
_MAX_FACTORIAL = 40
_MAX_CHOICES = 400
"""Largest n of a binomial coefficient."""
_MAX_BASE_BITS = 128
"""Bits of the numerator and of the denominator of a power's base."""
_MAX_OPERAND_BITS = 8192
"""Bits of the same in every operand: the largest power of the largest base has as many."""


@dataclass(frozen=True)
class Tree:
    """An expression: a number, a name, or an operation on others."""

    operation: str
    """"number", "name", or one of + - * / ^ ! % sqrt binom."""
    parts: tuple[Tree, ...] = ()
    value: Fraction = Fraction(0)
    """Of a number."""
    name: str = ""
    """Of a name."""


class Refused(Exception):
    """Not an expression, or outside the limits."""


def parse(tokens: Sequence[ArithmeticToken]) -> Tree:
    """The tree of an expression.

    Raises:
        Refused: the tokens are no whole expression.
    """
    if not 0 < len(tokens) <= _MAX_TOKENS:
        raise Refused
    parser = _Parser(tokens)
    tree = parser.sum(0)
    if parser.position != len(tokens):
        raise Refused
    return tree


def numbers_of(tree: Tree) -> tuple[Fraction, ...]:
    """The numbers written in an expression, in order."""
    if tree.operation == "number":
        return (tree.value,)
    return tuple(number for part in tree.parts for number in numbers_of(part))


def names_of(tree: Tree) -> set[str]:
    """The variables of an expression."""
    if tree.operation == "name":
        return {tree.name}
    return {name for part in tree.parts for name in names_of(part)}


def value_of(tree: Tree, values: Mapping[str, Fraction]) -> Fraction:
    """The value of an expression.

    Raises:
        Refused: a variable has no value, a number would be too large, or the value is not rational.
        ZeroDivisionError
    """
    if tree.operation == "number":
        return tree.value
    if tree.operation == "name":
        if tree.name not in values:
            raise Refused
        return values[tree.name]
    parts = [value_of(part, values) for part in tree.parts]
    if any(max(part.numerator.bit_length(), part.denominator.bit_length()) > _MAX_OPERAND_BITS for part in parts):
        raise Refused
    return _apply(tree.operation, parts)


def _apply(operation: str, parts: list[Fraction]) -> Fraction:
    """One operation on its values."""
    first = parts[0]
    match operation:
        case "%":
            return first / 100
        case "negate":
            return -first
        case "!" | "binom":
            return _count(parts)
        case "sqrt":
            top, bottom = math.isqrt(max(0, first.numerator)), math.isqrt(first.denominator)
            if first < 0 or top * top != first.numerator or bottom * bottom != first.denominator:
                raise Refused
            return Fraction(top, bottom)
        case "^":
            return _power(first, parts[1])
        case "+":
            return first + parts[1]
        case "-":
            return first - parts[1]
        case "*":
            return first * parts[1]
        case _:
            return first / parts[1]


def _count(parts: list[Fraction]) -> Fraction:
    """n! of one number, n choose k of two."""
    if any(part.denominator != 1 or not 0 <= part <= _MAX_CHOICES for part in parts):
        raise Refused
    if len(parts) == 2:
        return Fraction(math.comb(int(parts[0]), int(parts[1])))
    if parts[0] > _MAX_FACTORIAL:
        raise Refused
    return Fraction(math.factorial(int(parts[0])))


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if exponent.denominator != 1 or abs(exponent) > _MAX_EXPONENT or bits > _MAX_BASE_BITS:
        raise Refused
    return base ** int(exponent)


def _is_share(tree: Tree) -> bool:
    """Whether a tree is a proper fraction of whole numbers, which makes the number before it a mixed one: 1 2/3."""
    if tree.operation != "/" or any(part.operation != "number" for part in tree.parts):
        return False
    top, bottom = (part.value for part in tree.parts)
    return 0 < top < bottom and top.denominator == bottom.denominator == 1


class _Parser:
    """Recursive descent by the grammar above; two factors side by side, as in 2x and 3(4 + 1), are multiplied."""

    def __init__(self, tokens: Sequence[ArithmeticToken]) -> None:
        self.tokens = tokens
        self.position = 0

    def _take(self, *wanted: str) -> str | None:
        """Takes the next token if it is one of these, and gives its text."""
        token = self.tokens[self.position] if self.position < len(self.tokens) else None
        if token is not None and token.kind != "word" and token.text in wanted:
            self.position += 1
            return token.text
        return None

    def sum(self, depth: int) -> Tree:
        """product (("+" | "-") product)*"""
        if depth > _MAX_DEPTH:
            raise Refused
        tree = self._product(depth)
        while sign := self._take("+", "-"):
            tree = Tree(sign, (tree, self._product(depth)))
        return tree

    def _product(self, depth: int) -> Tree:
        """product := signed (("*" | "/" | nothing) signed)*; 1 2/3 is a mixed number, and added."""
        tree = self._signed(depth)
        while self.position < len(self.tokens):
            sign = self._take("*", "/")
            if sign is None and not self._factor_follows():
                break
            factor = self._signed(depth)
            mixed = sign is None and _is_share(factor) and tree.operation == "number" and tree.value.denominator == 1
            tree = Tree("+" if mixed else sign or "*", (tree, factor))
        return tree

    def _factor_follows(self) -> bool:
        """Whether what comes next is multiplied without a sign. A number never is: "3 4" is no product."""
        token = self.tokens[self.position]
        return token.kind in ("name", "command") or token.text == "("

    def _signed(self, depth: int) -> Tree:
        """signed := ["-"] power"""
        if self._take("-"):
            return Tree("negate", (self._power(depth),))
        return self._power(depth)

    def _power(self, depth: int) -> Tree:
        """power := postfix ["^" ["-"] power], which associates to the right."""
        tree = self._postfix(depth)
        if self._take("^"):
            if depth > _MAX_DEPTH:
                raise Refused
            negative = self._take("-")
            exponent = self._power(depth + 1)
            tree = Tree("^", (tree, Tree("negate", (exponent,)) if negative else exponent))
        return tree

    def _postfix(self, depth: int) -> Tree:
        """postfix := atom ("!" | "%")*"""
        tree = self._atom(depth)
        while mark := self._take("!", "%"):
            tree = Tree(mark, (tree,))
        return tree

    def _atom(self, depth: int) -> Tree:
        """atom := number | name | "(" sum ")" | command"""
        if self._take("("):
            tree = self.sum(depth + 1)
            if not self._take(")"):
                raise Refused
            return tree
        if self.position >= len(self.tokens):
            raise Refused
        token = self.tokens[self.position]
        self.position += 1
        if token.kind == "number" and len(token.text) <= _MAX_DIGITS:
            return Tree("number", value=Fraction(token.text))
        if token.kind == "name":
            return Tree("name", name=token.text)
        if token.kind == "command" and depth < _MAX_DEPTH:
            return self._command(token.text, depth + 1)
        raise Refused

    def _command(self, command: str, depth: int) -> Tree:
        r"""The arguments of \sqrt, \binom or \frac."""
        if command.endswith("sqrt"):
            return Tree("sqrt", (self._atom(depth),))
        operation = "binom" if command.endswith("binom") else "/"
        return Tree(operation, (self._atom(depth), self._atom(depth)))
