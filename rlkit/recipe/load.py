"""Reads a recipe: YAML and `KEY=VALUE` overrides in, a checked `Recipe` out. Imports nothing heavy.

Relative paths in a recipe (`model.path`, `data.path`, `run.dir`, ...) are relative to the working directory, as on a
command line; `~` is the home folder. A plugin file (`./my_reward.py:Class`) is looked for beside the recipe only, so
that the two travel together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rlkit.errors import RecipeError
from rlkit.recipe.explain import explain, key_path
from rlkit.recipe.file_checks import check_paths, check_reward_parts
from rlkit.recipe.overrides import apply_overrides
from rlkit.recipe.positions import KeyPath, Positions, read_yaml
from rlkit.recipe.schema import Recipe
from rlkit.recipe.schema.reward_section import DEFAULT_WEIGHTS


@dataclass(frozen=True)
class LoadedRecipe:
    """A valid recipe, and where it came from."""

    recipe: Recipe
    """Every knob, checked."""
    path: Path
    """The file, as given."""
    resolved: dict[str, Any]
    """Every key with its value, defaults included; as YAML (`recipe.yaml` of a run) it loads to an equal recipe."""
    base_dir: Path
    """The recipe's folder: where `./file.py:Class` plugins are looked for."""
    positions: Positions
    """Where each key was written."""

    def error(self, key: str, problem: str) -> RecipeError:
        """`file:line: key: problem`, for checks that come after loading.

        Args:
            key: Dotted path, such as "reward.brevity.limit".
            problem: What is wrong and what to do.
        """
        path = tuple(int(part) if part.isdecimal() else part for part in key.split("."))
        return RecipeError(f"{self.positions.place(path)}: {problem}")


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """The recipe of a file with overrides set into it.

    Raises:
        RecipeError: One sentence a problem, each with file:line or the override it comes from.
    """
    data, positions = read_yaml(path)
    raw_texts = apply_overrides(data, positions, overrides)
    recipe = _validate(data, raw_texts, positions)
    check_paths(recipe, positions)
    check_reward_parts(recipe, positions)
    return LoadedRecipe(recipe, path, resolve(recipe), path.parent, positions)


def resolve(recipe: Recipe) -> dict[str, Any]:
    """Every key of a recipe as plain values that YAML and JSON can hold."""
    resolved = recipe.model_dump(mode="json")
    for name in DEFAULT_WEIGHTS:
        resolved["reward"].setdefault(name, None)  # a default part that was taken out stays out
    return resolved


def _validate(data: dict[str, Any], raw_texts: dict[KeyPath, str], positions: Positions) -> Recipe:
    try:
        return Recipe.model_validate(data)
    except ValidationError as first:
        if not _quote_overrides(first, data, raw_texts):
            raise RecipeError(explain(first, data, positions)) from first
    try:
        return Recipe.model_validate(data)
    except ValidationError as second:
        raise RecipeError(explain(second, data, positions)) from second


def _quote_overrides(error: ValidationError, data: dict[str, Any], raw_texts: dict[KeyPath, str]) -> bool:
    """Takes overrides of text keys as written: `run.name=2026` needs no quotes inside the shell's quotes."""
    changed = False
    for detail in error.errors(include_url=False):
        path = key_path(detail["loc"], data)
        if detail["type"] == "string_type" and raw_texts.get(path):
            at: Any = data
            for part in path[:-1]:
                at = at[part]
            at[path[-1]] = raw_texts[path]
            changed = True
    return changed
