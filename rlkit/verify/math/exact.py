"""Exact values: rational constants, and rational functions modulo a prime.

Sizes are bounded before anything is computed.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache

from rlkit.verify.math.nodes import Node

MAX_BITS = 20_000
"""Largest numerator or denominator."""
_MAX_FACTORIAL = 1500
"""Largest n whose n! is worked out: 1500! has some 13,500 bits."""
_MAX_MODULAR_FACTORIAL = 1_000_000
"""Largest n whose n! is worked out modulo the prime, where only the time grows."""
_MAX_TERMS = 10_000
"""Most terms of a sum or product that are added up one by one."""

_MAX_BINOMIAL = 5000
"""Largest n of a binomial coefficient."""
_MAX_DEGREE = 64
"""Largest degree of a root that is looked for."""
_MAX_DIVIDED = 10**1000
"""Largest number whose greatest common divisor or least common multiple is worked out."""
_MAX_LOG_DEGREE, _MAX_LOG_POWER, _MAX_LOG_BITS = 12, 200, 400
"""A logarithm p/q is looked for up to this q, up to this p, and while the power of the base has no more bits."""


class NotExact(Exception):
    """The value is not rational, or too large to be computed exactly."""


class Undefined(Exception):
    """The value does not exist: division by zero and the like."""


class TooLarge(NotExact):
    """The value is too large to be worked out at this point; at another one it may be smaller."""


@lru_cache(maxsize=1)
def field() -> tuple[int, int]:
    """(a prime, a square root of -1 modulo it): of this process alone, so that no answer can be made to fit it."""
    import sympy

    while True:
        prime = int(sympy.nextprime((1 << 60) + secrets.randbelow(1 << 60)))
        if prime % 4 == 1:
            break
    base = 2
    while pow(base, (prime - 1) // 2, prime) == 1:
        base += 1
    return prime, pow(base, (prime - 1) // 4, prime)


def rational(node: Node, values: Mapping[str, Fraction] | None = None) -> Fraction:
    """The exact value of a rational constant.

    Args:
        node: An expression.
        values: Of variables, as a sum's running index.

    Raises:
        NotExact: it is irrational, has variables, or is too large.
        Undefined: it divides by zero.
    """
    op, args = node
    if op == "num":
        value: Fraction = args[0]
        return value
    if op == "sym" and values and args[0] in values:
        return values[args[0]]
    if op == "add":
        total = Fraction(0)
        for arg in args:
            total += rational(arg, values)
        return _bounded(total)
    if op == "mul":
        product = Fraction(1)
        for arg in args:
            product = _bounded(product * rational(arg, values))
        return product
    if op == "pow":
        return _power(rational(args[0], values), rational(args[1], values))
    if op == "fn":
        return _function(args[0], [rational(arg, values) for arg in args[1:] if isinstance(arg, Node)])
    if op == "big" and args[0] in ("sum", "prod"):
        return _series(node, values)
    raise NotExact


def _bounded(value: Fraction) -> Fraction:
    if value.numerator.bit_length() > MAX_BITS or value.denominator.bit_length() > MAX_BITS:
        raise NotExact
    return value


def _bits(value: Fraction) -> int:
    return value.numerator.bit_length() + value.denominator.bit_length()


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    """A rational power; NotExact where it is irrational or too large."""
    if exponent.denominator != 1:
        return _root(_power(base, Fraction(exponent.numerator)), exponent.denominator)
    size = abs(exponent.numerator)
    if base == 0:
        if exponent <= 0:
            raise Undefined
        return base
    if base in (1, -1):
        return base if size % 2 else Fraction(1)
    if size * max(base.numerator.bit_length(), base.denominator.bit_length()) > MAX_BITS:
        raise NotExact
    return base**exponent.numerator


def _root(value: Fraction, degree: int) -> Fraction:
    if degree > _MAX_DEGREE or (value < 0 and degree % 2 == 0):
        raise NotExact
    top, bottom = _whole_root(abs(value.numerator), degree), _whole_root(value.denominator, degree)
    return Fraction(top if value >= 0 else -top, bottom)


def _whole_root(value: int, degree: int) -> int:
    """The root of a whole number that is one itself, by bisection; NotExact where there is none."""
    if degree == 2:
        root = math.isqrt(value)
    else:
        low, high = 0, 1 << (value.bit_length() // degree + 1)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if middle**degree <= value else (low, middle - 1)
        root = low
    if root**degree != value:
        raise NotExact
    return root


def _function(name: str, args: list[Fraction]) -> Fraction:
    """The rational value of a function; NotExact for functions and arguments that have none."""
    if name in ("fact", "fact2"):
        size = _whole(args[0], _MAX_FACTORIAL)
        return Fraction(math.factorial(size) if name == "fact" else math.prod(range(size, 0, -2)))
    if name == "binom":
        top, bottom = _whole(args[0], _MAX_BINOMIAL), _whole(args[1], _MAX_BINOMIAL)
        return _bounded(Fraction(math.comb(top, bottom)))
    if name == "perm":
        return _bounded(Fraction(math.perm(_whole(args[0], _MAX_FACTORIAL), _whole(args[1], _MAX_FACTORIAL))))
    if name == "sqrt":
        return _root(args[0], 2)
    if name == "cbrt":
        return _root(args[0], 3)
    if name == "root":
        return _root(args[0], _whole(args[1], _MAX_DEGREE) or _MAX_DEGREE + 1)
    if name == "abs":
        return abs(args[0])
    if name == "floor":
        return Fraction(math.floor(args[0]))
    if name == "ceil":
        return Fraction(math.ceil(args[0]))
    if name in ("max", "min"):
        return max(args) if name == "max" else min(args)
    if name in ("gcd", "lcm"):
        wholes = [_whole(arg, _MAX_DIVIDED) for arg in args]
        return Fraction(math.gcd(*wholes) if name == "gcd" else math.lcm(*wholes))
    if name == "degrees":
        # By itself 30° is 30; in a trigonometric function, which is never exact here, it is an angle.
        return args[0]
    if name == "sgn":
        return Fraction((args[0] > 0) - (args[0] < 0))
    if name == "log" and len(args) == 2:
        return _logarithm(*args)
    raise NotExact


def _whole(value: Fraction, most: int) -> int:
    """A whole number from 0 to `most`; NotExact for any other."""
    if value.denominator != 1 or not 0 <= value <= most:
        raise NotExact
    return value.numerator


def _logarithm(value: Fraction, base: Fraction) -> Fraction:
    """log_4 8 = 3/2 and the like: both are powers of one whole number."""
    if value <= 0 or base <= 0 or base == 1:
        raise Undefined
    for degree in range(1, _MAX_LOG_DEGREE + 1):
        power, current = 0, Fraction(1)
        while _bits(current) < _MAX_LOG_BITS and power < _MAX_LOG_POWER:
            if current in (value**degree, 1 / value**degree):
                return Fraction(power if current == value**degree else -power, degree)
            current, power = current * base, power + 1
    raise NotExact


def _series(node: Node, values: Mapping[str, Fraction] | None) -> Fraction:
    """A finite sum or product, term by term."""
    kind, variable, low, high, body = node.args
    start, end = rational(low, values), rational(high, values)
    if start.denominator != 1 or end.denominator != 1 or end - start > _MAX_TERMS:
        raise NotExact
    total = Fraction(kind == "prod")
    for index in range(start.numerator, end.numerator + 1):
        term = rational(body, {**(values or {}), variable: Fraction(index)})
        total = _bounded(total * term if kind == "prod" else total + term)
    return total


def modular(node: Node, values: Mapping[str, int]) -> int:
    """The value of a rational function, modulo the prime of `field`, at whole-number values of its variables.

    Two rational functions (over the complex rationals) that agree at three random points are the same, but for a chance
    of about degree / 2^60 a point (Schwartz and Zippel).

    Raises:
        NotExact: a part is no rational function.
        Undefined: this point is a pole.
    """
    op, args = node
    prime, imaginary = field()
    if op == "num":
        value: Fraction = args[0]
        return value.numerator * _inverse(value.denominator) % prime
    if op == "sym":
        return values[args[0]]
    if op == "const" and args[0] == "i":
        return imaginary
    if op == "add":
        return sum(modular(arg, values) for arg in args) % prime
    if op == "mul":
        product = 1
        for arg in args:
            product = product * modular(arg, values) % prime
        return product
    if op == "pow":
        exponent = rational(args[1])
        if exponent.denominator != 1:
            raise NotExact
        base = modular(args[0], values)
        if exponent < 0:
            return pow(_inverse(base), -exponent.numerator, prime)
        if exponent == 0 and base == 0:
            raise Undefined
        return pow(base, exponent.numerator, prime)
    if op == "fn" and args[0] in ("fact", "binom", "perm"):
        return _modular_count(args[0], [rational(arg) for arg in args[1:]])
    value = rational(node)
    return value.numerator * _inverse(value.denominator) % prime


def _modular_count(name: str, args: list[Fraction]) -> int:
    """A factorial, or a number of combinations or arrangements, modulo the prime."""
    sizes = [_whole(arg, _MAX_MODULAR_FACTORIAL) for arg in args]
    if name == "fact":
        return _modular_factorial(sizes[0])
    top, bottom = sizes
    if bottom > top:
        return 0
    below = _modular_factorial(top - bottom) * (_modular_factorial(bottom) if name == "binom" else 1)
    return _modular_factorial(top) * _inverse(below) % field()[0]


@lru_cache(maxsize=64)
def _modular_factorial(size: int) -> int:
    prime, product = field()[0], 1
    for factor in range(2, size + 1):
        product = product * factor % prime
    return product


def _inverse(value: int) -> int:
    prime = field()[0]
    if value % prime == 0:
        raise Undefined
    return pow(value, -1, prime)
