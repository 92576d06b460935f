"""Converts the reference column of a row into the reference of a task, by its kind."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from rlkit.data.code_shapes import NESTED, code_reference, looks_like_code
from rlkit.data.read_rows import type_name
from rlkit.data.rows import RowError, some
from rlkit.data.worked import marked

_TESTS = {"mode", "tests", "test_code", "inputs", *NESTED}
YES = {True: ["true", "yes"], False: ["false", "no"]}
"""Accepted answers for a reference of true or false."""


def reference_of(value: Any, kind: str | None) -> Any:
    """The reference in the form of its kind. Without a kind, an object is code and any other value an answer.

    Raises:
        RowError: the value does not fit the kind.
    """
    if kind not in ("math", "exact", "numeric", "choice", "code", None):
        if value is None:
            raise RowError("no reference (the column is null)")
        return value  # a custom judge interprets it
    if kind == "code" or (kind is None and looks_like_code(value)):
        if value is None:
            raise RowError("no reference (the column is null)")
        if kind is None and isinstance(value, Mapping) and not _TESTS & value.keys():
            raise RowError(_no_tests(value))
        return code_reference(value)
    keys = _object(value) if kind in ("math", None) else None
    if keys:
        raise RowError("kind is math, but the reference is an object" if kind == "math" else _no_tests(keys))
    return golds_of(value)


def _no_tests(value: Mapping[str, Any]) -> str:
    return (
        f"the reference is an object with the keys {some(value)}, but none of them contains tests of a program (only a "
        "kind of your own accepts any object)"
    )


def golds_of(value: Any, name: str = "reference") -> Any:
    """The reference answer as text, or several accepted answers as a list of texts.

    Raises:
        RowError: it is empty, null, or not text, a number, true or false, or a list of those.
    """
    if isinstance(value, bool):
        return list(YES[value])
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _listed(value)
    if not isinstance(value, list | tuple):
        return gold_text(value, name)
    if not value:
        raise RowError(f"the {name} is an empty list")
    golds = list(dict.fromkeys(text for item in value for text in _alternatives(item, name)))
    return golds[0] if len(golds) == 1 else golds


def _alternatives(item: Any, name: str) -> list[str]:
    return YES[item] if isinstance(item, bool) else [gold_text(item, name)]


def _listed(text: str) -> Any:
    """The list in a JSON text if all its items are texts, else the text: [1, 2] may be an interval in mathematics."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    texts = isinstance(value, list) and value and all(isinstance(item, str) for item in value)
    return value if texts else text


def gold_text(value: Any, name: str = "reference") -> str:
    """The reference answer as text: 145.0 -> "145", "18 / 2 = 9\\n#### 9" -> "9".

    Raises:
        RowError: it is empty, null, or neither text nor a finite number.
    """
    if value is None:
        raise RowError(f"no {name} (the column is null)")
    # JSON writers turn 145 into 145.0, but the answer is the number, not its spelling.
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        shown = value if isinstance(value, (bool, float)) else type_name(value)
        raise RowError(f"the {name} is {shown}, not an answer")
    if not value.strip():
        raise RowError(f"empty {name}")
    return marked(value) or value.strip()


def _object(value: Any) -> Mapping[str, Any] | None:
    """The value if it is an object or the JSON text of one; else None, since text in braces may also be a set."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, Mapping) else None
