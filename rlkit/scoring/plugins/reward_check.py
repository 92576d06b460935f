"""Checks a recipe's reward before anything starts: its plugins, and the columns of the data that they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rlkit.errors import PluginError, did_you_mean
from rlkit.find import check_present
from rlkit.recipe.schema.reward_section import RewardKeys
from rlkit.scoring.plugins.plugin import LoadedPart, check_function_name, load_parts


def check_plugins(reward: RewardKeys, base_dir: Path) -> list[LoadedPart]:
    """Finds, imports and builds a recipe's parts. Returns them in the order in which they run.

    Checks that every plugin exists before it imports the first.

    Raises:
        PluginError: a part has a fault; one sentence that begins with the recipe key.
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
    """Checks the data columns that reward functions need. Returns a note for each that some rows lack.

    Args:
        columns: for each column, the number of rows that have it.
        num_rows: number of rows; 0: the reward scores no rows, so nothing is checked.

    Raises:
        PluginError: a function needs a column that no row has.
    """
    notes = []
    for part in parts:
        for name in part.columns:
            found = columns.get(name, 0)
            if num_rows and not found:
                existing = ", ".join(sorted(columns)) or "no column beside prompt and reference"
                hint = did_you_mean(name, columns) or f"; there is {existing}"
                raise PluginError(
                    f"reward.{part.name}: its function needs the column {name!r}, which no row of the data has{hint}: "
                    f"add or rename the column, set reward.{part.name}.{name}, or give the argument a default value"
                )
            if found < num_rows:
                notes.append(
                    f"reward.{part.name}: its function needs the column {name!r}, which {num_rows - found} of "
                    f"{num_rows} rows lack: it gets None for them"
                )
    return notes
