"""Builds reward plugins. Each error message is one sentence that names the recipe key at fault."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rlkit.errors import PluginError
from rlkit.find import find_plugin
from rlkit.recipe.schema.reward_section import RewardKeys, RewardPartKeys
from rlkit.records import Group, Sample, Score, Task
from rlkit.scoring.plugins.foreign import ForeignReward
from rlkit.scoring.plugins.plugin_arguments import check_arguments
from rlkit.scoring.plugins.toolkits import NAMES, SUPPLIED, TRAINER_ONLY, is_factory, needed_arguments, toolkit_of

_MAX_MESSAGE = 400


class Plugin(Protocol):
    """A reward part.

    Optional members: `needs` names the parts whose scores it reads from `group.scores`. `start()` is called once in the
    scoring process; what it loads does not count against `reward.runtime.memory_mb`. `score_groups(groups)` scores
    several groups at once; it is called if the part has its own actors.
    """

    def score(self, group: Group) -> list[Score]:
        """One score for each sample of the group, in order."""
        ...


@dataclass(frozen=True)
class PerSample:
    """A plugin written as `score_one(task, sample)`. If it is async, the calls for one group run concurrently."""

    inner: Any

    def score(self, group: Group) -> list[Score]:
        """One call for each sample. Exceptions are handled outside, by `GuardedPlugin`, as for any plugin."""
        if not inspect.iscoroutinefunction(self.inner.score_one):
            return [self.inner.score_one(group.task, sample) for sample in group.samples]
        return asyncio.run(self._together(group.task, group.samples))

    async def _together(self, task: Task, samples: tuple[Sample, ...]) -> list[Score]:
        return list(await asyncio.gather(*(self.inner.score_one(task, sample) for sample in samples)))


@dataclass(frozen=True)
class Awaited:
    """A plugin whose `score(group)` is async."""

    inner: Any

    def score(self, group: Group) -> Any:
        """The result of the plugin's coroutine."""
        return asyncio.run(self.inner.score(group))


@dataclass(frozen=True)
class LoadedPart:
    """A part that is ready to score."""

    name: str
    weight: float
    """The recipe's value, not normalised."""
    plugin: Plugin
    needs: tuple[str, ...] = ()
    """Parts whose scores it reads; they run first."""
    start: Callable[[], object] | None = None
    """The plugin's `start` method, called once in the scoring process."""
    columns: tuple[str, ...] = ()
    """Data columns that the plugin needs as arguments."""


def load_parts(reward: RewardKeys, base_dir: Path, names: Sequence[str] | None = None) -> list[LoadedPart]:
    """Loads the parts of a recipe. Each part comes after the parts that it needs, otherwise in the recipe's order.

    Args:
        names: the parts to load; None: all.

    Raises:
        PluginError: a part cannot be loaded, a part that it needs is missing, or some parts need each other.
    """
    wanted = {name: part for name, part in reward.parts.items() if names is None or name in names}
    loaded = {name: load_part(name, part, base_dir) for name, part in wanted.items()}
    for part in loaded.values():
        for need in part.needs:
            if need not in reward.parts:
                raise PluginError(
                    f"reward.{part.name}: its plugin needs the scores of part {need!r}, which is not in this recipe "
                    f"({', '.join(reward.parts)}): add reward.{need} (weight 0 if it should not count)"
                )
    return [loaded[name] for name in sort_by_needs({part.name: part.needs for part in loaded.values()})]


def sort_by_needs(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """The parts, each after the parts that it needs, otherwise in the given order.

    Raises:
        PluginError: some parts need each other.
    """
    ordered: list[str] = []
    while left := [name for name in needs if name not in ordered]:
        ready = next((name for name in left if not set(needs[name]).intersection(left)), None)
        if ready is None:
            raise PluginError(
                f"reward parts {' and '.join(sorted(left))} need each other's scores: remove one of these needs"
            )
        ordered.append(ready)
    return ordered


def start_part(part: LoadedPart) -> None:
    """Calls the plugin's `start()`, if it has one.

    Raises:
        PluginError: `start()` raised.
    """
    if part.start is None:
        return
    try:
        part.start()
    # A plugin's method may raise anything.
    except (Exception, SystemExit) as e:
        raise PluginError(f"reward.{part.name}: its start() failed: {type(e).__name__}: {_line(e)}") from e


def takes_several(plugin: Plugin) -> bool:
    """Whether a plugin scores several groups in one call."""
    return callable(getattr(plugin, "score_groups", None))


def load_part(name: str, part: RewardPartKeys, base_dir: Path) -> LoadedPart:
    """Imports, checks and constructs one part's plugin.

    `plugin` is `module:Class`, `./file.py:Class` (relative to base_dir) or an entry point (default: the part's name),
    or a mapping such as `{trl: module:function}`.

    Raises:
        PluginError: the plugin is not found, not importable, has no scoring method, or gets wrong arguments.
    """
    if isinstance(part.plugin, dict):
        return _load_foreign(name, part, base_dir)
    cls = find_plugin(part.plugin or name, base_dir, f"reward.{name}.plugin")
    _refuse_foreign(name, part.plugin or name, cls)
    plugin = _build(name, cls, part.arguments, base_dir)
    if not hasattr(plugin, "score"):
        _refuse_foreign(name, part.plugin or name, plugin)
    needs = getattr(plugin, "needs", ())
    if isinstance(needs, str) or not all(isinstance(need, str) for need in needs):
        raise PluginError(f"reward.{name}: {cls.__name__}.needs must be a tuple of part names, got {needs!r}")
    start = getattr(plugin, "start", None)
    if start is not None:
        _check_takes(name, plugin, "start", ())
    return LoadedPart(name, part.weight, _callable_as_plugin(name, plugin), tuple(needs), start)


def _refuse_foreign(name: str, spec: str, function: Any) -> None:
    """Raises if the recipe names another toolkit's function without its style; the message shows how to write it."""
    style = toolkit_of(function)
    if style is None:
        return
    text = ", or trl_text where it takes the completions as plain text" if style == "trl" else ""
    raise PluginError(
        f"reward.{name}.plugin: {spec} has the signature of a reward function for {NAMES[style]}: write "
        f"plugin: {{{style}: {spec}}} in the recipe, or rlkit reward test {spec} --style {style}{text}"
    )


def _load_foreign(name: str, part: RewardPartKeys, base_dir: Path) -> LoadedPart:
    assert isinstance(part.plugin, dict)
    ((style, spec),) = part.plugin.items()
    check_function_name(name, style, spec)
    function, arguments = find_plugin(spec, base_dir, f"reward.{name}.plugin"), part.arguments
    _refuse_other_toolkit(name, style, spec, function)
    if is_factory(function, style, arguments):
        function, arguments = _build(name, function, arguments, base_dir), {}
        _refuse_other_toolkit(name, style, spec, function)
        if not callable(function) or is_factory(function, style, ()):
            what = f"{spec} returns {type(function).__name__}, which cannot be called as a reward function of"
            raise PluginError(f"reward.{name}.plugin: {what} {NAMES[style]}, with {', '.join(sorted(SUPPLIED[style]))}")
    else:
        arguments = check_arguments(name, function, arguments, base_dir, given_later=SUPPLIED[style])
    needed = needed_arguments(function, style, arguments)
    _refuse_unknown_arguments(name, style, spec, needed)
    return LoadedPart(
        name, part.weight, ForeignReward(style, function, arguments, tuple(needed)), columns=tuple(needed)
    )


def check_function_name(name: str, style: str, spec: str) -> None:
    """Checks that `spec` can name a function.

    Raises:
        PluginError: it cannot; the message states what to write.
    """
    if ":" not in spec:
        model = f"; a reward model is plugin: reward_model with path: {spec}" if "/" in spec else ""
        raise PluginError(
            f"reward.{name}.plugin.{style}: {spec!r} must be module:function or ./file.py:function{model}"
        )


def _refuse_other_toolkit(name: str, style: str, spec: str, function: Any) -> None:
    """Raises if the function has the signature of another toolkit than the recipe names."""
    found = toolkit_of(function)
    if found is not None and NAMES[found] != NAMES[style]:
        raise PluginError(
            f"reward.{name}.plugin.{style}: {spec} has the signature of a reward function for {NAMES[found]}, not for "
            f"{NAMES[style]}: write {{{found}: {spec}}} in the recipe, or --style {found}"
        )


def _refuse_unknown_arguments(name: str, style: str, spec: str, needed: Sequence[str]) -> None:
    """Raises if the function needs an argument that nothing supplies. Data columns supply a TRL function's."""
    trl = style.startswith("trl")
    unknown = [argument for argument in needed if not trl or argument in TRAINER_ONLY]
    if not unknown:
        return
    why = f"only {NAMES[style]}'s trainer has" if trl else f"{NAMES[style]} does not pass"
    raise PluginError(
        f"reward.{name}.{unknown[0]}: {spec} needs the argument {unknown[0]!r}, which {why}: set it here, or give it a "
        "default value in the function"
    )


def _build(name: str, cls: Any, given: dict[str, Any], base_dir: Path) -> Any:
    arguments = check_arguments(name, cls, given, base_dir)
    try:
        return cls(**arguments)
    # A plugin's constructor may raise anything.
    except (Exception, SystemExit) as e:
        raise PluginError(f"reward.{name}: {cls.__name__} could not be built: {type(e).__name__}: {_line(e)}") from e


def _line(error: BaseException) -> str:
    """An exception's message on one line."""
    return " ".join(str(error).split())[:_MAX_MESSAGE]


def _callable_as_plugin(name: str, plugin: Any) -> Plugin:
    """Wraps the plugin, if needed, so that it has a synchronous `score(group)`."""
    if not hasattr(plugin, "score") and callable(getattr(plugin, "score_one", None)):
        _check_takes(name, plugin, "score_one", ("task", "sample"))
        return PerSample(plugin)
    _check_takes(name, plugin, "score", ("group",))
    return Awaited(plugin) if inspect.iscoroutinefunction(plugin.score) else plugin


def _check_takes(name: str, plugin: Any, method: str, arguments: tuple[str, ...]) -> None:
    found = getattr(plugin, method, None)
    if not callable(found):
        raise PluginError(
            f"reward.{name}: {type(plugin).__name__} has no method score(group) or score_one(task, sample)"
        )
    try:
        inspect.signature(found).bind(*arguments)
    except TypeError as e:
        raise PluginError(
            f"reward.{name}: {type(plugin).__name__}.{method} must take ({', '.join(arguments)}): {e}"
        ) from e
    except ValueError:
        return  # no signature to check
