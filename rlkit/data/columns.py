"""The result of mapping a row, and helpers that read its columns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rlkit.data.read_rows import type_name
from rlkit.data.rows import RowError, did_you_mean, some

Columns = Mapping[str, Any]


@dataclass(frozen=True)
class RowDraft:
    """The result of mapping a row; parts that the row lacks are None."""

    prompt: str
    kind: str | None = None
    """None: the source's kind, or inferred from reference and choices."""
    reference: Any = None
    response: str | None = None
    id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Mapping[str, Any], ...] = ()


class RowColumns(Columns):
    """A row's columns. Records which ones a mapping reads; the others become the task's metadata."""

    def __init__(self, columns: Columns) -> None:
        self.all = columns
        """The row itself; reading from it is not recorded."""
        self._read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        value = self.all[name]
        self._read.add(name)
        return value

    def __contains__(self, name: object) -> bool:
        return name in self.all

    def __iter__(self) -> Iterator[str]:
        return iter(self.all)

    def __len__(self) -> int:
        return len(self.all)

    @property
    def unread(self) -> dict[str, Any]:
        """The columns that were not read; an object in the column "metadata" is replaced by its keys."""
        rest = {name: value for name, value in self.all.items() if name not in self._read}
        nested = rest.pop("metadata") if isinstance(rest.get("metadata"), Mapping) else {}
        return {**nested, **rest}


def beside(row: Columns, name: str) -> Any:
    """The column's value without recording the read, so that it stays in the metadata; None if there is no column."""
    return (row.all if isinstance(row, RowColumns) else row).get(name)


def column(row: Columns, name: str, *, required: bool = True) -> Any:
    """The column's value; "a.b" is column "a.b" or key "b" of column "a", "a.0" the first item of column "a".

    Reading a part of a column is not recorded.

    Raises:
        RowError: the column is missing and required.
    """
    if name in row:
        return row[name]
    head, _, rest = name.partition(".")
    while rest:
        if head in row:
            found, value = _inside(beside(row, head), rest)
            if found:
                return value
        step, _, rest = rest.partition(".")
        head = f"{head}.{step}"
    if required:
        raise RowError(f'no column "{name}"; the row has {some(sorted(row), 20)}{did_you_mean(name, row)}')
    return None


def _inside(value: Any, path: str) -> tuple[bool, Any]:
    """(whether it exists, the value) at a dotted path into lists, objects and their JSON texts."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        try:
            value = json.loads(value)  # CSV cells hold lists and objects as JSON text
        except ValueError:
            return False, None
    if isinstance(value, Mapping) and path in value:
        return True, value[path]
    step, _, rest = path.partition(".")
    if isinstance(value, Mapping) and step in value:
        value = value[step]
    elif isinstance(value, list) and step.removeprefix("-").isdecimal() and -len(value) <= int(step) < len(value):
        value = value[int(step)]
    else:
        return False, None
    return _inside(value, rest) if rest else (True, value)


def text_of(row: Columns, name: str) -> str:
    """The column's text, not empty."""
    return filled(column(row, name), name)


def filled(value: Any, name: str) -> str:
    """The column's value; raises RowError unless it is a text that is not blank."""
    if value is None:
        raise RowError(f"no {name} (the column is null)")
    if not isinstance(value, str):
        raise RowError(f"column {name} holds {type_name(value)} where text is expected")
    if not value.strip():
        raise RowError(f"empty {name}")
    return value


def id_of(value: Any, *, required: bool = False) -> str | None:
    """An id as text; None if the value is not a valid id.

    Raises:
        RowError: the value is not a valid id and one is required.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        if required:
            raise RowError(f"the id is {type_name(value)}, not text or a number")
        return None
    return str(value)
