"""Checks a recipe's reward before anything starts: its plugins, and the columns of the data that they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rlkit.errors import PluginError, did_you_mean
from rlkit.find import check_present
from rlkit.recipe.schema.reward_section import RewardKeys
from rlkit.scoring.plugins.plugin import LoadedPart, check_function_name, load_parts


def check_plugins(reward: RewardKeys, base_dir: Path) -> list[LoadedPart]:
    """A recipe's parts, found, imported and built with their arguments, in the order in which they run.

    Whether every plugin is there is known before any of them is imported; nothing heavy is imported but by a plugin.

    Raises:
        PluginError: one sentence that begins with the recipe key.
    """
    for name, part in reward.parts.items():
        if isinstance(part.plugin, dict):
            ((style, spec),) = part.plugin.items()
            check_function_name(name, style, spec)
        else:
            spec = part.plugin or name
        check_present(spec, base_dir, f"reward.{name}.plugin")
    return load_parts(reward, base_dir)


def check_columns(parts: Sequence[LoadedPart], columns: Mapping[str, int], num_rows: int) -> list[str]:
    """What a person should know of columns that reward functions need and some rows lack.

    Args:
        columns: by name, the rows that have the column.
        num_rows: all of them; 0: there are none for the reward to score, and nothing is asked of them.

    Raises:
        PluginError: a function needs a column that no row has.
    """
    notes = []
    for part in parts:
        for name in part.columns:
            found = columns.get(name, 0)
            if num_rows and not found:
                there = ", ".join(sorted(columns)) or "no column beside prompt and reference"
                hint = did_you_mean(name, columns) or f"; there is {there}"
                raise PluginError(
                    f"reward.{part.name}: its function needs the column {name!r}, which no row of the data has{hint}: "
                    f"add or rename the column, set reward.{part.name}.{name}, or give the argument a default value"
                )
            if found < num_rows:
                notes.append(
                    f"reward.{part.name}: its function needs the column {name!r}, which {num_rows - found} of "
                    f"{num_rows} rows lack: it gets None there"
                )
    return notes
