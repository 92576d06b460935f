"""A row as it was read, and what becomes of one that cannot be used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rlkit.errors import DataError, nearest

OnBadRow = Literal["stop", "skip"]


@dataclass(frozen=True)
class Row:
    """One row of a source, before any mapping."""

    where: str
    """"path:line" (of a Parquet file or a data set "path:row N"), for messages."""
    key: str
    """Stable name within the source, free of the folder it lies in: "train.jsonl:17"."""
    columns: Mapping[str, Any]
    """By column name."""


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used."""

    where: str
    """"path:line"."""
    reason: str
    """Half a sentence: what is wrong with it."""


class RowError(Exception):
    """The reason why a row cannot be used, raised where it is found; never leaves `rlkit.data`."""


@dataclass
class BadRows:
    """Stops at the first bad row, or lists them, as `data.on_bad_row` says."""

    on_bad_row: OnBadRow
    listed: list[BadRow] = field(default_factory=list)

    def add(self, bad: BadRow) -> None:
        """Lists `bad`.

        Raises:
            DataError: on_bad_row is "stop".
        """
        if self.on_bad_row == "stop":
            raise DataError(f"{bad.where}: {bad.reason}; fix the row or set data.on_bad_row: skip")
        self.listed.append(bad)


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """' (did you mean "x"?)' with the nearest known name, or '' where none is near."""
    near = nearest(given, known, cutoff=0.5)
    return f' (did you mean "{near}"?)' if near else ""


def some(names: Iterable[Any], limit: int = 8) -> str:
    """The first few names for a message: "a, b, c and 12 more"."""
    texts = [str(name) for name in names]
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return (", ".join(texts[:limit]) + more) if texts else "none"
