"""What a mapping makes of a row, and how it reads the row's columns."""

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
    """What a mapping finds in a row; what a row lacks is None."""

    prompt: str
    kind: str | None = None
    """None: told from the source's kind, or from the reference and the choices."""
    reference: Any = None
    response: str | None = None
    id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Mapping[str, Any], ...] = ()


class RowColumns(Columns):
    """A row's columns, which knows those that a mapping has read; the others become the task's metadata."""

    def __init__(self, columns: Columns) -> None:
        self.all = columns
        """The row itself; what is read there does not count as read."""
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
        """The columns that nothing has read; an object in the column "metadata" stands for its own columns."""
        rest = {name: value for name, value in self.all.items() if name not in self._read}
        nested = rest.pop("metadata") if isinstance(rest.get("metadata"), Mapping) else {}
        return {**nested, **rest}


def beside(row: Columns, name: str) -> Any:
    """The column's value, which stays in the metadata: this does not count as reading it; None where there is none."""
    return (row.all if isinstance(row, RowColumns) else row).get(name)


def column(row: Columns, name: str, *, required: bool = True) -> Any:
    """The column's value; "a.b" is column "a.b" or key "b" of column "a", "a.0" the first item of column "a".

    A column that is read in part does not count as read.

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
    """(whether there is one, the value) at a dotted path into lists, objects and their JSON texts."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        try:
            value = json.loads(value)  # as a cell of a CSV file carries them
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
    """A column's value that must be a text with something in it."""
    if value is None:
        raise RowError(f"no {name} (the column is null)")
    if not isinstance(value, str):
        raise RowError(f"column {name} holds {type_name(value)} where text is expected")
    if not value.strip():
        raise RowError(f"empty {name}")
    return value


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
