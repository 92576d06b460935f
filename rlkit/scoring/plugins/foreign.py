"""Runs reward functions written for TRL, verl and OpenRLHF as plugins, with the same arguments and the same results.

Each toolkit calls its functions with its own arguments. An adapter makes them from a group and turns the result into
scores by the toolkit's rules (versions: see `toolkits`):

    TRL       any iterable with one reward a sample; None and NaN: the function does not apply to that sample
    verl      a number, or a mapping whose "score" is the reward and whose other keys are logged; None is not a number
              (verl's `prime` manager, which reads None as 0 and the first item of a tuple, is not followed)
    OpenRLHF  a list or tensor with one reward a sample, or a mapping whose "rewards" is one ("extra_logs" is logged)

A result that the toolkit would not accept (text, a mapping without its key, another count) raises `BadReturn`.
Arguments that only a trainer can supply (its state, an environment) are not available.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from typing import Any

from rlkit.records import Group, Sample, Score
from rlkit.scoring.plugins.toolkits import REFERENCE_NAMES, VERL_BATCH, parameters_of, positions_taken, takes_any_name


class BadReturn(Exception):
    """A function of another toolkit returned something that the toolkit would not accept."""


@dataclass(frozen=True)
class ForeignReward:
    """A plugin that calls another toolkit's reward function.

    Args:
        style: one of `SUPPLIED`.
        function: the function, or an object with `__call__`; it may be async.
        arguments: extra arguments of each call, like verl's `reward_kwargs`.
        columns: data columns that a TRL function needs. A row that lacks one passes None, as in TRL, whose data sets
            have every column in every row.
    """

    style: str
    function: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    columns: tuple[str, ...] = ()

    def score(self, group: Group) -> list[Score]:
        """One score a sample."""
        by_style = {"verl": self._verl, "openrlhf": self._openrlhf}
        return by_style.get(self.style, self._trl)(group)

    def _trl(self, group: Group) -> list[Score]:
        task = group.task
        extra: dict[str, list[Any]] = {}
        metrics: dict[str, Any] = {}
        given: dict[str, Any] = {
            **{name: [None] * len(group.samples) for name in self.columns},
            **_columns(group),
            "prompts": [task.prompt if self.style == "trl_text" else task.messages for _ in group.samples],
            "completions": [self._message("assistant", sample.response) for sample in group.samples],
            "log_extra": lambda name, values: extra.update({name: list(values)}),
            "log_metric": lambda name, value: metrics.update({name: value}),
        }
        # Without known token ids, omit the argument: a function that needs it then fails clearly.
        if all(len(sample.token_ids) == sample.num_tokens for sample in group.samples):
            given["completion_ids"] = [sample.token_ids.tolist() for sample in group.samples]
        values = _listed(self._call([given])[0], len(group.samples))
        logged = [_evidence(extra, metrics, i) for i in range(len(values))]
        return [_trl_score(value, evidence) for value, evidence in zip(values, logged, strict=True)]

    def _message(self, role: str, text: str) -> Any:
        return text if self.style == "trl_text" else [{"role": role, "content": text}]

    def _verl(self, group: Group) -> list[Score]:
        arguments = [_verl_arguments(group, sample) for sample in group.samples]
        if VERL_BATCH.intersection(p.name for p in parameters_of(self.function)):
            lists = {f"{name}s": [given[name] for given in arguments] for name in arguments[0]}
            return [_verl_score(result) for result in _listed(self._call([lists])[0], len(arguments))]
        return [_verl_score(result) for result in self._call(arguments)]

    def _openrlhf(self, group: Group) -> list[Score]:
        count, prompt = len(group.samples), group.task.prompt
        given = {
            "queries": [prompt + sample.response for sample in group.samples],
            "prompts": [prompt] * count,
            "labels": [group.task.reference] * count,
        }
        # OpenRLHF passes its arguments by position, so the parameters can have any names.
        taken = positions_taken(self.function, self.arguments)
        by_position = [] if given.keys() >= set(taken) else list(given.values())[: len(taken)]
        (result,) = self._call([{} if by_position else given], by_position)
        logs = result.get("extra_logs") if isinstance(result, Mapping) else None
        rewards = _of_key(result, "rewards") if isinstance(result, Mapping) else result
        if isinstance(_plain(rewards), numbers.Real):
            # OpenRLHF calls with one query at a time, so a function may return a single number.
            if count > 1:
                alone = [Group(group.task, (sample,)) for sample in group.samples]
                return [score for one in alone for score in self._openrlhf(one)]
            rewards = [rewards]
        values = _listed(rewards, count)
        return [_number_score(value, _logged(logs, i, count)) for i, value in enumerate(values)]

    def _call(self, calls: list[dict[str, Any]], positional: Sequence[Any] = ()) -> list[Any]:
        """The function's result for each set of arguments; awaitable results are awaited together.

        The calls run outside an event loop, because a plain function may start its own.
        """
        named = [_accepted(self.function, given) | dict(self.arguments) for given in calls]
        results = [self.function(*positional, **given) for given in named]
        if any(inspect.isawaitable(result) for result in results):
            return asyncio.run(_gather(results))
        return results


async def _gather(awaitables: list[Any]) -> list[Any]:
    return list(await asyncio.gather(*awaitables))


def _accepted(function: Callable[..., Any], given: dict[str, Any]) -> dict[str, Any]:
    """The arguments that the function accepts; a function with `**kwargs` accepts all."""
    if takes_any_name(function):
        return given
    names = {p.name for p in parameters_of(function)}
    return {name: value for name, value in given.items() if name in names}


def _columns(group: Group) -> dict[str, list[Any]]:
    """The task's columns as lists, each value repeated for every sample, as TRL passes them."""
    task = group.task
    row = {**dict.fromkeys(REFERENCE_NAMES, task.reference), "kind": task.kind, "task_id": task.id, **task.metadata}
    return {str(name): [value] * len(group.samples) for name, value in row.items()}


def _verl_arguments(group: Group, sample: Sample) -> dict[str, Any]:
    metadata = group.task.metadata
    extra = metadata.get("extra_info")
    return {
        "data_source": metadata.get("data_source", metadata.get("domain", group.task.kind)),
        "solution_str": sample.response,
        "ground_truth": group.task.reference,
        "extra_info": dict(extra) if isinstance(extra, Mapping) else dict(metadata),
    }


def _trl_score(value: Any, evidence: Any) -> Score:
    """One sample's score by TRL's rules: None becomes NaN, and a NaN is left out of the sample's sum."""
    value = _plain(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        what = "None" if value is None else "NaN"
        return Score.not_applicable(f"the function returned {what}: it does not apply to this sample", evidence)
    return _number_score(value, evidence)


def _verl_score(result: Any) -> Score:
    if not isinstance(result, Mapping):
        return _number_score(result, None)
    logged = {str(name): _plain(value) for name, value in result.items() if name != "score"}
    return _number_score(_of_key(result, "score"), logged)


def _of_key(result: Mapping[Any, Any], key: str) -> Any:
    if key not in result:
        raise BadReturn(f"the function returned a mapping without {key!r}; it has {sorted(map(str, result))}")
    return result[key]


def _number_score(value: Any, evidence: Any) -> Score:
    value = _plain(value)
    if value is None:
        return Score(None, "no_number", "the function returned None, but its toolkit accepts only a number", evidence)
    if not isinstance(value, numbers.Real):
        raise BadReturn(f"the function returned {type(value).__name__} instead of a number as a sample's reward")
    return Score(float(value), evidence=evidence)


def _listed(values: Any, count: int) -> list[Any]:
    """One value for each sample, from a list, tuple, tensor, array, series or generator."""
    if hasattr(values, "tolist"):
        values = values.tolist()
    if isinstance(values, str | bytes | Mapping | set | frozenset) or not isinstance(values, Iterable):
        raise BadReturn(f"the function returned {type(values).__name__}, not a list with one reward a sample")
    listed = list(islice(values, count + 1))
    if len(listed) != count:
        # A generator may be endless, so only one value too many is read.
        endless = f"more than {count}" if len(listed) > count else len(listed)
        many = len(values) if isinstance(values, Sized) else endless
        raise BadReturn(f"the function returned {many} rewards for {count} samples")
    return [_only_one(value) for value in listed]


def _only_one(value: Any) -> Any:
    """The item of a one-item list, else the value itself: an [N, 1] tensor holds N rewards."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _evidence(extra: Mapping[str, list[Any]], metrics: Mapping[str, Any], index: int) -> dict[str, Any] | None:
    logged = {name: _plain(values[index]) for name, values in extra.items() if index < len(values)}
    return logged | {name: _plain(value) for name, value in metrics.items()} or None


def _logged(logs: Any, index: int, count: int) -> dict[str, Any] | None:
    """One sample's values of OpenRLHF's `extra_logs`, which holds one value per sample under each name."""
    if not isinstance(logs, Mapping):
        return None
    lists = {str(name): values.tolist() if hasattr(values, "tolist") else values for name, values in logs.items()}
    return {
        name: _plain(v[index]) if isinstance(v, list | tuple) and len(v) == count else v for name, v in lists.items()
    } or None


def _plain(value: Any) -> Any:
    """Converts a decimal, or a tensor or array of one element, to a Python number; returns anything else unchanged."""
    if isinstance(value, Decimal):
        return float(value)
    size = getattr(value, "numel", None) or getattr(value, "size", None)
    size = size() if callable(size) else size
    return value.item() if hasattr(value, "item") and size == 1 else value
