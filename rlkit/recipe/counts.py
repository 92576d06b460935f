"""How many tasks a recipe's data holds, where that can be told in an instant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from rlkit.recipe.schema import Data, Source

MAX_BYTES = 2**30
"""Files above this size are not counted."""


def count_tasks(data: Data, builtin_rows: Mapping[str, int]) -> int | None:
    """Rows of all sources, or None where counting them means reading more than lines of JSON.

    Args:
        data: The recipe's section.
        builtin_rows: Rows of a built-in source that does not say `?rows=N`, by split.
    """
    counts = [_count(source, builtin_rows) for source in data.all_sources()]
    return None if any(n is None for n in counts) else sum(n for n in counts if n is not None)


def _count(source: Source, builtin_rows: Mapping[str, int]) -> int | None:
    if source.filter is not None:
        return None
    if source.path.startswith("builtin:"):
        given = re.search(r"[?&]rows=(\d+)", source.path)
        rows = int(given[1]) if given else builtin_rows.get(source.split)
    else:
        rows = _count_lines(Path(source.path))
    return min(rows, source.max_rows) if rows is not None and source.max_rows is not None else rows


def _count_lines(path: Path) -> int | None:
    if path.suffix != ".jsonl" or not path.is_file() or path.stat().st_size > MAX_BYTES:
        return None
    with path.open("rb") as f:
        return sum(1 for line in f if not line.isspace())
