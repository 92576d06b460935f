"""Values to many digits, with mpmath. Values that are too large are refused before they are worked out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpmath import MPContext  # type: ignore[import-untyped]

from rlkit.verify.math.exact import MAX_BITS, NotExact, TooLarge, Undefined, rational
from rlkit.verify.math.nodes import Node

_MAX_LOG = 1e6
"""Largest logarithm of a value that is worked out: e^(10^6) has some 434,000 digits."""
_MP = MPContext()
"""mpmath's settings are global to a context, so the judge has one of its own."""
_NAMES = {"ln": "log", "fact": "factorial", "fact2": "fac2", "binom": "binomial", "sgn": "sign", "Re": "re", "Im": "im"}
"""Functions that mpmath knows by another name."""
_PLAIN_NAMES = """
    log exp sqrt sin cos tan cot sec csc sinh cosh tanh coth sech csch asin acos atan acot asec acsc asinh acosh
    atanh arg"""
_PLAIN = frozenset(_PLAIN_NAMES.split())
"""Functions that mpmath knows by the same name."""
_GROWING = frozenset(("exp", "sinh", "cosh", "tanh", "coth", "sech", "csch"))
"""Functions whose value grows, or nears its limit, like an exponential."""
_NOISE_DIGITS = 5
"""Last digits of a value that rounding may have spoilt."""
_MAX_TERMS = 2000
"""Most terms of a sum or product that are added up one by one."""


class Evaluator:
    """Evaluates expressions at one precision, and remembers how large and how small its intermediate values were.

    Args:
        digits: Decimal digits.
        values: Of the variables.
    """

    def __init__(self, digits: int, values: Mapping[str, Any]) -> None:
        self.mp = _MP
        self.mp.dps = digits
        self._values = {name: self.mp.mpf(value) for name, value in values.items()}
        self._noise = self.mp.mpf(10) ** (_NOISE_DIGITS - digits)
        self.complex = False
        """Whether a part was not real: the square root of a negative number, say."""
        self.largest = self.mp.mpf(1)
        self.smallest = self.mp.mpf(1)

    def value(self, node: Node) -> Any:
        """An mpf or mpc.

        Raises:
            NotExact: an operation that has no number here.
            Undefined: division by zero, infinity, logarithm of zero.
        """
        value = self._value(node)
        if not self.mp.isfinite(value):
            raise Undefined
        if not self.complex and self.mp.im(value) != 0:
            self.complex = True
        size = abs(value)
        if size > self.largest:
            self.largest = size
        elif 0 < size < self.smallest:
            self.smallest = size
        return value

    def is_zero(self, value: Any) -> bool:
        """Whether rounding explains the whole value."""
        return bool(abs(value) <= self.largest * self._noise)

    def _value(self, node: Node) -> Any:
        """The value by the operation, without the checks of `value`."""
        op, args = node
        mp = self.mp
        if op == "num":
            return mp.mpf(args[0].numerator) / args[0].denominator
        if op == "sym":
            if args[0] not in self._values:
                raise NotExact
            return self._values[args[0]]
        if op == "const":
            return self._constant(args[0])
        if op == "add":
            return sum((self.value(arg) for arg in args), mp.mpf(0))
        if op == "mul":
            product = mp.mpf(1)
            for arg in args:
                product = product * self.value(arg)
            return product
        if op == "pow":
            return self._power(node)
        if op == "fn":
            return self._function(args[0], [self.value(arg) for arg in args[1:]])
        if op == "big" and args[0] in ("sum", "prod"):
            return self._series(node)
        raise NotExact

    def _constant(self, name: str) -> Any:
        if name == "inf":
            raise Undefined
        return {"pi": self.mp.pi, "e": self.mp.e, "i": self.mp.j}[name] * self.mp.mpf(1)

    def _power(self, node: Node) -> Any:
        """A power, refused where it would be too large."""
        base, exponent = self.value(node.args[0]), self.value(node.args[1])
        if base == 0:
            if self.mp.re(exponent) <= 0:
                raise Undefined
            return self.mp.mpf(0)
        if abs(self.mp.log(base)) * abs(exponent) > _MAX_LOG:
            raise TooLarge
        return base**exponent

    def _series(self, node: Node) -> Any:
        """A finite sum or product, term by term."""
        kind, variable, low, high, body = node.args
        start, end = rational(low), rational(high)
        if start.denominator != 1 or end.denominator != 1 or end - start > _MAX_TERMS:
            raise NotExact
        total = self.mp.mpf(kind == "prod")
        saved = self._values.get(variable)
        for index in range(start.numerator, end.numerator + 1):
            self._values[variable] = self.mp.mpf(index)
            term = self.value(body)
            total = total * term if kind == "prod" else total + term
        self._values.pop(variable)
        if saved is not None:
            self._values[variable] = saved
        return total

    def _function(self, name: str, args: list[Any]) -> Any:
        """The value of a function, refused where it would be too large."""
        mp = self.mp
        x = args[0]
        if name in ("fact", "fact2", "binom") and max(abs(arg) for arg in args) > MAX_BITS:
            raise TooLarge
        if name in _GROWING and abs(x) > _MAX_LOG:
            raise TooLarge
        if name in ("tanh", "coth"):
            # How near to 1 they come is the smallest number in play.
            self.smallest = min(self.smallest, mp.exp(-2 * abs(mp.re(x))))
        if name in ("log", "ln") and (self.is_zero(x) or (len(args) == 2 and args[1] in (0, 1))):
            raise Undefined
        if (name in ("tan", "sec") and self.is_zero(mp.cos(x))) or (name in ("cot", "csc") and self.is_zero(mp.sin(x))):
            raise Undefined
        own: dict[str, Any] = {
            "floor": self._floor,
            "ceil": self._ceil,
            "root": self._root,
            "cbrt": self._cube_root,
            "degrees": self._degrees,
            "abs": abs,
            "conj": self.mp.conj,
            "max": max,
            "min": min,
        }
        if name not in own and name not in _NAMES and name not in _PLAIN:
            raise NotExact
        try:
            return own[name](*args) if name in own else getattr(mp, _NAMES.get(name, name))(*args)
        except (ZeroDivisionError, ValueError, OverflowError, TypeError) as e:
            raise Undefined from e

    def _degrees(self, value: Any) -> Any:
        return value * self.mp.pi / 180

    def _ceil(self, value: Any) -> Any:
        return -self._floor(-value)

    def _cube_root(self, value: Any) -> Any:
        return self._root(value, self.mp.mpf(3))

    def _floor(self, value: Any) -> Any:
        near = self.mp.nint(self.mp.re(value))
        return near if self.is_zero(value - near) else self.mp.floor(value)

    def _root(self, value: Any, degree: Any) -> Any:
        """The real root where there is one: the cube root of -8 is -2."""
        mp = self.mp
        if (
            mp.im(value) == 0
            and mp.im(degree) == 0
            and mp.re(value) < 0
            and mp.isint(degree)
            and int(mp.re(degree)) % 2 == 1
        ):
            return -mp.power(-mp.re(value), 1 / mp.re(degree))
        return mp.power(value, 1 / degree)
