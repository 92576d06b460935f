"""Sources -> tasks and demonstrations, with every unusable row named.

Source -> Row -> Draft -> Task | Demonstration | BadRow
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

from rlkit.data.builtin import read_builtin
from rlkit.data.columns import Columns, Draft
from rlkit.data.hub import HUB_NAME, read_hub
from rlkit.data.kinds import check_kind, check_task, with_options
from rlkit.data.mappings import mapping_for
from rlkit.data.read import ending_of, read_path
from rlkit.data.rows import BadRow, BadRows, OnBadRow, Row, RowError, did_you_mean, some
from rlkit.errors import DataError
from rlkit.recipe.schema import Filter, Rows, Source, WeightedSource
from rlkit.recipe.schema.data import TASK_KINDS
from rlkit.records import Task


@dataclass(frozen=True)
class Demonstration:
    """A prompt and the reply to learn from, for SFT."""

    id: str
    """Unique within a load; names the source and the row."""
    prompt: str
    """The user's words, before the prompt template and the chat template."""
    response: str
    """The whole reply, its <think> part included."""
    kind: str = "math"
    """As in a task: which prompt template it gets."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """As in a task."""


@dataclass(frozen=True)
class Mixture:
    """Which source each task is from, and the sources' weights."""

    source_of: Mapping[str, int]
    """By task id, the index of its source."""
    weights: tuple[float, ...]
    """By source, as in the recipe; only their ratios count."""


@dataclass(frozen=True)
class LoadedTasks:
    """What load_tasks found."""

    tasks: tuple[Task, ...]
    """In the sources' order."""
    skipped: tuple[BadRow, ...]
    """Rows that cannot be used; empty where on_bad_row is "stop"."""
    mixture: Mixture
    """For TaskStream."""
    where: Mapping[str, str]
    """By task id, "path:line"."""


@dataclass(frozen=True)
class LoadedDemonstrations:
    """What load_demonstrations found."""

    demonstrations: tuple[Demonstration, ...]
    """In the sources' order."""
    skipped: tuple[BadRow, ...]
    """Rows that cannot be used; empty where on_bad_row is "stop"."""
    mixture: Mixture
    """For TaskStream."""
    where: Mapping[str, str]
    """By demonstration id, "path:line"."""

    def as_tasks(self) -> tuple[Task, ...]:
        """The demonstrations as a TaskStream takes them; ids stay."""
        return tuple(Task(d.id, d.kind, d.prompt, d.response, d.metadata) for d in self.demonstrations)


R = TypeVar("R", Task, Demonstration)


@dataclass
class _Found(Generic[R]):
    items: list[R] = field(default_factory=list)
    where: dict[str, str] = field(default_factory=dict)
    source_of: dict[str, int] = field(default_factory=dict)


Kinds = Collection[str] | None
"""Kinds of task that are judged; None: any."""


def load_tasks(data: Rows, *, seed: int, kinds: Kinds = TASK_KINDS) -> LoadedTasks:
    """Tasks of the recipe's data.

    Args:
        seed: draws the built-in sources' tasks; files are read as they are.
        kinds: a row of another kind is a bad row.
    Raises:
        DataError: a source or (with on_bad_row "stop") a row cannot be used, or nothing is left.
    """
    return load_sources(data.all_sources(), data.on_bad_row, seed=seed, kinds=kinds)


def load_sources(
    sources: Sequence[Source], on_bad_row: OnBadRow, *, seed: int, kinds: Kinds = TASK_KINDS
) -> LoadedTasks:
    """Tasks of any sources, also of the evaluation's; as load_tasks."""
    bad = BadRows(on_bad_row)
    found: _Found[Task] = _load(sources, bad, seed, kinds, _task)
    weights = tuple(s.weight if isinstance(s, WeightedSource) else 1.0 for s in sources)
    mixture = Mixture(found.source_of, weights)
    return LoadedTasks(tuple(found.items), tuple(bad.listed), mixture, found.where)


def load_demonstrations(data: Rows, *, seed: int, kinds: Kinds = TASK_KINDS) -> LoadedDemonstrations:
    """Demonstrations of an SFT stage's data; as load_tasks, and a row without a response is a bad row."""
    bad = BadRows(data.on_bad_row)
    found: _Found[Demonstration] = _load(data.all_sources(), bad, seed, kinds, _demonstration)
    mixture = Mixture(found.source_of, tuple(s.weight for s in data.all_sources()))
    return LoadedDemonstrations(tuple(found.items), tuple(bad.listed), mixture, found.where)


def _load(
    sources: Sequence[Source], bad: BadRows, seed: int, kinds: Kinds, make: Callable[[str, Draft], R]
) -> _Found[R]:
    def make_checked(item_id: str, draft: Draft) -> R:
        return make(item_id, _checked(draft, kinds))

    found: _Found[R] = _Found()
    for index, (source, label) in enumerate(zip(sources, _labels(sources), strict=True)):
        made = list(_make_rows(source, label, seed, bad, make_checked, found.where))
        kept = _filtered([item for item, _ in made], source)
        places = {item.id: where for item, where in made}
        found.items += kept
        found.where.update({item.id: places[item.id] for item in kept})
        found.source_of.update({item.id: index for item in kept})
    return found


def _labels(sources: Sequence[Source]) -> list[str]:
    """What ids begin with: the path's last part, so that a moved folder changes no id, where it tells sources apart."""
    names = {s.path: Path(s.path).name or s.path for s in sources}
    times = Counter(names.values())
    # "builtin:x" and its like have no folder that could move.
    return [s.path if times[names[s.path]] > 1 or s.path.startswith("builtin:") else names[s.path] for s in sources]


def _make_rows(
    source: Source,
    label: str,
    seed: int,
    bad: BadRows,
    make: Callable[[str, Draft], R],
    earlier: Mapping[str, str],
) -> Iterator[tuple[R, str]]:
    """Usable rows of one source, made into tasks or demonstrations, with their places."""
    mapping: Callable[[Columns], Draft] | None = None
    seen: dict[str, str] = {}
    num_read, num_made, first_bad = 0, 0, ""
    # Counted before the filter: max_rows bounds what is read, as its doc says.
    for row in islice(_rows(source, label, seed), source.max_rows):
        num_read += 1
        # The first row that fits a mapping decides for the source; rows of two shapes in one file are a mistake.
        if mapping is None and isinstance(row, Row):
            mapping = mapping_for(source, row.columns)
        made = row if isinstance(row, BadRow) else _make_row(row, mapping, label, make)
        if not isinstance(made, BadRow) and (made.id in seen or made.id in earlier):
            first = seen.get(made.id) or earlier[made.id]
            made = BadRow(row.where, f'duplicate id "{made.id}" (first at {first})')
        if isinstance(made, BadRow):
            first_bad = first_bad or f"{made.where}: {made.reason}"
            bad.add(made)
            continue
        seen[made.id] = row.where
        num_made += 1
        yield made, row.where
    if not num_read:
        raise DataError(f"{source.path}: empty, it has no rows")
    if not num_made:
        raise DataError(f"{source.path}: none of its {num_read} rows can be used; the first: {first_bad}")


def _rows(source: Source, label: str, seed: int) -> Iterator[Row | BadRow]:
    """Opens a source by what its path is: built in, on disk, or a Hub name."""
    if source.path.startswith("builtin:"):
        return read_builtin(source.path, source.split, seed)
    path = Path(source.path)
    # What is on disk wins over a Hub name of the same spelling.
    if path.exists():
        return read_path(path, source.split, label)
    if ending_of(path) is None and HUB_NAME.fullmatch(source.path):
        return read_hub(source.path, source.split, label)
    # A known ending or an odd character: a path was meant, so name what lies beside it.
    siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    folder = "" if path.parent.is_dir() else f"; folder {path.parent} does not exist either"
    raise DataError(f"{source.path}: no such file or folder{did_you_mean(path.name, siblings)}{folder}")


def _make_row(
    row: Row, mapping: Callable[[Columns], Draft] | None, label: str, make: Callable[[str, Draft], R]
) -> R | BadRow:
    try:
        if mapping is None:
            raise RowError(
                f"cannot tell what the columns {some(sorted(row.columns))} hold: name them with "
                "data.fields (prompt, reference), or set data.mapping"
            )
        draft = mapping(row.columns)
        _check_text(draft.prompt, "prompt")
        _check_text(draft.response or "", "response")
        return make(f"{label}:{draft.id}" if draft.id else row.key, draft)
    except RowError as e:
        return BadRow(row.where, str(e))


def _checked(draft: Draft, kinds: Kinds) -> Draft:
    """The draft, if it is a whole one of a kind that is judged."""
    check_kind(draft.kind, kinds)
    if draft.reference is None:
        return draft
    reference, metadata = check_task(draft.kind, draft.reference, draft.metadata)
    prompt = with_options(draft.prompt, metadata) if draft.kind == "choice" else draft.prompt
    return replace(draft, prompt=prompt, reference=reference, metadata=metadata)


def _check_text(text: str, name: str) -> None:
    if "\0" in text:
        raise RowError(f"the {name} holds a NUL byte")
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise RowError(f"the {name} holds half of a surrogate pair, which is not text")


def _task(task_id: str, draft: Draft) -> Task:
    if draft.reference is None:
        raise RowError("no reference to check an answer against")
    return Task(task_id, draft.kind, draft.prompt, draft.reference, draft.metadata)


def _demonstration(demo_id: str, draft: Draft) -> Demonstration:
    if draft.response is None:
        raise RowError("no response to learn from (data.fields.response names its column)")
    return Demonstration(demo_id, draft.prompt, draft.response, draft.kind, draft.metadata)


def _filtered(items: list[R], source: Source) -> list[R]:
    """The items that the source's filter keeps.

    Raises:
        DataError: it keeps none; says which values there are.
    """
    left = items
    for name in Filter.model_fields:
        wanted = getattr(source.filter, name, None)
        if wanted is None:
            continue
        keys = {_filter_key(w) for w in wanted}
        kept = [item for item in left if _filter_key(_value(item, name)) in keys]
        if not kept:
            there = sorted({str(_value(item, name)) for item in left if _value(item, name) is not None})
            raise DataError(
                f"{source.path}: filter.{name} {some(wanted)} keeps none of {len(left)} rows"
                f"{did_you_mean(str(next(iter(wanted), '')), there)}; values there: {some(there)}"
            )
        left = kept
    return left


def _value(item: Task | Demonstration, name: str) -> Any:
    return item.kind if name == "kind" else item.metadata.get(name)


def _filter_key(value: Any) -> Any:
    """So that the recipe's 3 finds "3" of a CSV file and 3.0."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)


__all__ = [
    "BadRow",
    "Demonstration",
    "LoadedDemonstrations",
    "LoadedTasks",
    "Mixture",
    "load_demonstrations",
    "load_sources",
    "load_tasks",
]
