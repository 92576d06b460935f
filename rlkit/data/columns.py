"""What a mapping makes of a row, and how it reads the row's columns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rlkit.data.read import type_name
from rlkit.data.rows import RowError

Columns = Mapping[str, Any]


@dataclass(frozen=True)
class Draft:
    """What a mapping finds in a row; what a row lacks is None."""

    prompt: str
    kind: str = "math"
    reference: Any = None
    response: str | None = None
    id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def column(row: Columns, name: str, *, required: bool = True) -> Any:
    """The column's value; "a.b" is column "a.b" or key "b" of column "a".

    Raises:
        RowError: the column is missing and required.
    """
    if name in row:
        return row[name]
    head, _, rest = name.partition(".")
    if rest and isinstance(row.get(head), Mapping):
        return column(row[head], rest, required=required)
    if required:
        raise RowError(f'no column "{name}"; the row has {", ".join(sorted(row)) or "none"}')
    return None


def text_of(row: Columns, name: str) -> str:
    """The column's text, not empty."""
    value = column(row, name)
    if value is None:
        raise RowError(f"no {name} (the column is null)")
    if not isinstance(value, str):
        raise RowError(f"column {name} holds {type_name(value)} where text is expected")
    if not value.strip():
        raise RowError(f"empty {name}")
    return value


def gold_text(value: Any, name: str = "reference") -> str:
    """A gold answer as text: 145.0 -> "145".

    Raises:
        RowError: it is empty, null, or neither text nor a finite number.
    """
    if value is None:
        raise RowError(f"no {name} (the column is null)")
    # JSON writers turn 145 into 145.0; the gold answer is the number, not its spelling.
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise RowError(
            f"the {name} is {value if isinstance(value, (bool, float)) else type_name(value)}, not an answer"
        )
    if not value.strip():
        raise RowError(f"empty {name}")
    return value.strip()


def id_of(value: Any, *, required: bool = False) -> str | None:
    """An id as text; None where there is none.

    Raises:
        RowError: there is none and it is required.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        if required:
            raise RowError(f"the id is {type_name(value)}, not text or a number")
        return None
    return str(value)
