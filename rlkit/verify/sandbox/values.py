"""Python values as tagged JSON: what crosses the line between a candidate and its judge. Standard library only.

Only exact built-in types cross: an instance of a subclass of int, str, list or dict does not, so an object that claims
to be equal to everything never meets the expected value. `Counter`, `defaultdict` and `OrderedDict` cross as dicts.
"""

from __future__ import annotations

import collections
from typing import Any

MAX_DEPTH = 40
_SEQUENCES: dict[Any, str] = {list: "l", tuple: "t", set: "S", frozenset: "F"}
_MAKERS: dict[str, Any] = {"l": list, "t": tuple, "S": set, "F": frozenset}
_DICTS = (dict, collections.Counter, collections.defaultdict, collections.OrderedDict)


class BadValue(Exception):
    """The value has no place in the encoding."""


def encode(value: Any, depth: int = 0) -> Any:
    """A value as JSON-ready tagged lists.

    (1, True) -> ["t", [["i", "0x1"], ["b", true]]]

    Raises:
        BadValue: a type outside the exact built-in ones, or nested deeper than MAX_DEPTH.
    """
    kind = type(value)
    if depth > MAX_DEPTH:
        raise BadValue("nested too deep")
    if value is None:
        return ["n"]
    if kind is bool:
        return ["b", value]
    if kind is int:
        # Hexadecimal: decimal text of huge integers takes quadratic time and has a limit.
        return ["i", hex(value)]
    if kind is float:
        return ["f", value.hex()]
    if kind is complex:
        return ["c", value.real.hex(), value.imag.hex()]
    if kind is str:
        return ["s", value]
    if kind is bytes or kind is bytearray:
        return ["B", value.hex()]
    if kind in _SEQUENCES:
        return [_SEQUENCES[kind], [encode(item, depth + 1) for item in value]]
    if kind in _DICTS:
        return ["d", [[encode(k, depth + 1), encode(v, depth + 1)] for k, v in dict.items(value)]]
    raise BadValue(f"a value of type {kind.__name__}")


def decode(tagged: Any, depth: int = 0) -> Any:
    """The value behind tagged lists, made of exact built-in types only.

    Raises:
        BadValue: anything that `encode` does not make.
    """
    if depth > MAX_DEPTH or type(tagged) is not list or not tagged or type(tagged[0]) is not str:
        raise BadValue("not a tagged value")
    try:
        return _decode(tagged[0], tagged[1:], depth)
    except (TypeError, ValueError, KeyError, OverflowError) as e:
        raise BadValue("not a tagged value") from e


def _decode(tag: str, rest: list[Any], depth: int) -> Any:
    if tag == "n" and not rest:
        return None
    if tag == "c":
        real, imaginary = rest
        return complex(float.fromhex(real), float.fromhex(imaginary))
    (body,) = rest
    if tag == "b" and type(body) is bool:
        return body
    if tag == "s" and type(body) is str:
        return body
    if tag == "i":
        return int(body, 16)
    if tag == "f":
        return float.fromhex(body)
    if tag == "B":
        return bytes.fromhex(body)
    if tag == "d":
        return {decode(k, depth + 1): decode(v, depth + 1) for k, v in body}
    if type(body) is not list:
        raise BadValue("not a tagged value")
    return _MAKERS[tag](decode(item, depth + 1) for item in body)
