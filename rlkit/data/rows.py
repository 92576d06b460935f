"""Rows as they were read, and the handling of bad rows."""

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
    """"path:line" (for a Parquet file or a data set "path:row N"), for messages."""
    key: str
    """Stable name within the source, without its folder: "train.jsonl:17"."""
    columns: Mapping[str, Any]
    """Values by column name."""


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used."""

    where: str
    """"path:line"."""
    reason: str
    """The problem with the row, as a part of a sentence."""
    remedy: str = ""
    """What fixes all rows with this problem at once, as a part of a sentence; empty if nothing does."""

    @property
    def sentence(self) -> str:
        """Place, problem and remedy."""
        return f"{self.where}: {self.reason}" + (f"; {self.remedy}" if self.remedy else "")


class RowError(Exception):
    """A row cannot be used. Caught where the row's file and line are known, and turned into a BadRow."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        """See BadRow for the arguments."""
        super().__init__(reason)
        self.remedy = remedy


MAX_BAD_SHARE = 0.9
"""From this share of bad rows on, the error suggests a change of the recipe instead of a fix of the row."""
LOOK_AHEAD = 1000
"""Number of rows that are read after the first bad one to estimate the share of bad rows."""


@dataclass
class BadRows:
    """Handles the bad rows of one section of the recipe: stops at the first one, or lists them (`on_bad_row`)."""

    on_bad_row: OnBadRow
    key: str = "data.on_bad_row"
    """The recipe's key for it, for messages."""
    listed: list[BadRow] = field(default_factory=list)

    def sift(self, rows: Iterable[T | BadRow], source: str) -> Iterator[T]:
        """Yields the usable rows.

        Args:
            source: name of their source, for messages.
        Raises:
            DataError: a row is bad and on_bad_row is "stop", or no row is usable.
        """
        remaining, num_good, num_bad, first = iter(rows), 0, 0, None
        for row in remaining:
            if not isinstance(row, BadRow):
                num_good += 1
                yield row
                continue
            first, num_bad = first or row, num_bad + 1
            if self.on_bad_row == "stop":
                ahead = [isinstance(other, BadRow) for other in islice(remaining, LOOK_AHEAD)]
                raise self._stop_error(row, 1 + sum(ahead), num_good + 1 + len(ahead))
            self.listed.append(row)
        if first is None and not num_good:
            raise DataError(f"{source}: it is empty and has no rows")
        if first is not None and not num_good:
            raise DataError(f"{source}: none of its {num_bad} rows can be used; the first: {first.sentence}")

    def _stop_error(self, bad: BadRow, num_bad: int, num_rows: int) -> DataError:
        if num_bad < MAX_BAD_SHARE * num_rows:
            return DataError(f"{bad.where}: {bad.reason}; fix the row or set {self.key}: skip")
        share = f" ({num_bad} of the {num_rows} rows read so far cannot be used)" if num_rows > 1 else ""
        return DataError(f"{bad.sentence}{share}")


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """' (did you mean "x"?)' with the most similar known name, or '' if none is similar."""
    near = nearest(given, known, cutoff=0.5)
    return f' (did you mean "{near}"?)' if near else ""


def some(names: Iterable[Any], limit: int = 8) -> str:
    """The first few names for a message: "a, b, c and 12 more"."""
    texts = [str(name) for name in names]
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return (", ".join(texts[:limit]) + more) if texts else "none"
