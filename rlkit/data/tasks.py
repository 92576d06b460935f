"""Loads tasks and demonstrations from sources, and reports every bad row.

Source -> Row -> RowDraft -> Task | Demonstration | BadRow
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any, Generic, TypeVar

from rlkit.data.chat_messages import Message
from rlkit.data.columns import Columns, RowDraft
from rlkit.data.kinds import check_kind, check_task, choices_of, with_options
from rlkit.data.mappings import Mapper, mapping_for
from rlkit.data.recognise import Need
from rlkit.data.rows import BadRow, BadRows, OnBadRow, Row, RowError
from rlkit.data.sources import filtered, labels_of, open_source, places_of
from rlkit.errors import DataError
from rlkit.recipe.schema import RowsKeys, SourceKeys, WeightedSourceKeys
from rlkit.recipe.schema.data_section import TASK_KINDS
from rlkit.records import Task, wording_of

THINK = "<think>"
_SURROGATES = re.compile("[\ud800-\udfff]")
NO_THOUGHT = f"the response does not begin with {THINK}, which data.prompt.force_think requires"


@dataclass(frozen=True)
class Demonstration:
    """A prompt and a reply to learn from, for SFT."""

    id: str
    """Unique within a load; contains the source and the row."""
    prompt: str
    """The problem's text, before the prompt template and the chat template."""
    response: str
    """The whole reply, including its <think> part."""
    kind: str = "math"
    """Task kind, which selects the prompt template."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """See Task."""
    history: tuple[Message, ...] = ()
    """See Task."""

    @property
    def wording(self) -> str:
        """See Task."""
        return wording_of(self.history, self.prompt)


@dataclass(frozen=True)
class Mixture:
    """The source of each task, and the sources' weights."""

    source_of: Mapping[str, int]
    """By task id: index of its source."""
    weights: tuple[float, ...]
    """Weight of each source, as in the recipe; only their ratios matter."""


@dataclass(frozen=True)
class LoadedTasks:
    """The result of load_tasks."""

    tasks: tuple[Task, ...]
    """In the order of the sources."""
    skipped: tuple[BadRow, ...]
    """Bad rows; empty if on_bad_row is "stop"."""
    mixture: Mixture
    """For TaskStream."""
    where: Mapping[str, str]
    """By task id: "path:line"."""


@dataclass(frozen=True)
class LoadedDemonstrations:
    """The result of load_demonstrations."""

    demonstrations: tuple[Demonstration, ...]
    """In the order of the sources."""
    skipped: tuple[BadRow, ...]
    """Bad rows; empty if on_bad_row is "stop"."""
    mixture: Mixture
    """For TaskStream."""
    where: Mapping[str, str]
    """By demonstration id: "path:line"."""

    @property
    def described(self) -> str:
        """Their number, as text for a message."""
        return f"{len(self.demonstrations)} demonstrations"

    def __len__(self) -> int:
        return len(self.demonstrations)

    def without(self, wordings: Collection[str]) -> LoadedDemonstrations:
        """Removes the demonstrations with these prompts, which belong to held-out tasks.

        Raises:
            DataError: no demonstration is left.
        """
        kept = tuple(d for d in self.demonstrations if d.wording not in wordings)
        if not kept:
            raise DataError("every demonstration is of a held-out task: give evaluation.sources other tasks")
        return replace(self, demonstrations=kept)

    def texts(self) -> Iterator[tuple[str, str, str]]:
        """Yields (prompt, kind, reply) of each demonstration."""
        yield from ((d.prompt, d.kind, d.response) for d in self.demonstrations)

    def as_tasks(self) -> tuple[Task, ...]:
        """The demonstrations as tasks with the same ids, for a TaskStream."""
        return tuple(Task(d.id, d.kind, d.prompt, d.response, d.metadata, d.history) for d in self.demonstrations)


R = TypeVar("R", Task, Demonstration)


@dataclass
class _Found(Generic[R]):
    items: list[R] = field(default_factory=list)
    where: dict[str, str] = field(default_factory=dict)
    source_of: dict[str, int] = field(default_factory=dict)


Kinds = Collection[str] | None
"""Task kinds that have a judge; None: any kind."""
Make = Callable[[str, RowDraft], R]
"""(id, draft) -> the item; raises RowError if something that the stage needs is missing."""


def load_tasks(data: RowsKeys, *, seed: int, kinds: Kinds = TASK_KINDS, key: str = "data") -> LoadedTasks:
    """Loads the tasks of a section of the recipe.

    Args:
        seed: seed of the generated built-in sources; other sources do not depend on it.
        kinds: a row of another kind is a bad row.
        key: key of the section in the recipe, for messages.
    Raises:
        DataError: a source cannot be read, a row is bad and on_bad_row is "stop", or no task is left.
    """
    bad = BadRows(data.on_bad_row, f"{key}.on_bad_row")
    return _load_tasks(data.all_sources(), places_of(data, key), bad, seed, kinds)


def load_sources(
    sources: Sequence[SourceKeys], on_bad_row: OnBadRow, *, seed: int, kinds: Kinds = TASK_KINDS
) -> LoadedTasks:
    """Loads the tasks of `evaluation.sources`; see load_tasks."""
    places = [f"evaluation.sources.{i}" for i in range(len(sources))]
    return _load_tasks(sources, places, BadRows(on_bad_row), seed, kinds)


def load_demonstrations(
    data: RowsKeys, *, seed: int, kinds: Kinds = TASK_KINDS, key: str = "data", must_think: bool = False
) -> LoadedDemonstrations:
    """Loads the demonstrations of an SFT stage; see load_tasks. A row without a response is a bad row.

    Args:
        must_think: whether a response that does not begin with <think> is a bad row.
    """

    def make(demo_id: str, draft: RowDraft) -> Demonstration:
        return _demonstration(demo_id, draft, must_think, places[0])

    bad, places = BadRows(data.on_bad_row, f"{key}.on_bad_row"), places_of(data, key)
    found: _Found[Demonstration] = _load(data.all_sources(), places, bad, seed, kinds, make, "response")
    mixture = Mixture(found.source_of, tuple(s.weight for s in data.all_sources()))
    return LoadedDemonstrations(tuple(found.items), tuple(bad.listed), mixture, found.where)


def _load_tasks(
    sources: Sequence[SourceKeys], places: Sequence[str], bad: BadRows, seed: int, kinds: Kinds
) -> LoadedTasks:
    found: _Found[Task] = _load(sources, places, bad, seed, kinds, _task, "reference")
    weights = tuple(s.weight if isinstance(s, WeightedSourceKeys) else 1.0 for s in sources)
    mixture = Mixture(found.source_of, weights)
    return LoadedTasks(tuple(found.items), tuple(bad.listed), mixture, found.where)


def _load(
    sources: Sequence[SourceKeys],
    places: Sequence[str],
    bad: BadRows,
    seed: int,
    kinds: Kinds,
    make: Make[R],
    need: Need,
) -> _Found[R]:
    def make_checked(item_id: str, draft: RowDraft) -> R:
        check_kind(draft.kind or "", kinds)
        return make(item_id, draft)

    found: _Found[R] = _Found()
    for index, (source, place, label) in enumerate(zip(sources, places, labels_of(sources), strict=True)):
        # max_rows limits the rows that are read, not those that the filter keeps.
        rows = islice(open_source(source, label, seed), source.max_rows)
        mapping = partial(mapping_for, source, need=need, place=place)
        made = list(bad.sift(_make_rows(rows, mapping, label, place, make_checked, found.where), source.path))
        kept = filtered([item for item, _ in made], source, place)
        where_of = {item.id: where for item, where in made}
        found.items += kept
        found.where.update({item.id: where_of[item.id] for item in kept})
        found.source_of.update({item.id: index for item in kept})
    return found


def _make_rows(
    rows: Iterable[Row | BadRow],
    mapping_of: Callable[[Columns], Mapper],
    label: str,
    place: str,
    make: Make[R],
    earlier: Mapping[str, str],
) -> Iterator[tuple[R, str] | BadRow]:
    """Turns each row of one source into a task or a demonstration, with its place in the source."""
    mapping: Mapper | None = None
    seen: dict[str, str] = {}
    for row in rows:
        if isinstance(row, BadRow):
            yield row
            continue
        try:
            # The first usable row decides the mapping of the whole source.
            mapping = mapping or mapping_of(row.columns)
            draft = mapping(row.columns)
            _check_text(draft)
            made = make(f"{label}:{draft.id}" if draft.id else row.key, draft)
            if first := seen.get(made.id) or earlier.get(made.id):
                remedy = f"without {place}.fields.id, rlkit numbers the rows itself"
                raise RowError(f'duplicate id "{made.id}" (first at {first})', remedy)
        except RowError as e:
            yield BadRow(row.where, str(e), e.remedy)
        else:
            seen[made.id] = row.where
            yield made, row.where


def _check_text(draft: RowDraft) -> None:
    history = [(f"message {i} before the prompt", str(m["content"])) for i, m in enumerate(draft.history, start=1)]
    for name, text in (("prompt", draft.prompt), ("response", draft.response or ""), *history):
        if "\0" in text:
            raise RowError(f"the {name} contains a NUL byte")
        if _SURROGATES.search(text):
            raise RowError(f"the {name} contains half of a surrogate pair, which is not valid text")


def _task(task_id: str, draft: RowDraft) -> Task:
    kind = draft.kind or ""
    if draft.reference is None:
        raise RowError("no reference to check an answer against")
    reference, metadata = check_task(kind, draft.reference, draft.metadata)
    prompt = with_options(draft.prompt, metadata) if kind == "choice" else draft.prompt
    return Task(task_id, kind, prompt, reference, metadata, draft.history)


def _demonstration(demo_id: str, draft: RowDraft, must_think: bool, place: str) -> Demonstration:
    kind, metadata = draft.kind or "", draft.metadata
    if draft.response is None:
        raise RowError("no response to learn from", f"name its column with {place}.fields.response")
    if must_think and not draft.response.startswith(THINK):
        raise RowError(NO_THOUGHT, "set data.prompt.force_think: false, or begin the responses with it")
    prompt = draft.prompt
    if kind == "choice" and metadata.get("choices") is not None:
        metadata = {**metadata, "choices": choices_of(metadata["choices"])}
        prompt = with_options(prompt, metadata)
    return Demonstration(demo_id, prompt, draft.response, kind, metadata, draft.history)


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
