"""Recognises the toolkit of a reward function, and the data columns that it needs, from the function's signature.

The rules are those of TRL 1.16.0 (`GRPOTrainer._calculate_rewards`), of verl's reward managers naive, dapo (as of
commit 13c4d3a) and batch (0ffc057), and of OpenRLHF's `SingleTurnAgentExecutor` (04655bc).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any

NAMES = {"trl": "TRL", "trl_text": "TRL", "verl": "verl", "openrlhf": "OpenRLHF"}
"""Name of each style's toolkit."""
REFERENCE_NAMES = ("reference", "solution", "answer", "ground_truth", "label", "target")
"""Names under which a TRL function gets the task's reference, unless the data has a column of that name."""
TASK_NAMES = (*REFERENCE_NAMES, "kind", "task_id")
"""Columns that a TRL function always gets, whatever the data holds."""
_TRL = {"prompts", "completions", "completion_ids", "log_extra", "log_metric"}
VERL_BATCH = {"data_sources", "solution_strs", "ground_truths", "extra_infos"}
"""Arguments of verl's BatchRewardManager: lists, for a function that scores several replies at once."""
SUPPLIED = {
    "trl": _TRL,
    "trl_text": _TRL,
    "verl": {"data_source", "solution_str", "ground_truth", "extra_info"} | VERL_BATCH,
    "openrlhf": {"queries", "prompts", "labels"},
}
"""For each style, the arguments that the toolkit supplies. A function with one of them is the reward function; a
function with none of them, such as `get_cosine_scaled_reward(max_len)`, is a factory that returns it."""
TRAINER_ONLY = {"trainer_state", "environments"}
"""Arguments that TRL's trainer passes and rlkit cannot supply."""
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NUM_OPENRLHF = 3


def parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """A function's parameters; for a decorator's wrapper with only *args and **kwargs, those of the wrapped function.

    Empty for a C function without a signature.
    """
    try:
        own = list(inspect.signature(function, follow_wrapped=False).parameters.values())
        passes_on = {p.kind for p in own} == {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
        return list(inspect.signature(function).parameters.values()) if passes_on else own
    except (TypeError, ValueError):
        return []


def takes_any_name(function: Callable[..., Any]) -> bool:
    """Whether it has `**kwargs`."""
    return any(p.kind is p.VAR_KEYWORD for p in parameters_of(function))


def toolkit_of(function: Any) -> str | None:
    """The style whose reward functions have this signature; None if the signature fits none.

    def f(completions, **kwargs) -> "trl";  def f(data_source, solution_str, ground_truth) -> "verl"
    """
    if inspect.isclass(function) or not callable(function):
        return None
    names = {p.name for p in parameters_of(function)}
    if names & {"solution_str", "solution_strs"} or {"data_source", "ground_truth"} <= names:
        return "verl"
    if "queries" in names:
        return "openrlhf"
    if "completions" in names or ("prompts" in names and takes_any_name(function)):
        return "trl"
    return None


def is_factory(function: Any, style: str, given: Collection[str]) -> bool:
    """Whether calling it returns the reward function: a class, or a function that takes no argument of its toolkit.

    Args:
        given: names of the arguments that the recipe sets.
    """
    if inspect.isclass(function):
        return True
    if takes_any_name(function) or SUPPLIED[style].intersection(p.name for p in parameters_of(function)):
        return False
    # OpenRLHF passes its arguments by position, so their names do not matter.
    return style != "openrlhf" or len(positions_taken(function, given)) < _NUM_OPENRLHF


def positions_taken(function: Callable[..., Any], given: Collection[str]) -> list[str]:
    """Names of the parameters that receive OpenRLHF's three positional arguments; `*args` takes the rest."""
    parameters = [p for p in parameters_of(function) if p.name not in given]
    free = [p.name for p in parameters if p.kind in _BY_POSITION]
    rest = [p.name for p in parameters if p.kind is p.VAR_POSITIONAL]
    return (free + rest * _NUM_OPENRLHF)[:_NUM_OPENRLHF]


def needed_arguments(function: Callable[..., Any], style: str, given: Collection[str]) -> list[str]:
    """Arguments that the function needs and neither its toolkit nor the recipe supplies.

    For a TRL function these are data columns. An argument with a default value is not needed.
    """
    parameters = [p for p in parameters_of(function) if p.kind in _BY_NAME and p.default is p.empty]
    names = [p.name for p in parameters if p.name not in given and p.name not in SUPPLIED[style]]
    if style == "openrlhf":
        taken = positions_taken(function, given)
        return [name for name in names if name not in taken]
    return [name for name in names if not (style.startswith("trl") and name in TASK_NAMES)]
