"""Reads rows of files and folders one by one, each with its line number."""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from rlkit.data.rows import BadRow, Row, did_you_mean, some
from rlkit.errors import DataError

TEXT_ENDINGS = (".jsonl", ".json", ".csv")
ENDINGS = (*TEXT_ENDINGS, *(e + ".gz" for e in TEXT_ENDINGS), ".parquet")
_JSON_LIST = "a .jsonl file has an object on each line; a JSON list needs a name that ends in .json"
SPLIT_NAMES = ("train", "test", "validation", "valid", "val", "dev", "eval", "heldout")


def ending_of(path: Path) -> str | None:
    """The ending of a data file; None if it is not supported."""
    return next((e for e in ENDINGS if path.name.lower().endswith(e)), None)


def read_path(path: Path, split: str, label: str) -> Iterator[Row | BadRow]:
    """Yields the rows of an existing file or folder, with a BadRow for each unreadable one.

    Args:
        path: a data file, a folder of data files, or a folder that `datasets.save_to_disk` wrote.
        split: selects the files of a folder; a single file has no splits.
        label: prefix of the row keys.
    Raises:
        DataError: the whole file cannot be read, or the folder does not have the split.
    """
    if not path.is_dir():
        yield from read_file(path, label)
    elif (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        yield from _read_saved_dataset(path, split, label)
    else:
        for file in _files_of_split(path, split):
            yield from read_file(file, f"{label}/{file.relative_to(path)}")


def read_file(path: Path, label: str) -> Iterator[Row | BadRow]:
    """Rows of one data file, by its ending."""
    ending = ending_of(path)
    if ending is None:
        raise DataError(f"{path}: cannot tell the format; the name must end in one of {', '.join(ENDINGS)}")
    readers = {".jsonl": _read_jsonl, ".json": _read_json, ".csv": _read_csv, ".parquet": _read_parquet}
    try:
        yield from readers[ending.removesuffix(".gz")](path, label)
    except (OSError, EOFError, zlib.error) as e:
        raise DataError(f"{path}: cannot be read ({e}); create or download it again") from e


def _open(path: Path) -> IO[bytes]:
    if path.name.lower().endswith(".gz"):
        return cast(IO[bytes], gzip.open(path, "rb"))
    return path.open("rb")


def _lines(path: Path) -> Iterator[bytes]:
    """Lines as bytes, split only at newlines (str.splitlines would also split at U+2028)."""
    with _open(path) as f:
        for number, line in enumerate(f):
            yield line if number else _without_mark(line, path)


def _without_mark(start: bytes, path: Path) -> bytes:
    """The start of a file without the byte order mark that some editors write before UTF-8."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{path}: UTF-16 or UTF-32, not UTF-8; save the file as UTF-8")
    return start.removeprefix(codecs.BOM_UTF8)


def _read_jsonl(path: Path, label: str) -> Iterator[Row | BadRow]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            value = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as e:
            yield BadRow(where, f"not UTF-8 (byte {e.start + 1} of the line)")
        except json.JSONDecodeError as e:
            if number == 1 and line.strip() == b"[":
                raise DataError(f"{path}: {_JSON_LIST}") from e
            yield BadRow(where, f"invalid JSON ({e.msg} at column {e.colno})")
        except (ValueError, RecursionError) as e:
            yield BadRow(where, f"invalid JSON ({e})")
        else:
            yield _object_row(value, where, f"{label}:{number}")


def _object_row(value: Any, where: str, key: str) -> Row | BadRow:
    if not isinstance(value, dict):
        remedy = _JSON_LIST if isinstance(value, list) else ""
        return BadRow(where, f"a row must be a JSON object, here it is {type_name(value)}", remedy)
    return Row(where, key, value)


def type_name(value: Any) -> str:
    """A JSON value's type in words: "a list", "a number"."""
    names = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list"}
    return "null" if value is None else names.get(type(value), "an object")


def _read_json(path: Path, label: str) -> Iterator[Row | BadRow]:
    with _open(path) as f:
        raw = _without_mark(f.read(), path)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as e:
        line = raw.count(b"\n", 0, e.start) + 1
        raise DataError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from e
    start = _list_start(text, path)
    for number, (value, line) in enumerate(_list_items(text, start, path), start=1):
        yield _object_row(value, f"{path}:{line}", f"{label}:{number}")


def _list_start(text: str, path: Path) -> int:
    """Offset of the list of rows: the file is this list, or an object with exactly one list."""
    start = _skip_space(text, 0)
    if not text[start:] or text[start] == "[":
        return start
    lists = _lists_inside(text, start)
    if len(lists) != 1:
        found = f"has the lists {', '.join(lists)}: keep only the one with the rows" if lists else ""
        raise DataError(
            f"{path}: the file {found or 'is not a list of objects'}; JSON lines need a name that ends in .jsonl"
        )
    return next(iter(lists.values()))


def _lists_inside(text: str, start: int) -> dict[str, int]:
    """By key: the offset of each list in the JSON object at `start`; empty if the object is invalid."""
    decoder, found, position = json.JSONDecoder(), dict[str, int](), start
    try:
        while text[position] in "{,":
            key, position = decoder.raw_decode(text, _skip_space(text, position + 1))
            position = _skip_space(text, _skip_space(text, position) + 1)  # the colon
            found.update({key: position} if text[position] == "[" else {})
            position = _skip_space(text, decoder.raw_decode(text, position)[1])
    except (ValueError, IndexError, RecursionError):
        return {}
    return found if not text[position + 1 :].strip() else {}


def _list_items(text: str, start: int, path: Path) -> Iterator[tuple[Any, int]]:
    """Items of the JSON list at `start`, each with its line, which json.loads does not return."""
    decoder = json.JSONDecoder()
    # Count lines incrementally: counting from the start for each item would take quadratic time.
    position, line, counted = _skip_space(text, start + 1), 1, 0
    while position < len(text) and text[position] != "]":
        line, counted = line + text.count("\n", counted, position), position
        try:
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as e:
            raise DataError(f"{path}:{line}: invalid JSON ({e}); nothing after it can be read") from e
        yield value, line
        position = _skip_space(text, position)
        if position >= len(text) or text[position] not in ",]":
            raise DataError(f"{path}:{line}: invalid JSON (no comma or ] after this item)")
        position = _skip_space(text, position + 1) if text[position] == "," else position


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _read_csv(path: Path, label: str) -> Iterator[Row | BadRow]:
    # Bytes that are not UTF-8 become lone surrogates, so that only their row is bad and not the whole file.
    lines = [line.decode("utf-8", "surrogateescape") for line in _lines(path)]
    if not lines:
        return
    header = next(csv.reader(lines[:1]))
    if len(header) == 1 and (other := next((mark for mark in ";\t|" if mark in header[0]), None)):
        raise DataError(f"{path}:1: the columns are separated by {other!r}, but must be separated by commas")
    if len(set(header)) != len(header):
        raise DataError(f"{path}:1: two columns have the same name ({', '.join(header)})")
    for line, cells in _csv_records(lines):
        where = f"{path}:{line}"
        if isinstance(cells, csv.Error):
            yield BadRow(where, f"invalid CSV ({cells})")
        elif cells:
            yield _csv_row(header, cells, where, f"{label}:{line}")


def _csv_records(lines: list[str]) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """(first line, cells or error) of each record after the header; a quoted cell may span several lines."""
    current = 1
    while current < len(lines):
        reader, begin = csv.reader(lines[current:], strict=True), current
        try:
            for cells in reader:
                yield current + 1, cells
                current = begin + reader.line_num
        except csv.Error as e:
            # An unclosed quote consumes the rest of the file, so restart the reader on the next line.
            yield current + 1, e
            current += 1


def _csv_row(header: list[str], cells: list[str], where: str, key: str) -> Row | BadRow:
    if len(cells) != len(header):
        return BadRow(where, f"{len(cells)} fields where the header has {len(header)}")
    if any("\udc80" <= c <= "\udcff" for cell in cells for c in cell):
        return BadRow(where, "not UTF-8")
    return Row(where, key, dict(zip(header, cells, strict=True)))


def _read_parquet(path: Path, label: str) -> Iterator[Row | BadRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        number = 0
        # Read in batches: as Python objects, a whole file takes many times its size on disk.
        for batch in file.iter_batches(batch_size=1024):
            for columns in batch.to_pylist():
                number += 1
                yield Row(f"{path}:row {number}", f"{label}:{number}", columns)
    except pa.ArrowException as e:
        raise DataError(f"{path}: not a readable Parquet file ({e})") from e


def _read_saved_dataset(path: Path, split: str, label: str) -> Iterator[Row]:
    where, splits = str(path), path / "dataset_dict.json"
    if splits.exists():
        known = json.loads(splits.read_text(encoding="utf-8"))["splits"]
        if split not in known:
            raise DataError(f'{path}: no split "{split}"{did_you_mean(split, known)}; it has {some(sorted(known))}')
        path, label = path / split, f"{label}/{split}"
    import datasets  # takes seconds

    yield from dataset_rows(datasets.load_from_disk(str(path)), where, label)


def dataset_rows(dataset: Any, where: str, label: str) -> Iterator[Row]:
    """Rows of a `datasets.Dataset`."""
    for number, columns in enumerate(dataset, start=1):
        yield Row(f"{where}:row {number}", f"{label}:{number}", columns)


def _files_of_split(folder: Path, split: str) -> list[Path]:
    files = [
        f
        for f in sorted(folder.rglob("*"))
        if f.is_file() and ending_of(f) and not any(p.startswith(".") for p in f.relative_to(folder).parts)
    ]
    if not files:
        raise DataError(f"{folder}: no data files in this folder; they end in {', '.join(ENDINGS)}")
    names = {f: _split_name(f.relative_to(folder), split) for f in files}
    chosen = [f for f in files if names[f] == split]
    # As on the Hub, files whose names contain no split belong to "train".
    if not chosen and split == "train":
        chosen = [f for f in files if names[f] is None]
    if not chosen:
        known = sorted({name or "train" for name in names.values()})
        raise DataError(f'{folder}: no split "{split}"{did_you_mean(split, known)}; it has {some(known)}')
    return chosen


def _split_name(path: Path, wanted: str) -> str | None:
    """The split in a file's path: "train/a.jsonl", "train-00000.parquet", "gsm8k_test.csv"; None if there is none."""
    words = [*path.parent.parts, *path.name.lower().replace("-", ".").replace("_", ".").split(".")]
    return next((name for name in (wanted, *SPLIT_NAMES) if name in words), None)
