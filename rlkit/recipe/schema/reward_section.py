"""`reward`: reward parts, their weights, how they are combined and which processes run them."""

import math
from importlib.metadata import entry_points
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from rlkit.recipe.schema.data_section import TASK_KINDS
from rlkit.recipe.schema.section import Section

DEFAULT_WEIGHTS = {"accuracy": 0.40, "reasoning": 0.30, "format": 0.20, "efficiency": 0.10}
JUDGE_ENTRY_POINTS = "rlkit.judges"
"""Entry-point group of judges for further task kinds; the entry point's name is the kind."""
FOREIGN_STYLES = ("trl", "trl_text", "verl", "openrlhf")
"""Toolkits whose reward functions rlkit can call. `trl` passes chat messages, `trl_text` plain text."""


class Actors(Section):
    """Processes that run only this part, for a plugin that holds a model."""

    num_workers: int = Field(1, ge=1, le=4096)
    """Number of processes."""
    gpus: float = Field(0.0, ge=0)
    """GPUs per process: a whole number or a fraction below 1; 0: it runs on the CPU and no GPU is visible to it."""
    groups_per_call: int = Field(8, ge=1, le=4096)
    """Maximum number of groups that a plugin with `score_groups(groups)` scores in one call. The grouping depends on
    timing, so deterministic runs need 1 unless the plugin's scores do not depend on it."""

    @model_validator(mode="after")
    def _check_gpus(self) -> Self:
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus={self.gpus:g} must be a whole number, or a fraction below 1")
        return self


class RewardPartKeys(Section):
    """One reward part: a plugin and its weight. Further keys are the plugin's constructor arguments."""

    model_config = ConfigDict(extra="allow")

    plugin: str | dict[str, str] | None = None
    """`module:Class`, `./file.py:Class` or an entry point's name; by default the name of the part. Or a reward function
    written for another toolkit: `{trl: module:function}`, `{trl_text: ...}`, `{verl: ...}`, `{openrlhf: ...}`."""
    weight: float = Field(ge=0)
    """Weight of the part; rlkit normalises all weights to sum to 1. 0: the part is scored and logged, not counted."""
    actors: Actors | None = None
    """Processes of its own for this part, such as `{gpus: 1}` for a reward model; by default the scoring workers run
    it."""

    @field_validator("plugin")
    @classmethod
    def _check_one_plugin(cls, plugin: str | dict[str, str] | None) -> str | dict[str, str] | None:
        if plugin is None:
            return None
        texts = [plugin] if isinstance(plugin, str) else list(plugin.values())
        if not all(text.strip() for text in texts):
            raise ValueError("must not be empty")
        if isinstance(plugin, dict) and (len(plugin) != 1 or next(iter(plugin)) not in FOREIGN_STYLES):
            raise ValueError(f"a mapping must have exactly one key, one of {', '.join(FOREIGN_STYLES)}")
        return plugin

    @property
    def arguments(self) -> dict[str, Any]:
        """The plugin's constructor arguments."""
        return dict(self.model_extra or {})


class Gate(Section):
    """A condition for counting a part."""

    part: str
    """The part whose value decides; it may have weight 0."""
    at_least: float
    """The gated part counts if that value is at least this; otherwise it contributes 0."""


class Ramp(Section):
    """A weight that changes linearly over the steps of a stage until it reaches the part's own weight."""

    start: float = Field(0.0, ge=0)
    """Weight until `from_step`, before normalisation."""
    from_step: int = Field(1, ge=1)
    """Last step with the weight `start`."""
    to_step: int = Field(ge=1)
    """First step with the part's own weight."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.to_step <= self.from_step:
            raise ValueError(f"to_step={self.to_step} must come after from_step={self.from_step}")
        return self

    def weight_at(self, step: int, end: float) -> float:
        """The weight at a step; `end` is the part's own weight."""
        progress = min(1.0, max(0.0, (step - self.from_step) / (self.to_step - self.from_step)))
        return self.start + progress * (end - self.start)


class CombineKeys(Section):
    """How the parts' scores become one reward."""

    wrong_caps: dict[str, float] = Field(default_factory=lambda: {"reasoning": 0.5, "efficiency": 0.0})
    """By part: its maximum score for a reply whose accuracy is below 1, so that no wrong reply gets a higher reward
    than a correct one."""
    partial_accuracy: float = Field(0.125, ge=0, le=1)
    """Factor for partial credit, an accuracy between 0 and 1. With the default weights, a factor above 0.125 can give a
    reply that passes nearly all tests a higher reward than a correct one; 1 gives full partial credit."""
    gates: dict[str, Gate] = Field(default_factory=dict)
    """By part: the condition for counting it, such as `efficiency: {part: format, at_least: 1.0}`."""
    penalties: list[str] = Field(default_factory=list)
    """Parts that can only lower the reward: positive values count as 0. Their weights are not normalised; the weights
    of the other parts sum to 1 without them."""
    normalize: Literal["none", "group"] = "none"
    """group: normalise each part's scores to mean 0 and standard deviation 1 within each group before summing (GDPO,
    arXiv:2601.05242), so that all parts have equal influence; set `stages.N.normalize: none` with it. A wrong reply may
    then get a higher reward than a correct one, and rewards of different groups cannot be compared."""
    ramps: dict[str, Ramp] = Field(default_factory=dict)
    """By part: how its weight changes over the steps of a stage until it reaches `weight`."""


class RuntimeKeys(Section):
    """The scoring workers: the processes that score samples."""

    num_workers: int = Field(1, ge=1, le=4096)
    """Number of scoring workers."""
    timeout_s: float = Field(120, gt=0)
    """Deadline for scoring one group, in seconds. After it the worker is killed, and the group's samples are scored one
    by one to find the culprits, each with its share of this time. Keep it above samples_per_prompt times the 4 s that
    one endless program may take."""
    memory_mb: int = Field(4096, ge=64)
    """Memory that scoring may use in one worker beyond what its plugins used when they were constructed, in MiB."""
    max_restarts: int = Field(20, ge=1)
    """Maximum number of consecutive worker losses, with nothing scored in between, before the run stops."""
    max_unscored: float = Field(0.5, ge=0, le=1)
    """Maximum share of unscored samples in a step; above it the run stops with an error that names the part."""


class RewardKeys(Section):
    """Reward parts by name. The four default parts are present unless set to null; other parts need a plugin."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, RewardPartKeys] = Field(init=False)

    combine: CombineKeys = Field(default_factory=CombineKeys)
    """How the parts' scores become one reward."""
    runtime: RuntimeKeys = Field(default_factory=RuntimeKeys)
    """The scoring workers."""

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
    def _check_weights(self) -> Self:
        if not self.parts:
            raise ValueError("at least one part is needed")
        final = [p.weight for n, p in self.parts.items() if n not in self.combine.penalties]
        if sum(final) <= 0:
            raise ValueError("at least one part that is not a penalty needs a weight above 0")
        for step in [ramp.from_step for ramp in self.combine.ramps.values()]:
            if sum(self._raw_weights(step)[n] for n in self.parts if n not in self.combine.penalties) <= 0:
                raise ValueError(f"combine.ramps: no part has a weight above 0 at step {step}")
        return self

    @model_validator(mode="after")
    def _check_part_names(self) -> Self:
        rules = self.combine
        named = [(f"gates.{name}", part) for name, gate in rules.gates.items() for part in (name, gate.part)]
        named += [("penalties", name) for name in rules.penalties] + [("ramps", name) for name in rules.ramps]
        # The default caps remain when a recipe removes a default part.
        named += [("wrong_caps", name) for name in rules.wrong_caps if name not in DEFAULT_WEIGHTS]
        for key, name in named:
            if name not in self.parts:
                raise ValueError(f"combine.{key} names {name!r}, but the parts are {', '.join(self.parts)}")
        for name, gate in rules.gates.items():
            if gate.part == name:
                raise ValueError(f"combine.gates.{name} gates the part by itself; name another part")
        return self

    @property
    def parts(self) -> dict[str, RewardPartKeys]:
        """All parts by name, in the recipe's order."""
        return dict(self.__pydantic_extra__ or {})

    @property
    def kinds(self) -> frozenset[str] | None:
        """Task kinds that the accuracy part judges; None: unknown, because it is not the built-in part."""
        accuracy = self.parts.get("accuracy")
        if accuracy is None or accuracy.plugin not in (None, "accuracy"):
            return None
        judges = accuracy.arguments.get("judges")
        own = judges if isinstance(judges, dict) else {}
        return frozenset({*TASK_KINDS, *map(str, own), *(e.name for e in entry_points(group=JUDGE_ENTRY_POINTS))})

    @property
    def own_actors(self) -> dict[str, Actors]:
        """By part: its own processes; only parts that have some."""
        return {name: part.actors for name, part in self.parts.items() if part.actors is not None}

    @property
    def gpus(self) -> float:
        """GPUs of all parts' own processes together."""
        return math.fsum(own.num_workers * own.gpus for own in self.own_actors.values())

    @property
    def weights(self) -> dict[str, float]:
        """Normalised weights after all ramps; the weights of parts that are not penalties sum to 1."""
        return self.weights_at(None)

    def weights_at(self, step: int | None) -> dict[str, float]:
        """Normalised weights at a step of a stage; None: after all ramps."""
        raw = self._raw_weights(step)
        total = math.fsum(weight for name, weight in raw.items() if name not in self.combine.penalties)
        return {name: weight if name in self.combine.penalties else weight / total for name, weight in raw.items()}

    def _raw_weights(self, step: int | None) -> dict[str, float]:
        ramps = self.combine.ramps if step is not None else {}
        return {
            name: ramps[name].weight_at(step, part.weight) if name in ramps and step is not None else part.weight
            for name, part in self.parts.items()
        }
