"""Files of JSON lines that are judged row by row: a bad row is unscored in its place and stops no other."""

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
"""Line numbers and judged rows of what could not be judged."""
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
    """(line number, row) of every line that is not blank; what is wrong with it in place of a line that is no row.

    Raises:
        DataError: the file cannot be read.
    """
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise DataError(f"{path}: is no file on the disk; it is read twice, so write what it gives to one first")
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
        return "id holds NaN or an infinite number, which JSON has no word for"
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
        # After an error or Ctrl-C, what has not begun never does.
        pool.shutdown(cancel_futures=True)


def check_files(source: Path, out: Path) -> None:
    """Refuses an output that would overwrite the input.

    Raises:
        UsageError: they are one file.
    """
    if os.path.exists(source) and os.path.exists(out) and source.samefile(out):
        raise UsageError(f"--output {out} is the input: give another file")


@dataclass(frozen=True)
class RowJudge:
    """How one word of `rlkit verify` judges a row."""

    fault: Callable[[Row], str]
    """What is wrong with a row; "" where it can be judged."""
    judge: Callable[[Row], Row]
    """The judged row."""
    unscored: Callable[[Row, str], Row]
    """The judged row of one that cannot be judged, with the reason."""
    failed: Callable[[Row], bool]
    """Whether a judged row says that it could not be judged."""

    def line(self, numbered: tuple[int, Row | str]) -> tuple[int, Row, bool]:
        """(line number, judged row, whether it could not be judged)."""
        number, row = numbered
        fault = row if isinstance(row, str) else self.fault(row)
        row = {} if isinstance(row, str) else row
        if fault:
            return number, self.unscored(row, fault), True
        try:
            judged = self.judge(row)
        # A row holds what a model or a stranger wrote; one that breaks the judge must not stop the others.
        except Exception as e:
            return number, self.unscored(row, f"the judge failed ({type(e).__name__}: {e})"), True
        return number, judged, self.failed(judged)


def check_file(source: Path, out: Path, fault: Callable[[Row], str]) -> None:
    """Says which rows cannot be judged before anything is judged; they are no reason to stop.

    Raises:
        DataError: the input cannot be read, or holds no rows.
        UsageError: the output would overwrite it.
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
        print(f"{len(faulty)} of {total} rows cannot be judged ({_lines(faulty)}); the others are", file=sys.stderr)


def judge_file(source: Path, out: Path, judge: RowJudge, workers: int) -> tuple[Counter[str], Failed]:
    """Judges a file row by row into another: how often each verdict was given, and what could not be judged.

    A row that cannot be judged gets the verdict "unscored" in its place, and the others are judged.

    Raises:
        RlkitError: the output cannot be written.
    """
    counts: Counter[str] = Counter()
    failed: Failed = []
    try:
        with out.open("w", encoding="utf-8") as file:
            for number, judged, has_failed in map_in_order(judge.line, read_lines(source), workers):
                file.write(json.dumps(judged) + "\n")
                counts[judged["verdict"]] += 1
                failed += [(number, judged)] if has_failed else []
    except OSError as e:
        raise RlkitError(f"{out}: cannot be written ({e.strerror})") from e
    return counts, failed


def refuse_failed(source: Path, total: int, failed: Failed) -> None:
    """Ends a command whose rows could not all be judged.

    Raises:
        RlkitError: there are such rows; it says how many, which, and what is wrong with the first.
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
