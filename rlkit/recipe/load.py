"""Loads a recipe file, applies `KEY=VALUE` overrides and validates the result. Imports nothing heavy.

Relative paths in a recipe (`model.path`, `data.path`, `run.dir`, ...) are relative to the working directory; `~` is the
home folder. The path of a plugin file (`./my_reward.py:Class`) is relative to the recipe's folder, so that recipe and
plugin can be moved together.
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
    """A valid recipe and its origin."""

    recipe: Recipe
    """The validated recipe."""
    path: Path
    """The recipe file, as the user gave it."""
    resolved: dict[str, Any]
    """Every key with its value, including defaults. The YAML of it (a run's `recipe.yaml`) loads as an equal recipe."""
    base_dir: Path
    """The recipe's folder; `./file.py:Class` plugins are relative to it."""
    positions: Positions
    """Line or override that each key comes from."""

    def error(self, key: str, problem: str) -> RecipeError:
        """A RecipeError "file:line: key: problem", for checks after loading.

        Args:
            key: Dotted path, such as "reward.brevity.limit".
            problem: What is wrong and what to do.
        """
        path = tuple(int(part) if part.isdecimal() else part for part in key.split("."))
        return RecipeError(f"{self.positions.place(path)}: {problem}")


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """Loads a recipe file and applies the overrides.

    Raises:
        RecipeError: The recipe is invalid; one sentence per problem, each with file:line or the override.
    """
    data, positions = read_yaml(path)
    raw_texts = apply_overrides(data, positions, overrides)
    recipe = _validate(data, raw_texts, positions)
    check_paths(recipe, positions)
    check_reward_parts(recipe, positions)
    return LoadedRecipe(recipe, path, resolve(recipe), path.parent, positions)


def resolve(recipe: Recipe) -> dict[str, Any]:
    """All keys of a recipe as plain values for YAML and JSON."""
    resolved = recipe.model_dump(mode="json")
    for name in DEFAULT_WEIGHTS:
        resolved["reward"].setdefault(name, None)  # null keeps a removed default part removed when it is loaded again
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
    """Replaces values of text keys by the overrides' raw text, so that `run.name=2026` needs no quotes."""
    changed = False
    for detail in error.errors(include_url=False):
        path = key_path(detail["loc"], data)
        if detail["type"] == "string_type" and raw_texts.get(path):
            parent: Any = data
            for part in path[:-1]:
                parent = parent[part]
            parent[path[-1]] = raw_texts[path]
            changed = True
    return changed
