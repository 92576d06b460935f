"""Reward functions written for TRL, verl and OpenRLHF, as plugins: the same calls, the same numbers.

Each toolkit calls its functions with keyword arguments of its own; an adapter makes them from a group and turns what
comes back into scores. What a toolkit passes beyond that (a trainer's state, an environment) is not there.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rlkit.records import Group, Sample, Score

REFERENCE_NAMES = ("reference", "solution", "answer", "ground_truth", "label", "target")
"""Columns under which a TRL function finds the task's reference, unless the data set has a column of that name."""
SUPPLIED = {
    "trl": {"prompts", "completions", "completion_ids", "log_extra", "log_metric"},
    "trl_text": {"prompts", "completions", "completion_ids", "log_extra", "log_metric"},
    "verl": {"data_source", "solution_str", "ground_truth", "extra_info"},
    "openrlhf": {"queries", "prompts", "labels"},
}
"""Arguments that a toolkit itself gives, by style: a function that takes one of them is the reward function; one that
takes none (such as `get_cosine_scaled_reward(max_len)`) makes it."""


class BadReturn(Exception):
    """A foreign function returned something that its toolkit would not take."""


@dataclass(frozen=True)
class ForeignReward:
    """A plugin round another toolkit's reward function.

    Args:
        style: one of `SUPPLIED`.
        function: the function, or an object with `__call__`; it may be async.
        arguments: handed over with each call, as verl's `reward_kwargs` are.
    """

    style: str
    function: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def score(self, group: Group) -> list[Score]:
        """One score a sample; None where a TRL function says None."""
        by_style = {"verl": self._verl, "openrlhf": self._openrlhf}
        return by_style.get(self.style, self._trl)(group)

    def _trl(self, group: Group) -> list[Score]:
        task = group.task
        extra: dict[str, list[Any]] = {}
        metrics: dict[str, Any] = {}
        given: dict[str, Any] = {
            **_columns(group),
            "prompts": [task.prompt if self.style == "trl_text" else task.messages for _ in group.samples],
            "completions": [self._message("assistant", sample.response) for sample in group.samples],
            "log_extra": lambda name, values: extra.update({name: list(values)}),
            "log_metric": lambda name, value: metrics.update({name: value}),
        }
        # Where tokens are not known, a function that needs them fails by name; none would pass for a short reply.
        if all(len(sample.token_ids) == sample.num_tokens for sample in group.samples):
            given["completion_ids"] = [list(sample.token_ids) for sample in group.samples]
        values = _listed(self._call([given])[0], len(group.samples))
        logged = [_evidence(extra, metrics, i) for i in range(len(values))]
        return [_score(value, evidence) for value, evidence in zip(values, logged, strict=True)]

    def _message(self, role: str, text: str) -> Any:
        return text if self.style == "trl_text" else [{"role": role, "content": text}]

    def _verl(self, group: Group) -> list[Score]:
        return [_verl_score(result) for result in self._call([_verl_arguments(group, s) for s in group.samples])]

    def _openrlhf(self, group: Group) -> list[Score]:
        prompt = group.task.prompt
        given = {
            "queries": [prompt + sample.response for sample in group.samples],
            "prompts": [prompt for _ in group.samples],
            "labels": [group.task.reference for _ in group.samples],
        }
        (result,) = self._call([given])
        rewards = result["rewards"] if isinstance(result, Mapping) else result
        return [_score(value, None) for value in _listed(rewards, len(group.samples))]

    def _call(self, calls: list[dict[str, Any]]) -> list[Any]:
        """The function's result for each set of arguments; async ones are awaited together.

        A plain function is called outside any event loop, since it may start one of its own.
        """
        results = [self.function(**_accepted(self.function, {**given, **self.arguments})) for given in calls]
        if any(inspect.isawaitable(result) for result in results):
            return asyncio.run(_gather(results))
        return results


async def _gather(awaitables: list[Any]) -> list[Any]:
    return list(await asyncio.gather(*awaitables))


def is_factory(function: Any, style: str) -> bool:
    """Whether calling it gives the reward function: a class, or a function that takes nothing its toolkit gives."""
    if inspect.isclass(function):
        return True
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return False
    return not SUPPLIED[style].intersection(p.name for p in parameters)


def _accepted(function: Callable[..., Any], given: dict[str, Any]) -> dict[str, Any]:
    """What the function takes of what is there; one with `**kwargs` takes everything."""
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return given
    names = {p.name for p in parameters}
    return {name: value for name, value in given.items() if name in names}


def _columns(group: Group) -> dict[str, list[Any]]:
    """The task's columns, repeated for each sample as TRL repeats them."""
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


def _verl_score(result: Any) -> Score:
    """verl takes a number, or a mapping whose "score" counts and whose other keys are logged."""
    if not isinstance(result, Mapping):
        return _score(result, None)
    if "score" not in result:
        raise BadReturn(f"returned a mapping without 'score': {sorted(map(str, result))}")
    return _score(result["score"], {str(name): _plain(v) for name, v in result.items() if name != "score"})


def _listed(values: Any, count: int) -> list[Any]:
    if hasattr(values, "tolist"):
        values = values.tolist()
    if not isinstance(values, list | tuple):
        raise BadReturn(f"returned {type(values).__name__}, not a list of rewards")
    if len(values) != count:
        raise BadReturn(f"returned {len(values)} rewards for {count} samples")
    return list(values)


def _evidence(extra: Mapping[str, list[Any]], metrics: Mapping[str, Any], index: int) -> dict[str, Any] | None:
    logged = {name: _plain(values[index]) for name, values in extra.items() if index < len(values)}
    return logged | {name: _plain(value) for name, value in metrics.items()} or None


def _score(value: Any, evidence: Any) -> Score:
    return Score(_plain(value), evidence=evidence)


def _plain(value: Any) -> Any:
    """A number out of a tensor or array of one element; anything else as it is."""
    return value.item() if hasattr(value, "item") and getattr(value, "size", None) is not None else value
