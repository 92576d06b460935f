"""`reward`: the parts, their weights, how they combine and how they are run."""

import math
from typing import Any, Self

from pydantic import ConfigDict, Field, model_validator

from rlkit.recipe.schema.section import Section

DEFAULT_WEIGHTS = {"accuracy": 0.40, "reasoning": 0.30, "format": 0.20, "efficiency": 0.10}
RESERVED = ("combine", "runtime")


class RewardPart(Section):
    """One part: a plugin, its weight, and the plugin's own arguments as further keys."""

    model_config = ConfigDict(extra="allow")

    plugin: str | None = Field(None, min_length=1)
    """`module:Class`, `./file.py:Class` or an entry point's name; by default the part's own name."""
    weight: float = Field(ge=0)
    """Weight of the part; all weights are normalised to add to 1. 0: scored and logged, not counted."""

    @property
    def arguments(self) -> dict[str, Any]:
        """The keys that go to the plugin's constructor."""
        return dict(self.model_extra or {})


class Combine(Section):
    """How parts become one number."""

    wrong_caps: dict[str, float] = Field(default_factory=lambda: {"reasoning": 0.5, "efficiency": 0.0})
    """Most that a part may pay a reply whose accuracy is 0, so that no wrong reply outscores a right one."""


class Runtime(Section):
    """The actors that score."""

    num_workers: int = Field(1, ge=1, le=4096)
    """Scoring actors."""
    timeout_s: float = Field(120, gt=0)
    """Longest time for one group's scoring, in seconds; past it the actor is ended and the group is unscored. Keep it
    above samples_per_prompt times the 4 s that one endless program may take."""
    max_unscored: float = Field(0.5, ge=0, le=1)
    """Share of a step's samples that may end unscored; above it the run stops, naming the part."""


class Reward(Section):
    """Parts by name. The four default parts are there unless set to null; others need a plugin."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, RewardPart] = Field(init=False)

    combine: Combine = Field(default_factory=Combine)
    """How parts become one number."""
    runtime: Runtime = Field(default_factory=Runtime)
    """The actors that score."""

    @model_validator(mode="before")
    @classmethod
    def _add_defaults(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        merged = dict(raw)
        for name, weight in DEFAULT_WEIGHTS.items():
            given = merged.get(name, {})
            if given is None:
                del merged[name]
            elif isinstance(given, dict):
                merged[name] = {"weight": weight, **given}
        return merged

    @model_validator(mode="after")
    def _weights_count(self) -> Self:
        if not self.parts:
            raise ValueError("at least one part is needed")
        if sum(part.weight for part in self.parts.values()) <= 0:
            raise ValueError("at least one part needs a weight above 0")
        for name in self.combine.wrong_caps:
            if name not in self.parts and name not in DEFAULT_WEIGHTS:
                raise ValueError(f"combine.wrong_caps names {name!r}, which is no part here: {', '.join(self.parts)}")
        return self

    @property
    def parts(self) -> dict[str, RewardPart]:
        """Parts by name, in the recipe's order."""
        return dict(self.__pydantic_extra__ or {})

    @property
    def weights(self) -> dict[str, float]:
        """Normalised weights; they add to 1."""
        total = math.fsum(part.weight for part in self.parts.values())
        return {name: part.weight / total for name, part in self.parts.items()}
