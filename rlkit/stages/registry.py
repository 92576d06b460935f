"""Maps the kinds of stages to their classes. A class is imported when it is first needed.

To add a kind from another package, subclass `rlkit.stages.stage.Stage` and register the class under its kind's name as
an entry point of the group `rlkit.stages`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any

KINDS = {
    "sft": "rlkit.stages.offline.sft_stage:SftStage",
    "grpo": "rlkit.stages.online.online_stage:GrpoStage",
    "ppo": "rlkit.stages.online.online_stage:PpoStage",
}
"""The class of each built-in kind, as "module:class"."""
GROUP = "rlkit.stages"
"""Entry point group for kinds from other packages; a built-in kind cannot be replaced."""


def kind_names() -> list[str]:
    """Every kind that a recipe can use, the built-in ones first."""
    return [*KINDS, *(name for name in sorted(_installed()) if name not in KINDS)]


def find_kind(name: str) -> Any:
    """The class of a kind.

    Raises:
        KeyError: there is no such kind.
    """
    if name in KINDS:
        module, _, attribute = KINDS[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    return _installed()[name].load()


def stages_of(recipe: Any) -> list[Any]:
    """The stages of a recipe, each an instance of its kind's class (`rlkit.stages.stage.Stage`)."""
    return [find_kind(keys.kind)(recipe, index) for index, keys in enumerate(recipe.stages)]


def _installed() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=GROUP)}
