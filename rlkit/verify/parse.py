r"""LaTeX answers as trees, and their exact comparison. Imports sympy, so only a worker process imports this module.

Containers (tuples, sets, intervals, unions, matrices, lists) are split here; what is left, scalars, goes through
latex2sympy2_extended's grammar after `checks.refusal`. No text ever reaches eval, sympify or parse_expr.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import sympy
from latex2sympy2_extended import latex2sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig

from rlkit.verify.checks import refusal

_CONFIG = ConversionConfig(lowercase_symbols=False)
_MAX_BITS = 4096
_MAX_ITEMS = 32
_PREFIX = re.compile(r"(?:[a-zA-Z](?:\([a-zA-Z]\))?|\\(?:theta|alpha|beta|lambda)) ?(?:=|\\in(?![a-z])) ?")
_RELATION = re.compile(r"\\leq?(?![a-z])|\\geq?(?![a-z])|\\lt(?![a-z])|\\gt(?![a-z])|<=|>=|<|>")
_OR = re.compile(r" ?(?:\\text ?\{ ?(?:or|and) ?\}|(?<![a-z\\])(?:or|and)(?![a-z])|\\lor(?![a-z])) ?")
_MATRIX = re.compile(r"\\begin ?\{([pb]?matrix)\}(.*)\\end ?\{\1\}")
_TRIGONOMETRY = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-z])")
_DECIMAL = re.compile(r"(\d*)\.(\d+)")
_THOUSANDS = re.compile(r"(?<![\d.])\d{1,3}(?:,\d{3})+(?![\d,])")


class Unparsable(Exception):
    """The text is not an answer that can be read."""


@dataclass(frozen=True)
class Node:
    """A container: its kind ("()", "[)", "set", "union", "matrix", "equation", "scalar") and what it holds."""

    kind: str
    items: tuple[Any, ...]


def parse(text: str) -> Node:
    """A normalised text as a tree.

    Raises:
        Unparsable: outside the grammar or refused by the checks.
    """
    reason = refusal(text)
    if reason:
        raise Unparsable(reason)
    return _parse(text.strip(), 0)


def _parse(text: str, depth: int) -> Node:
    if depth > 6 or not text:
        raise Unparsable("empty or nested too deep")
    if match := _PREFIX.match(text):
        rest = text[match.end() :]
        if rest and "=" not in rest:
            return _parse(rest, depth + 1)
    parts = _OR.split(text)
    if len(parts) == 1:
        parts = split_top(_THOUSANDS.sub(lambda m: m[0].replace(",", ""), text), ",;")
    if len(parts) > 1:
        return _items("set", parts, depth)
    return _parse_whole(parts[0].strip(), depth)


def _parse_whole(text: str, depth: int) -> Node:
    """One item without a comma at the top: a union, a container, an inequality, an equation or a scalar."""
    pieces = [piece.strip() for piece in split_top(text.replace(r"\cup", "\x1f"), "\x1f")]
    if len(pieces) > 1:
        return _items("union", pieces, depth)
    if match := _MATRIX.fullmatch(text):
        rows = [re.split(" ?& ?", row.strip()) for row in match[2].strip().split(r"\\") if row.strip()]
        return Node("matrix", tuple(_items("row", row, depth) for row in rows))
    container = _container(text, depth)
    if container is not None:
        return container
    if _RELATION.search(text):
        return _inequality(text, depth)
    sides = text.split("=")
    if len(sides) == 2:
        return Node("equation", (_scalar(sides[0]), _scalar(sides[1])))
    if len(sides) > 2:
        raise Unparsable("a chain of equations")
    if text.count(r"\pm") == 1:
        return _items("set", [text.replace(r"\pm", "+", 1), text.replace(r"\pm", "-", 1)], depth)
    return Node("scalar", (_scalar(text),))


def _container(text: str, depth: int) -> Node | None:
    if text in (r"\emptyset", r"\varnothing", r"\{\}", r"\{ \}"):
        return Node("set", ())
    if text.startswith(r"\{") and text.endswith(r"\}"):
        return _items("set", split_top(text[2:-2], ",;"), depth)
    if len(text) > 2 and text[0] in "([" and text[-1] in ")]":
        inner = split_top(text[1:-1], ",;")
        if len(inner) > 1:
            return _items(text[0] + text[-1], inner, depth)
    return None


def _items(kind: str, texts: list[str], depth: int) -> Node:
    if len(texts) > _MAX_ITEMS:
        raise Unparsable("too many items")
    return Node(kind, tuple(_parse(item.strip(), depth + 1) for item in texts))


def _inequality(text: str, depth: int) -> Node:
    """x < 3 as (-oo, 3) and 1 <= x < 3 as [1, 3): the form in which intervals are compared."""
    signs = _RELATION.findall(text)
    sides = [side.strip() for side in _RELATION.split(text)]
    strict = [sign in ("<", ">", r"\lt", r"\gt") for sign in signs]
    down = [sign.startswith((">", r"\g")) for sign in signs]
    if len(set(down)) != 1 or len(signs) > 2:
        raise Unparsable("relations that point both ways")
    if down[0]:
        sides.reverse()
        strict.reverse()
    variable = re.compile(r"[a-zA-Z]|\\theta")
    if len(signs) == 1 and variable.fullmatch(sides[0]):
        low, high, opens, closes = r"-\infty", sides[1], True, strict[0]
    elif len(signs) == 1 and variable.fullmatch(sides[1]):
        low, high, opens, closes = sides[0], r"\infty", strict[0], True
    elif len(signs) == 2 and variable.fullmatch(sides[1]):
        low, high, opens, closes = sides[0], sides[2], strict[0], strict[1]
    else:
        raise Unparsable("an inequality without a lone variable")
    return _items(("(" if opens else "[") + (")" if closes else "]"), [low, high], depth)


def split_top(text: str, separators: str) -> list[str]:
    """Splits at separators that stand outside every bracket."""
    parts, depth, start = [], 0, 0
    for i, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0 and char in separators:
            parts.append(text[start:i])
            start = i + 1
    return [*parts, text[start:]]


def _scalar(text: str) -> Any:
    """A sympy expression, unevaluated, with decimals as exact fractions."""
    degrees = r"\\cdot\\frac{\\pi}{180}" if _TRIGONOMETRY.search(text) else ""
    text = re.sub(r"\^ ?(?:\\circ|\{ ?\\circ ?\})", degrees, text.strip())
    text = _DECIMAL.sub(lambda m: rf"\frac{{{int(m[1] + m[2])}}}{{1{'0' * len(m[2])}}}", text)
    if "." in text or "%" in text:
        raise Unparsable("a misplaced sign")
    try:
        expression = latex2sympy(text, conversion_config=_CONFIG)
    except (RecursionError, MemoryError):
        raise
    # The grammar raises bare Exception, AttributeError, TypeError and more on a model's text.
    except Exception as e:
        raise Unparsable("outside the grammar") from e
    if not isinstance(expression, sympy.Expr):
        raise Unparsable("not a number or an expression")
    if _bits(expression) > _MAX_BITS:
        raise Unparsable("too large a number")
    return expression.subs(sympy.Symbol("i"), sympy.I)


def _bits(expression: Any) -> float:
    """An upper estimate of log2 of the largest number that evaluating would make; no evaluation happens."""
    if isinstance(expression, sympy.Rational):
        return float(max(expression.p.bit_length(), expression.q.bit_length()))
    inner: list[float] = [_bits(arg) for arg in expression.args]
    if isinstance(expression, sympy.Pow) and not expression.args[1].free_symbols:
        exponent = expression.args[1]
        size = inner[1] if not isinstance(exponent, sympy.Rational) else 0.0
        power: float = float(abs(exponent)) if isinstance(exponent, sympy.Rational) else 2.0 ** min(size, 64)
        return max(inner[0], 1.0) * max(power, 1.0)
    if isinstance(expression, sympy.factorial | sympy.binomial | sympy.gamma):
        size = min(max(inner, default=0.0), 64.0)
        return float(2.0**size * max([1.0, *inner]))
    return sum(inner)
