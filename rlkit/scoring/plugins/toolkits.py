"""Reads from a signature for which toolkit a reward function was written, and which columns of the data it needs.

The rules are those of TRL 1.16.0 (`GRPOTrainer._calculate_rewards`), of verl's reward managers naive, dapo (as of
commit 13c4d3a) and batch (0ffc057), and of OpenRLHF's `SingleTurnAgentExecutor` (04655bc).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any

NAMES = {"trl": "TRL", "trl_text": "TRL", "verl": "verl", "openrlhf": "OpenRLHF"}
"""Each style's toolkit."""
REFERENCE_NAMES = ("reference", "solution", "answer", "ground_truth", "label", "target")
"""Columns under which a TRL function finds the task's reference, unless the data set has a column of that name."""
TASK_NAMES = (*REFERENCE_NAMES, "kind", "task_id")
"""Columns that a TRL function finds whatever the data set holds."""
_TRL = {"prompts", "completions", "completion_ids", "log_extra", "log_metric"}
VERL_BATCH = {"data_sources", "solution_strs", "ground_truths", "extra_infos"}
"""What verl's BatchRewardManager passes: lists, for a function that scores several replies at once."""
SUPPLIED = {
    "trl": _TRL,
    "trl_text": _TRL,
    "verl": {"data_source", "solution_str", "ground_truth", "extra_info"} | VERL_BATCH,
    "openrlhf": {"queries", "prompts", "labels"},
}
"""Arguments that a toolkit itself gives, by style: a function that takes one of them is the reward function; one that
takes none (such as `get_cosine_scaled_reward(max_len)`) makes it."""
TRAINER_ONLY = {"trainer_state", "environments"}
"""What TRL's trainer passes and rlkit has not."""
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NUM_OPENRLHF = 3


def parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """A function's own parameters, and those of the function under a decorator that passes everything on.

    Empty where a function of C has no signature.
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
    """The style whose reward functions have this signature; None where it does not tell.

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
    """Whether calling it gives the reward function: a class, or a function that takes nothing its toolkit gives.

    Args:
        given: names of the arguments that the recipe sets.
    """
    if inspect.isclass(function):
        return True
    if takes_any_name(function) or SUPPLIED[style].intersection(p.name for p in parameters_of(function)):
        return False
    # OpenRLHF passes by position, so that the names may be any.
    return style != "openrlhf" or len(positions_taken(function, given)) < _NUM_OPENRLHF


def positions_taken(function: Callable[..., Any], given: Collection[str]) -> list[str]:
    """Names of the parameters that OpenRLHF's three arguments, passed by position, go to; `*args` takes the rest."""
    parameters = [p for p in parameters_of(function) if p.name not in given]
    free = [p.name for p in parameters if p.kind in _BY_POSITION]
    rest = [p.name for p in parameters if p.kind is p.VAR_POSITIONAL]
    return (free + rest * _NUM_OPENRLHF)[:_NUM_OPENRLHF]


def needed_arguments(function: Callable[..., Any], style: str, given: Collection[str]) -> list[str]:
    """Names that the function needs beyond what its toolkit and the recipe give it.

    Of a TRL function these are columns of the data. An argument with a default value is not needed.
    """
    parameters = [p for p in parameters_of(function) if p.kind in _BY_NAME and p.default is p.empty]
    names = [p.name for p in parameters if p.name not in given and p.name not in SUPPLIED[style]]
    if style == "openrlhf":
        taken = positions_taken(function, given)
        return [name for name in names if name not in taken]
    return [name for name in names if not (style.startswith("trl") and name in TASK_NAMES)]
