"""The sources of a recipe: their keys, the prefixes of their ids, opening and filtering."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rlkit.data.builtin import read_builtin
from rlkit.data.hub import HUB_NAME, read_hub
from rlkit.data.read_rows import ending_of, read_path
from rlkit.data.rows import BadRow, Row, did_you_mean, some
from rlkit.errors import DataError
from rlkit.recipe.schema import FilterKeys, RowsKeys, SourceKeys


def places_of(data: RowsKeys, key: str) -> list[str]:
    """The recipe key of each source in the section `key`: "data", or "data.sources.0", ..."""
    return [key] if data.sources is None else [f"{key}.sources.{i}" for i in range(len(data.sources))]


def labels_of(sources: Sequence[SourceKeys]) -> list[str]:
    """The prefix of each source's ids: the path's last part, so that moving the folder changes no id.

    It is the whole path if two sources have the same last part.
    """
    names = {s.path: Path(s.path).name or s.path for s in sources}
    counts = Counter(names.values())
    # "builtin:x" has no folder that could move.
    return [s.path if counts[names[s.path]] > 1 or s.path.startswith("builtin:") else names[s.path] for s in sources]


def open_source(source: SourceKeys, label: str, seed: int) -> Iterator[Row | BadRow]:
    """Opens a source, whose path is a built-in name, a path on disk, or a Hub name."""
    if source.path.startswith("builtin:"):
        return read_builtin(source.path, source.split, seed)
    path = Path(source.path)
    # A path on disk takes precedence over a Hub name with the same spelling.
    if path.exists():
        return read_path(path, source.split, label)
    if ending_of(path) is None and HUB_NAME.fullmatch(source.path):
        return read_hub(source.path, source.split, label)
    # The text cannot be a Hub name, so the user meant a path: suggest a file beside it.
    siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    folder = "" if path.parent.is_dir() else f"; folder {path.parent} does not exist either"
    raise DataError(f"{source.path}: no such file or folder{did_you_mean(path.name, siblings)}{folder}")


class Filtered(Protocol):
    """A task or a demonstration."""

    @property
    def kind(self) -> str:
        """Its task kind."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Contains its domain and difficulty."""


R = TypeVar("R", bound=Filtered)


def filtered(items: list[R], source: SourceKeys, place: str) -> list[R]:
    """The items that the source's filter keeps.

    Args:
        place: key of the source in the recipe, for the message.
    Raises:
        DataError: it keeps none; the message lists the existing values.
    """
    left = items
    for name in FilterKeys.model_fields:
        wanted = getattr(source.filter, name, None)
        if wanted is None:
            continue
        keys = {_filter_key(w) for w in wanted}
        kept = [item for item in left if _filter_key(_value(item, name)) in keys]
        if not kept:
            known = sorted({str(_value(item, name)) for item in left if _value(item, name) is not None})
            raise DataError(
                f"{source.path}: {place}.filter.{name} {some(wanted)} keeps none of {len(left)} rows"
                f"{did_you_mean(str(next(iter(wanted), '')), known)}; existing values: {some(known)}"
            )
        left = kept
    return left


def _value(item: Filtered, name: str) -> Any:
    return item.kind if name == "kind" else item.metadata.get(name)


def _filter_key(value: Any) -> Any:
    """A value for comparison, so that the recipe's 3 matches 3.0 and the "3" of a CSV file."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)
