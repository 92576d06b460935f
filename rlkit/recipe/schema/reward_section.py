"""`reward`: the parts, their weights, how they combine and how they are run."""

import math
from importlib.metadata import entry_points
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from rlkit.recipe.schema.data_section import TASK_KINDS
from rlkit.recipe.schema.section import Section

DEFAULT_WEIGHTS = {"accuracy": 0.40, "reasoning": 0.30, "format": 0.20, "efficiency": 0.10}
RESERVED = ("combine", "runtime")
JUDGE_ENTRY_POINTS = "rlkit.judges"
"""Entry-point group of judges for further kinds of task; the name is the kind."""
FOREIGN_STYLES = ("trl", "trl_text", "verl", "openrlhf")
"""Whose reward functions load as they are. `trl` hands over chat messages, `trl_text` plain text."""


class Actors(Section):
    """Processes of a part's own, beside the scorers: for a plugin that holds a model."""

    num_workers: int = Field(1, ge=1, le=4096)
    """How many."""
    gpus: float = Field(0.0, ge=0)
    """GPUs of each, a share of one too; with 0 it runs on the CPU and sees none."""
    groups_per_call: int = Field(8, ge=1, le=4096)
    """Most groups that a plugin with `score_groups(groups)` scores at once. Which ones come together depends on time:
    1 in deterministic runs, unless its scores do not depend on it."""

    @model_validator(mode="after")
    def _whole_beyond_one(self) -> Self:
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus={self.gpus:g} must be a whole number, or a share below 1")
        return self


class RewardPartKeys(Section):
    """One part: a plugin, its weight, and the plugin's own arguments as further keys."""

    model_config = ConfigDict(extra="allow")

    plugin: str | dict[str, str] | None = None
    """`module:Class`, `./file.py:Class` or an entry point's name; by default the part's own name. Or a reward function
    written for another toolkit: `{trl: module:function}`, `{trl_text: ...}`, `{verl: ...}`, `{openrlhf: ...}`."""
    weight: float = Field(ge=0)
    """Weight of the part; all weights are normalised to add to 1. 0: scored and logged, not counted."""
    actors: Actors | None = None
    """Own processes for this part, such as `{gpus: 1}` for a reward model; by default it shares the scorers."""

    @field_validator("plugin")
    @classmethod
    def _names_one_plugin(cls, plugin: str | dict[str, str] | None) -> str | dict[str, str] | None:
        if plugin is None:
            return None
        texts = [plugin] if isinstance(plugin, str) else list(plugin.values())
        if not all(text.strip() for text in texts):
            raise ValueError("must not be empty")
        if isinstance(plugin, dict) and (len(plugin) != 1 or next(iter(plugin)) not in FOREIGN_STYLES):
            raise ValueError(f"as a mapping it has one key, one of {', '.join(FOREIGN_STYLES)}")
        return plugin

    @property
    def arguments(self) -> dict[str, Any]:
        """The keys that go to the plugin's constructor."""
        return dict(self.model_extra or {})


class Gate(Section):
    """A condition under which a part counts."""

    part: str
    """The part whose value decides; it may have weight 0."""
    at_least: float
    """The value from which on the gated part counts; below it the gated part adds nothing."""


class Ramp(Section):
    """A weight that moves in a straight line over the steps of a stage, and then stays at the part's own weight."""

    start: float = Field(0.0, ge=0)
    """Weight up to `from_step`, on the scale of the parts' weights."""
    from_step: int = Field(1, ge=1)
    """Step up to which the weight is `start`."""
    to_step: int = Field(ge=1)
    """Step from which on it is the part's own weight."""

    @model_validator(mode="after")
    def _goes_forward(self) -> Self:
        if self.to_step <= self.from_step:
            raise ValueError(f"to_step={self.to_step} must come after from_step={self.from_step}")
        return self

    def weight_at(self, step: int, end: float) -> float:
        """The weight at a step; `end` is the part's own."""
        way = min(1.0, max(0.0, (step - self.from_step) / (self.to_step - self.from_step)))
        return self.start + way * (end - self.start)


class CombineKeys(Section):
    """How parts become one number."""

    wrong_caps: dict[str, float] = Field(default_factory=lambda: {"reasoning": 0.5, "efficiency": 0.0})
    """Most that a part may pay a reply whose accuracy is below 1, so that no wrong reply outscores a right one."""
    partial_accuracy: float = Field(0.125, ge=0, le=1)
    """Partial credit, an accuracy between 0 and 1, is multiplied by this. At the default weights it can be 0.125 before
    a reply that passes nearly all tests outscores a right one; 1 pays it in full."""
    gates: dict[str, Gate] = Field(default_factory=dict)
    """By part: the condition under which it counts, such as `efficiency: {part: format, at_least: 1.0}`."""
    penalties: list[str] = Field(default_factory=list)
    """Parts that only take away: positive values count as 0, and their weights are used as they are, beside the
    others, which add to 1 without them."""
    normalize: Literal["none", "group"] = "none"
    """group: each part's values are brought to mean 0 and deviation 1 in each group before they are summed (GDPO,
    arXiv:2601.05242), so that no part drowns another; set `stages.N.normalize: none` with it. A wrong reply may then
    outscore a right one, and the totals say nothing outside of their group."""
    ramps: dict[str, Ramp] = Field(default_factory=dict)
    """By part: how its weight gets to what `weight` says, over the steps of a stage."""


class RuntimeKeys(Section):
    """The actors that score."""

    num_workers: int = Field(1, ge=1, le=4096)
    """Scoring actors."""
    timeout_s: float = Field(120, gt=0)
    """Longest time for one group's scoring, in seconds; past it the actor is ended, and the samples at fault are looked
    for, each with its share of this time. Keep it above samples_per_prompt times the 4 s that one endless program may
    take."""
    memory_mb: int = Field(4096, ge=64)
    """Memory that scoring may take in one actor beyond what its plugins took when they were built, in MiB."""
    max_restarts: int = Field(20, ge=1)
    """Times in a row that a scoring actor may be lost, with nothing scored in between, before the run stops."""
    max_unscored: float = Field(0.5, ge=0, le=1)
    """Share of a step's samples that may end unscored; above it the run stops, naming the part."""


class RewardKeys(Section):
    """Parts by name. The four default parts are there unless set to null; others need a plugin."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, RewardPartKeys] = Field(init=False)

    combine: CombineKeys = Field(default_factory=CombineKeys)
    """How parts become one number."""
    runtime: RuntimeKeys = Field(default_factory=RuntimeKeys)
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
        steady = [p.weight for n, p in self.parts.items() if n not in self.combine.penalties]
        if sum(steady) <= 0:
            raise ValueError("at least one part needs a weight above 0")
        for step in [ramp.from_step for ramp in self.combine.ramps.values()]:
            if sum(self._raw_weights(step)[n] for n in self.parts if n not in self.combine.penalties) <= 0:
                raise ValueError(f"combine.ramps leave no part a weight above 0 at step {step}")
        return self

    @model_validator(mode="after")
    def _rules_name_parts(self) -> Self:
        rules = self.combine
        named = [(f"gates.{name}", part) for name, gate in rules.gates.items() for part in (name, gate.part)]
        named += [("penalties", name) for name in rules.penalties] + [("ramps", name) for name in rules.ramps]
        # The default caps stay where a recipe drops a default part.
        named += [("wrong_caps", name) for name in rules.wrong_caps if name not in DEFAULT_WEIGHTS]
        for key, name in named:
            if name not in self.parts:
                raise ValueError(f"combine.{key} names {name!r}, which is no part here: {', '.join(self.parts)}")
        for name, gate in rules.gates.items():
            if gate.part == name:
                raise ValueError(f"combine.gates.{name} makes the part wait for itself; name another part")
        return self

    @property
    def parts(self) -> dict[str, RewardPartKeys]:
        """Parts by name, in the recipe's order."""
        return dict(self.__pydantic_extra__ or {})

    @property
    def kinds(self) -> frozenset[str] | None:
        """Kinds of task that the accuracy part judges; None: any, where that part is not the built-in one."""
        accuracy = self.parts.get("accuracy")
        if accuracy is None or accuracy.plugin not in (None, "accuracy"):
            return None
        judges = accuracy.arguments.get("judges")
        own = judges if isinstance(judges, dict) else {}
        return frozenset({*TASK_KINDS, *map(str, own), *(e.name for e in entry_points(group=JUDGE_ENTRY_POINTS))})

    @property
    def own_actors(self) -> dict[str, Actors]:
        """By part, the processes of those that have their own."""
        return {name: part.actors for name, part in self.parts.items() if part.actors is not None}

    @property
    def gpus(self) -> float:
        """GPUs of all parts' own processes."""
        return math.fsum(own.num_workers * own.gpus for own in self.own_actors.values())

    @property
    def weights(self) -> dict[str, float]:
        """Normalised weights, after every ramp; those of parts that are no penalties add to 1."""
        return self.weights_at(None)

    def weights_at(self, step: int | None) -> dict[str, float]:
        """Normalised weights at a step of a stage; None: after every ramp."""
        raw = self._raw_weights(step)
        total = math.fsum(weight for name, weight in raw.items() if name not in self.combine.penalties)
        return {name: weight if name in self.combine.penalties else weight / total for name, weight in raw.items()}

    def _raw_weights(self, step: int | None) -> dict[str, float]:
        ramps = self.combine.ramps if step is not None else {}
        return {
            name: ramps[name].weight_at(step, part.weight) if name in ramps and step is not None else part.weight
            for name, part in self.parts.items()
        }
