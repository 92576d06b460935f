"""Values in the tests of a code task: parses JSON or Python text, and writes values so that JSON can hold them."""

from __future__ import annotations

import ast
import base64
import io
import json
import math
import pickle
import zlib
from collections.abc import Mapping
from typing import Any

from rlkit.data.cases import is_json_value
from rlkit.data.rows import RowError

_SHORT_DIGITS = 4000
"""Python limits conversions between integers and text to about this many digits; longer ones are split."""
_MAX_BYTES = 256 << 20
_JSON_NAMES = {"true": True, "false": False, "null": None, "NaN": math.nan, "Infinity": math.inf}


def parse(text: str) -> Any:
    """Parses JSON or a Python literal, with integers of any length.

    Raises:
        RowError: the text is neither.
    """
    try:
        return json.loads(text, parse_int=_integer)
    except (ValueError, RecursionError) as e:
        problem = e
    try:
        return _literal(ast.parse(text.strip(), mode="eval").body)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise RowError(f"{text.strip()[:60]!r} is neither JSON nor a Python literal ({problem})") from problem


def _literal(node: ast.expr) -> Any:
    """ast.literal_eval that also accepts JSON's true, false and null."""

    class Named(ast.NodeTransformer):
        def visit_Name(self, name: ast.Name) -> ast.expr:
            return ast.Constant(_JSON_NAMES[name.id]) if name.id in _JSON_NAMES else name

    return ast.literal_eval(Named().visit(node))


def _integer(digits: str) -> int:
    if len(digits) <= _SHORT_DIGITS:
        return int(digits)
    sign, digits = (-1, digits[1:]) if digits.startswith("-") else (1, digits)
    total = 0
    for start in range(0, len(digits), _SHORT_DIGITS):
        part = digits[start : start + _SHORT_DIGITS]
        total = total * 10 ** len(part) + int(part)
    return sign * total


def put(test: dict[str, Any], name: str, value: Any) -> None:
    """Sets a value of a test, directly if JSON can hold it, else as a Python literal under NAME_py.

    Raises:
        RowError: the value has no literal either.
    """
    if is_json_value(value):
        test[name] = value
    else:
        test[f"{name}_py"] = _written(value)


def _written(value: Any) -> str:
    if isinstance(value, bool) or value is None or isinstance(value, str | bytes | complex):
        return repr(value)
    if isinstance(value, int):
        # Python does not convert such a long integer to or from decimal digits, but does to hexadecimal ones.
        return hex(value) if value.bit_length() > 3 * _SHORT_DIGITS else str(value)
    if isinstance(value, float) and not math.isnan(value):
        return repr(value) if math.isfinite(value) else f"{'-' if value < 0 else ''}1e999"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_written(key)}: {_written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple | set) and (value or not isinstance(value, set)):
        items = ", ".join(map(_written, value))
        opening, closing = {list: ("[", "]"), tuple: ("(", ")"), set: ("{", "}")}[type(value)]
        return f"{opening}{items}{',' if isinstance(value, tuple) and len(value) == 1 else ''}{closing}"
    raise RowError(f"a value of a test has no literal: {str(value)[:40]}")


def arguments(given: Any) -> tuple[list[Any], dict[str, Any]]:
    """(args, kwargs) of a call.

    A list contains all arguments in order, an object all by name. Text contains one argument per line, or keyword
    arguments: "x = 2, y = [3]".

    Raises:
        RowError: the arguments cannot be parsed.
    """
    if isinstance(given, Mapping):
        return [], {str(name): value for name, value in given.items()}
    if isinstance(given, list):
        return ([int_keys(given[0]), *given[1:]] if given else []), {}
    if not isinstance(given, str):
        return [given], {}
    try:
        return [parse(line) for line in given.strip().splitlines() if line.strip()], {}
    except RowError as e:
        named = _named(given)
        if named is None:
            raise RowError(f"the arguments cannot be read: {e}") from e
        return [], named


def _named(text: str) -> dict[str, Any] | None:
    """Arguments by name: "nums = [1, 2], target = 3"."""
    try:
        call = ast.parse(f"f({text.strip()})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args or not call.keywords:
            return None
        return {keyword.arg: _literal(keyword.value) for keyword in call.keywords if keyword.arg is not None}
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None


def int_keys(value: Any) -> Any:
    """{"1": x} -> {1: x}, because JSON turns integer keys into text; returns any other value unchanged."""
    if isinstance(value, dict) and value and all(isinstance(k, str) and k.isdecimal() for k in value):
        return {int(key): item for key, item in value.items()}
    return value


def text_of_lines(value: Any) -> str:
    """Text of a script's input or output, which is given as text, a number or a list of lines.

    ["1 2", "3"] -> "1 2\\n3\\n"

    Raises:
        RowError: it is of another type.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(line, str | int | float) for line in value):
        lines = [text_of_lines(line) for line in value]
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise RowError(f"{str(value)[:60]!r} is neither text nor a list of lines")


class _Texts(pickle.Unpickler):
    """Loads only texts, numbers, lists and dicts: unpickling any other object could run code."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"holds a {module}.{name}")


def decompressed(text: str) -> str:
    """Decodes LiveCodeBench's private tests: pickled JSON text, compressed, in base 64.

    Raises:
        RowError: the text has another format.
    """
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(base64.b64decode(text, validate=True), _MAX_BYTES)
        found = _Texts(io.BytesIO(data)).load()
    except Exception as e:  # a broken pickle may raise anything
        raise RowError(f"private_test_cases cannot be read ({type(e).__name__}: {e})") from e
    if not isinstance(found, str) or unpacker.unconsumed_tail:
        raise RowError("private_test_cases cannot be read")
    return found
