"""Python values as tagged JSON, the only form in which candidate and judge exchange them. Standard library only.

A number, a text, true, false and null stand for themselves; everything else is a list that begins with a tag:
(1, {2.5}) -> ["t", 1, ["S", 2.5]]. Only exact built-in types cross: an instance of a subclass of int, str, list or
dict does not, so an object that claims to be equal to everything is never compared with the expected value. numpy's
numbers and arrays, where the recipe allows numpy, cross as plain numbers and lists.

Both sides count: a value has at most MAX_NODES parts in MAX_DEPTH levels, and a frame MAX_BYTES. The candidate's side
counts because lists that share their parts could grow exponentially; the judge's side counts because the candidate can
write any frame itself.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 100
MAX_NODES = 500_000
MAX_BYTES = 4 << 20
_SMALL = 1 << 53
"""Integers below it stand for themselves in JSON."""
_MAX_NUMBER_CHARS = 40
"""Characters of a number in JSON; a float has at most 24."""
_ITEMS: dict[Any, str] = {list: "l", tuple: "t", set: "S", frozenset: "F", deque: "q"}
"""The tag of each type that holds items."""
_PAIRS: dict[Any, str] = {dict: "d", defaultdict: "d", Counter: "C", OrderedDict: "O"}
"""The tag of each type that holds keys and values."""
_MAKE_ITEMS: dict[str, Any] = {"l": list, "t": tuple, "S": set, "F": frozenset, "q": deque}
_MAKE_PAIRS: dict[str, Any] = {"d": dict, "C": Counter, "O": OrderedDict}
_NUMBERS = ("int", "uint", "float", "complex", "longlong", "ulonglong")
"""numpy's types of numbers, without their sizes."""
_NUMPY = ("ndarray", "bool", "bool_")
"""numpy's types that cross as plain values, by name, since numpy is not imported here."""

Tree = Any
"""A value in the form above: None, bool, small int, float, str, or a tagged list of trees."""


class BadValue(Exception):
    """The value cannot be encoded, or the text is no encoded value."""


def encode(value: Any, keep: Callable[[Any], Tree] | None = None) -> Tree:
    """A value as a tree.

    Args:
        keep: gives the tree that stands for an object of any other type; None: there must be no such object.

    Raises:
        BadValue: such an object, or a value that is nested too deep or too large.
    """
    return _Encoder(keep).encode(value, 0)


class _Encoder:
    """Encodes one value and counts its parts."""

    def __init__(self, keep: Callable[[Any], Tree] | None) -> None:
        self._keep = keep
        self._nodes = 0
        self._chars = 0

    def encode(self, value: Any, depth: int) -> Tree:
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES or self._chars > MAX_BYTES:
            raise BadValue("a value nested too deep" if depth > MAX_DEPTH else "a value that is too large")
        kind = type(value)
        if value is None or kind is bool or kind is float:
            return value
        if kind is int:
            # Hexadecimal: decimal text of huge integers takes quadratic time and has a limit.
            return value if -_SMALL < value < _SMALL else ["i", self._text(hex(value))]
        if kind is str:
            return self._text(value)
        if kind in _ITEMS:
            return [_ITEMS[kind], *[self.encode(item, depth + 1) for item in value]]
        if kind in _PAIRS:
            pairs = [self.encode(part, depth + 1) for pair in dict.items(value) for part in pair]
            return [_PAIRS[kind], *pairs]
        return self._rare(kind, value, depth)

    def _rare(self, kind: type, value: Any, depth: int) -> Tree:
        """A value of a type that is neither a number, a text nor a container."""
        if kind is bytes or kind is bytearray:
            return ["B", self._text(value.hex())]
        if kind is complex:
            return ["c", value.real, value.imag]
        if kind is range:
            return ["r", *[self.encode(part, depth + 1) for part in (value.start, value.stop, value.step)]]
        name = getattr(kind, "__name__", "?")
        if getattr(kind, "__module__", "") == "numpy" and (name in _NUMPY or name.rstrip("0123456789") in _NUMBERS):
            return self.encode(value.tolist(), depth)
        if self._keep is not None:
            return self._keep(value)
        raise BadValue(f"a value of type {name}")

    def _text(self, text: str) -> str:
        self._chars += len(text)
        return text


def decode(tree: Tree, find: Callable[[Tree], Any] | None = None) -> Any:
    """The value behind a tree, made of exact built-in types only.

    A set or a dict of a hostile program's integers may take quadratic time to build: decode what a candidate wrote
    only inside a sandbox.

    Args:
        find: the object behind a tree whose tag is not one of ours.

    Raises:
        BadValue: anything that `encode` does not make.
    """
    try:
        return _decode(tree, find)
    except (TypeError, ValueError, KeyError, OverflowError, RecursionError) as e:
        raise BadValue("not a value") from e


def _decode(tree: Tree, find: Callable[[Tree], Any] | None) -> Any:
    """As `decode`; errors of a malformed tree are not yet BadValue."""
    if type(tree) is not list:
        if type(tree) is dict:
            raise BadValue("not a value")
        return tree
    tag, body = tree[0] if tree else None, tree[1:]
    if tag in _MAKE_ITEMS:
        return _MAKE_ITEMS[tag]([_decode(item, find) for item in body])
    if tag in _MAKE_PAIRS:
        parts = [_decode(part, find) for part in body]
        return _MAKE_PAIRS[tag](dict(zip(parts[::2], parts[1::2], strict=True)))
    if tag == "i":
        return integer(*body)
    if tag == "B":
        return bytes.fromhex(*body)
    if tag == "c":
        return complex(*body)
    if tag == "r":
        return range(*[_decode(part, find) for part in body])
    if find is None:
        raise BadValue("not a value")
    return find(tree)


def integer(digits: str) -> int:
    """A large integer from its hexadecimal text, in linear time.

    Raises:
        TypeError, ValueError: it is none.
    """
    return int(digits, 16)


def write_frame(message: dict[str, Any]) -> bytes:
    """A message as the bytes of one frame: ASCII, so that no text in it can be refused."""
    return json.dumps(message, separators=(",", ":")).encode("ascii")


def read_frame(frame: bytes) -> dict[str, Any]:
    """The message in a frame that anyone may have written, in time and memory bounded by its length.

    Raises:
        BadValue: it is too large, or no JSON object.
    """
    if len(frame) > MAX_BYTES or frame.count(b",") + frame.count(b"[") > 2 * MAX_NODES:
        raise BadValue("a message that is too large")
    try:
        message = json.loads(frame.decode("ascii"), parse_int=_number, parse_float=_float)
    except (ValueError, RecursionError) as e:
        raise BadValue("a message that cannot be read") from e
    if type(message) is not dict:
        raise BadValue("a message that cannot be read")
    return message


def _number(digits: str) -> int:
    # Longer ones have a tag of their own: reading decimal digits takes quadratic time.
    if len(digits) > _MAX_NUMBER_CHARS:
        raise BadValue("a number with too many digits")
    return int(digits)


def _float(digits: str) -> float:
    if len(digits) > _MAX_NUMBER_CHARS:
        raise BadValue("a number with too many digits")
    return float(digits)
