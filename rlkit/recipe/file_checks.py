"""Checks a recipe against the files of this machine and the installed plugins, without heavy imports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path

from rlkit.errors import RecipeError, did_you_mean
from rlkit.recipe.positions import KeyPath, Positions, dotted, nearest_sibling
from rlkit.recipe.schema import Recipe, RewardPartKeys, RowsKeys, SourceKeys
from rlkit.recipe.schema.reward_section import DEFAULT_WEIGHTS

DATA_SUFFIXES = (".jsonl", ".json", ".parquet", ".csv")


def check_paths(recipe: Recipe, positions: Positions) -> None:
    """Checks that every local model and data path exists.

    Does not check a name such as `org/name`, which may be on the Hub.

    Raises:
        RecipeError: A path does not exist; the message suggests the most similar one that does.
    """
    for key, text in [*model_paths(recipe), *_reward_model_paths(recipe), *_data_paths(recipe)]:
        path = Path(text)
        if looks_local(text) and not path.exists():
            problem = f"does not exist{nearest_sibling(path)}"
            raise RecipeError(f"{positions.place(key, repr(text))}: {problem}")


def looks_local(text: str) -> bool:
    """Whether the path of a model or a data set can only be local, and not a name on the Hub."""
    text = text.partition("?")[0]  # parameters of the source follow the "?"
    if text.startswith("builtin:"):
        return False
    if text.startswith((".", "/")) or text.count("/") > 1:
        return True
    if text.removesuffix(".gz").endswith(DATA_SUFFIXES):
        return True
    return "/" in text and Path(text).parts[0] != "" and Path(Path(text).parts[0]).is_dir()


def check_reward_parts(recipe: Recipe, positions: Positions) -> None:
    """Checks that each part without a plugin is an installed entry point, and the spelling of a default part's keys.

    Raises:
        RecipeError: A part or key is unknown; the message suggests the most similar one.
    """
    for name, part in recipe.reward.parts.items():
        path: KeyPath = ("reward", name)
        if part.plugin is None and name not in DEFAULT_WEIGHTS:
            _check_entry_point(path, name, positions)
        if part.plugin is None and name in DEFAULT_WEIGHTS:
            _check_keys(path, part, positions)


def _check_entry_point(path: KeyPath, name: str, positions: Positions) -> None:
    installed = sorted({*DEFAULT_WEIGHTS, *(e.name for e in entry_points(group="rlkit.rewards"))})
    if name in installed:
        return
    hint = did_you_mean(name, installed) or f"; installed: {', '.join(installed)}"
    raise RecipeError(
        f"{positions.place(path)}: no plugin is named {name!r}{hint} "
        f"(a part of your own needs {dotted(path)}.plugin, such as ./my_reward.py:MyClass)"
    )


def _check_keys(path: KeyPath, part: RewardPartKeys, positions: Positions) -> None:
    for key in part.arguments:
        hint = did_you_mean(key, RewardPartKeys.model_fields, cutoff=0.8)
        if hint:
            raise RecipeError(f"{positions.place((*path, key))}: unknown key {key!r}{hint}")


def sources_of(recipe: Recipe) -> list[SourceKeys]:
    """All sources of the recipe."""
    own = [source for _, rows in _sections(recipe) for source in rows.all_sources()]
    return [*own, *(recipe.evaluation.sources or ())]


def builtin_sources(recipe: Recipe) -> Iterator[SourceKeys]:
    """The sources that rlkit generates itself (`builtin:NAME`)."""
    yield from (source for source in sources_of(recipe) if source.path.startswith("builtin:"))


def model_paths(recipe: Recipe) -> Iterator[tuple[KeyPath, str]]:
    """(key, value) of each key that names a model to load."""
    if recipe.model.path is not None:
        yield ("model", "path"), recipe.model.path
    for i, stage in enumerate(recipe.stages):
        for key, path in stage.model_paths():
            yield ("stages", i, *key), path


def _reward_model_paths(recipe: Recipe) -> Iterator[tuple[KeyPath, str]]:
    for name, part in recipe.reward.parts.items():
        path = part.arguments.get("path")
        if "reward_model" in (name, part.plugin) and isinstance(path, str):
            yield ("reward", name, "path"), path


def _sections(recipe: Recipe) -> Iterator[tuple[KeyPath, RowsKeys]]:
    """The recipe's `data` section and those of the stages that have one."""
    yield ("data",), recipe.data
    for i, stage in enumerate(recipe.stages):
        if stage.own_rows is not None:
            yield ("stages", i, "data"), stage.own_rows


def _data_paths(recipe: Recipe) -> Iterator[tuple[KeyPath, str]]:
    for key, rows in _sections(recipe):
        yield from _section_paths(key, rows)
    yield from _source_paths(("evaluation", "sources"), recipe.evaluation.sources)


def _section_paths(key: KeyPath, data: RowsKeys) -> Iterator[tuple[KeyPath, str]]:
    if data.path is not None:
        yield (*key, "path"), data.path
    yield from _source_paths((*key, "sources"), data.sources)


def _source_paths(key: KeyPath, sources: Sequence[SourceKeys] | None) -> Iterator[tuple[KeyPath, str]]:
    for i, source in enumerate(sources or ()):
        yield (*key, i, "path"), source.path
