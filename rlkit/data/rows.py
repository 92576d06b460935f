"""A row as it was read, and what becomes of one that cannot be used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, TypeVar

from rlkit.errors import DataError, nearest

OnBadRow = Literal["stop", "skip"]
T = TypeVar("T")


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
    remedy: str = ""
    """Half a sentence: what mends all rows like it at once, where something does."""

    @property
    def sentence(self) -> str:
        """What is wrong, where, and what mends it."""
        return f"{self.where}: {self.reason}" + (f"; {self.remedy}" if self.remedy else "")


class RowError(Exception):
    """The reason why a row cannot be used, raised where it is found; a judge of a single row catches it."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        """Takes both as BadRow does."""
        super().__init__(reason)
        self.remedy = remedy


MOST = 0.9
"""From this share of bad rows on, leaving them out leaves too little: the recipe is wrong, not the rows."""
LOOK_AHEAD = 1000
"""Rows that are read after the first bad one, to tell whether it is alone."""


@dataclass
class BadRows:
    """Bad rows of one section of the recipe: stops at the first one, or lists them, as its `on_bad_row` says."""

    on_bad_row: OnBadRow
    key: str = "data.on_bad_row"
    """What says so in the recipe."""
    listed: list[BadRow] = field(default_factory=list)

    def sift(self, rows: Iterable[T | BadRow], source: str) -> Iterator[T]:
        """The usable ones of `rows`.

        Args:
            source: what they are rows of, for messages.
        Raises:
            DataError: one is bad and on_bad_row is "stop"; or none is usable.
        """
        every, num_good, num_bad, first = iter(rows), 0, 0, None
        for row in every:
            if not isinstance(row, BadRow):
                num_good += 1
                yield row
                continue
            first, num_bad = first or row, num_bad + 1
            if self.on_bad_row == "stop":
                ahead = [isinstance(other, BadRow) for other in islice(every, LOOK_AHEAD)]
                raise self._stopped(row, 1 + sum(ahead), num_good + 1 + len(ahead))
            self.listed.append(row)
        if first is None and not num_good:
            raise DataError(f"{source}: empty, it has no rows")
        if first is not None and not num_good:
            raise DataError(f"{source}: none of its {num_bad} rows can be used; the first: {first.sentence}")

    def _stopped(self, bad: BadRow, num_bad: int, num_rows: int) -> DataError:
        if num_bad < MOST * num_rows:
            return DataError(f"{bad.where}: {bad.reason}; fix the row or set {self.key}: skip")
        share = f" ({num_bad} of the {num_rows} rows read so far cannot be used)" if num_rows > 1 else ""
        return DataError(f"{bad.sentence}{share}")


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """' (did you mean "x"?)' with the nearest known name, or '' where none is near."""
    near = nearest(given, known, cutoff=0.5)
    return f' (did you mean "{near}"?)' if near else ""


def some(names: Iterable[Any], limit: int = 8) -> str:
    """The first few names for a message: "a, b, c and 12 more"."""
    texts = [str(name) for name in names]
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return (", ".join(texts[:limit]) + more) if texts else "none"
