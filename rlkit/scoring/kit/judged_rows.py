"""Judges JSON-lines files row by row. A bad row gets the verdict "unscored"; the other rows are still judged."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rlkit.errors import DataError, RlkitError, UsageError

Row = dict[str, Any]
Failed = list[tuple[int, Row]]
"""(line number, output row) of each row that could not be judged."""
_LINES_SHOWN = 5
_Given = TypeVar("_Given")
_Found = TypeVar("_Found")


def read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """(line number, row) of every line that is not blank.

    Raises:
        DataError: the file cannot be read, or a line is no JSON object.
    """
    for number, row in read_lines(path):
        if isinstance(row, str):
            raise DataError(f"{path}:{number}: {row}")
        yield number, row


def read_lines(path: Path) -> Iterator[tuple[int, Row | str]]:
    """(line number, row) of every line that is not blank; for a line that is no valid row, the error text as the row.

    Raises:
        DataError: the file cannot be read.
    """
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise DataError(f"{path}: is not a regular file; rlkit reads it twice, so save its content to a file first")
    try:
        lines = path.open("rb")
    except OSError as e:
        raise DataError(f"{path}: cannot be read ({e.strerror})") from e
    with lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, _row(line)


def _row(line: bytes) -> Row | str:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as e:
        return f"not JSON ({e.msg} at column {e.colno})"
    except UnicodeDecodeError as e:
        return f"not UTF-8 (byte {e.start + 1} of the line)"
    except (ValueError, RecursionError) as e:
        return f"not JSON ({e})"
    if not isinstance(row, dict):
        return "not a JSON object"
    try:
        json.dumps(row.get("id"), allow_nan=False)
    except ValueError:
        return "id holds NaN or an infinite number, which JSON cannot represent"
    return row


def map_in_order(work: Callable[[_Given], _Found], rows: Iterable[_Given], workers: int) -> Iterator[_Found]:
    """work(row) for each row, in order, with a bounded number of rows in memory."""
    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future[_Found]] = deque()
    try:
        for row in rows:
            waiting.append(pool.submit(work, row))
            if len(waiting) >= 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # After an error or Ctrl-C, rows that have not been started are not judged.
        pool.shutdown(cancel_futures=True)


def check_files(source: Path, out: Path) -> None:
    """Checks that the output does not overwrite the input.

    Raises:
        UsageError: both are the same file.
    """
    if os.path.exists(source) and os.path.exists(out) and source.samefile(out):
        raise UsageError(f"--output {out} is the input file: choose another output file")


@dataclass(frozen=True)
class RowJudge:
    """How a subcommand of `rlkit verify` judges a row."""

    fault: Callable[[Row], str]
    """The reason why a row cannot be judged; "" if it can."""
    judge: Callable[[Row], Row]
    """Output row for an input row."""
    unscored: Callable[[Row, str], Row]
    """Output row for a row that cannot be judged, with the reason."""
    failed: Callable[[Row], bool]
    """Whether an output row means that the row could not be judged."""

    def judge_line(self, numbered: tuple[int, Row | str]) -> tuple[int, Row, bool]:
        """(line number, output row, whether the row could not be judged)."""
        number, row = numbered
        fault = row if isinstance(row, str) else self.fault(row)
        row = {} if isinstance(row, str) else row
        if fault:
            return number, self.unscored(row, fault), True
        try:
            judged = self.judge(row)
        # Rows hold text from models and from unknown sources; one that breaks the judge must not stop the others.
        except Exception as e:
            return number, self.unscored(row, f"the judge failed ({type(e).__name__}: {e})"), True
        return number, judged, self.failed(judged)


def check_file(source: Path, out: Path, fault: Callable[[Row], str]) -> None:
    """Checks every row before the judging starts, and prints which rows cannot be judged.

    Raises:
        DataError: the input cannot be read, or holds no rows.
        UsageError: the output would overwrite the input.
    """
    check_files(source, out)
    total = 0
    faulty: list[int] = []
    for number, row in read_lines(source):
        total += 1
        if isinstance(row, str) or fault(row):
            faulty.append(number)
    if not total:
        raise DataError(f"{source}: holds no rows")
    if faulty:
        print(f"{len(faulty)} of {total} rows cannot be judged ({_lines(faulty)}); judging the others", file=sys.stderr)


def judge_file(source: Path, out: Path, judge: RowJudge, workers: int) -> tuple[Counter[str], Failed]:
    """Judges each row of `source` and writes the result to `out`, in order.

    A row that cannot be judged gets the verdict "unscored"; the other rows are still judged.

    Returns:
        (count of each verdict, rows that could not be judged).

    Raises:
        RlkitError: the output cannot be written.
    """
    counts: Counter[str] = Counter()
    failed: Failed = []
    try:
        with out.open("w", encoding="utf-8") as file:
            for number, judged, has_failed in map_in_order(judge.judge_line, read_lines(source), workers):
                file.write(json.dumps(judged) + "\n")
                counts[judged["verdict"]] += 1
                failed += [(number, judged)] if has_failed else []
    except OSError as e:
        raise RlkitError(f"{out}: cannot be written ({e.strerror})") from e
    return counts, failed


def raise_if_failed(source: Path, total: int, failed: Failed) -> None:
    """Raises if some rows could not be judged.

    Raises:
        RlkitError: with the number of such rows, their lines, and the reason for the first.
    """
    if not failed:
        return
    number, first = failed[0]
    name = f"line {number}" if first["id"] is None else f"{first['id']}"
    raise RlkitError(
        f"{source}: {len(failed)} of {total} rows could not be judged and are unscored "
        f"({_lines([number for number, _ in failed])}); the first, {name}: {first['detail']}"
    )


def _lines(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:_LINES_SHOWN]))
    more = len(numbers) - _LINES_SHOWN
    return f"line{'s' if len(numbers) > 1 else ''} {shown}" + (f" and {more} more" if more > 0 else "")
