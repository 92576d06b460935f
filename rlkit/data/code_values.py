"""Values in the tests of a code task: read from JSON or Python text, written so that JSON carries them."""

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
"""Python reads and writes integers of so many digits; JSON's own functions refuse longer ones."""
_MAX_BYTES = 256 << 20
_JSON_NAMES = {"true": True, "false": False, "null": None, "NaN": math.nan, "Infinity": math.inf}


def parse(text: str) -> Any:
    """The value that JSON text or a Python literal stands for, with integers of any length.

    Raises:
        RowError: it is neither.
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
    """As ast.literal_eval, with JSON's true, false and null among the literals."""

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
    """Sets a value of a test: as it is where JSON carries it, else as a Python literal under NAME_py.

    Raises:
        RowError: neither can hold it.
    """
    if is_json_value(value):
        test[name] = value
    else:
        test[f"{name}_py"] = _written(value)


def _written(value: Any) -> str:
    if isinstance(value, bool) or value is None or isinstance(value, str | bytes | complex):
        return repr(value)
    if isinstance(value, int):
        # Decimal digits of a long integer can neither be written nor read.
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

    [2, [3]] is all arguments in order, {"x": 2} all by name; text has an argument a line, or "x = 2, y = [3]".

    Raises:
        RowError: it cannot be read.
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
    """{"1": x} as {1: x}, which JSON cannot hold; every other value as it is."""
    if isinstance(value, dict) and value and all(isinstance(k, str) and k.isdecimal() for k in value):
        return {int(key): item for key, item in value.items()}
    return value


def text_of_lines(value: Any) -> str:
    """Text of a script's input or output: as it is, a number's, or that of a list of lines.

    ["1 2", "3"] -> "1 2\\n3\\n"

    Raises:
        RowError: it is anything else.
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
    """Reads texts, numbers, lists and dicts only: any other object would be code."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"holds a {module}.{name}")


def decompressed(text: str) -> str:
    """LiveCodeBench's private tests: JSON in a pickle, compressed, in base 64.

    Raises:
        RowError: it is something else.
    """
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(base64.b64decode(text, validate=True), _MAX_BYTES)
        found = _Texts(io.BytesIO(data)).load()
    except Exception as e:  # whatever a broken pickle leads to
        raise RowError(f"private_test_cases cannot be read ({type(e).__name__}: {e})") from e
    if not isinstance(found, str) or unpacker.unconsumed_tail:
        raise RowError("private_test_cases cannot be read")
    return found
