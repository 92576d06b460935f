"""Finds, checks and builds reward plugins. Every mistake of a recipe is one sentence that names its key."""

from __future__ import annotations

import asyncio
import difflib
import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import sys
import typing
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import ConfigDict, TypeAdapter, ValidationError

from rlkit.errors import PluginError
from rlkit.recipe.schema.reward import Reward, RewardPart
from rlkit.records import Group, Sample, Score, Task
from rlkit.scoring.foreign import SUPPLIED, ForeignReward, is_factory

ENTRY_POINTS = "rlkit.rewards"
"""Entry-point group under which plugins are found by name; the built-in parts are found the same way."""


class Plugin(Protocol):
    """A reward part. `needs` (optional) names the parts whose scores it wants in `group.scores`."""

    def score(self, group: Group) -> list[Score]:
        """One score for each sample of the group, in order."""
        ...


@dataclass(frozen=True)
class PerSample:
    """A plugin written as `score_one(task, sample)`, plain or async: async calls for one group run together."""

    inner: Any

    def score(self, group: Group) -> list[Score]:
        """One call a sample. Whatever it raises costs the samples that the walls find at fault, as with any plugin."""
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
        """What the plugin's coroutine returns."""
        return asyncio.run(self.inner.score(group))


@dataclass(frozen=True)
class LoadedPart:
    """A part that is ready to score."""

    name: str
    weight: float
    """As in the recipe, not normalised."""
    plugin: Plugin
    needs: tuple[str, ...] = ()
    """Parts that run before it."""


def load_parts(reward: Reward, base_dir: Path) -> list[LoadedPart]:
    """Every part of a recipe, each one after the parts that it needs, else in the recipe's order.

    Raises:
        PluginError: a part cannot be loaded, needs a part that is not there, or two need each other.
    """
    loaded = {name: load_part(name, part, base_dir) for name, part in reward.parts.items()}
    for part in loaded.values():
        for need in part.needs:
            if need not in loaded:
                raise PluginError(
                    f"reward.{part.name}: its plugin needs the scores of part {need!r}, which is not in this recipe "
                    f"({', '.join(loaded)}): add reward.{need} (weight 0 if it should not count)"
                )
    ordered: list[LoadedPart] = []
    left = dict(loaded)
    while left:
        done = {part.name for part in ordered}
        ready = [part for part in left.values() if done.issuperset(part.needs)]
        if not ready:
            raise PluginError(f"reward parts {' and '.join(sorted(left))} need each other's scores: break the circle")
        ordered.append(ready[0])
        del left[ready[0].name]
    return ordered


def load_part(name: str, part: RewardPart, base_dir: Path) -> LoadedPart:
    """Imports, checks and constructs one part's plugin.

    `plugin` is `module:Class`, `./file.py:Class` (relative to base_dir) or an entry point, by default the part's name;
    or a mapping such as `{trl: module:function}`.

    Raises:
        PluginError: not found, not importable, wrong arguments, or without a method that scores.
    """
    if isinstance(part.plugin, dict):
        return LoadedPart(name, part.weight, _load_foreign(name, part, base_dir))
    cls = find_plugin(part.plugin or name, base_dir, f"reward.{name}")
    plugin = _build(name, cls, part.arguments)
    needs = getattr(plugin, "needs", ())
    if isinstance(needs, str) or not all(isinstance(need, str) for need in needs):
        raise PluginError(f"reward.{name}: {cls.__name__}.needs must be a tuple of part names, got {needs!r}")
    return LoadedPart(name, part.weight, _callable_as_plugin(name, plugin), tuple(needs))


def _load_foreign(name: str, part: RewardPart, base_dir: Path) -> Plugin:
    assert isinstance(part.plugin, dict)
    ((style, spec),) = part.plugin.items()
    if ":" not in spec:
        raise PluginError(f"reward.{name}.plugin.{style}: {spec!r} must be module:function or ./file.py:function")
    function = find_plugin(spec, base_dir, f"reward.{name}")
    if is_factory(function, style):
        return ForeignReward(style, _build(name, function, part.arguments))
    arguments = _check_arguments(name, function, part.arguments, given_later=SUPPLIED[style])
    return ForeignReward(style, function, arguments)


def _build(name: str, cls: Any, given: dict[str, Any]) -> Any:
    arguments = _check_arguments(name, cls, given)
    try:
        return cls(**arguments)
    # A stranger's constructor may raise anything.
    except Exception as e:
        raise PluginError(f"reward.{name}: {cls.__name__} could not be built: {type(e).__name__}: {e}") from e


def _callable_as_plugin(name: str, plugin: Any) -> Plugin:
    """The plugin as one with a plain `score(group)`."""
    if not hasattr(plugin, "score") and callable(getattr(plugin, "score_one", None)):
        _check_takes(name, plugin, "score_one", ("task", "sample"))
        return PerSample(plugin)
    _check_takes(name, plugin, "score", ("group",))
    return Awaited(plugin) if inspect.iscoroutinefunction(plugin.score) else plugin


def find_plugin(spec: str, base_dir: Path, where: str) -> Any:
    """The class (or factory) that a plugin spec names.

    Raises:
        PluginError: with `where`, the recipe key that named it.
    """
    if ":" not in spec:
        return _from_entry_point(spec, where)
    source, _, attribute = spec.rpartition(":")
    try:
        if source.endswith(".py"):
            module = _import_file(base_dir / source)
        else:
            # Modules beside the recipe are found as well as installed ones.
            if str(base_dir) not in sys.path:
                sys.path.append(str(base_dir))
            module = importlib.import_module(source)
    except FileNotFoundError as e:
        raise PluginError(f"{where}.plugin: there is no file {base_dir / source}") from e
    # Importing a stranger's module may raise anything.
    except Exception as e:
        raise PluginError(f"{where}.plugin: cannot import {source}: {type(e).__name__}: {e}") from e
    found = getattr(module, attribute, None)
    if not callable(found):
        raise PluginError(f"{where}.plugin: {source} has no class {attribute!r}{_nearest(attribute, dir(module))}")
    return found


def _from_entry_point(name: str, where: str) -> Any:
    points = {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}
    if name not in points:
        raise PluginError(
            f"{where}.plugin: no installed plugin is called {name!r}{_nearest(name, list(points))}; write "
            f"module:Class, ./file.py:Class, or one of {', '.join(sorted(points))}"
        )
    try:
        return points[name].load()
    # As above: a stranger's module.
    except Exception as e:
        raise PluginError(f"{where}.plugin: cannot import {points[name].value}: {type(e).__name__}: {e}") from e


def _import_file(path: Path) -> Any:
    path = path.resolve()
    if not path.is_file():
        raise FileNotFoundError(path)
    # The name is unique to the path: two files of one name stay two modules, and their classes can be pickled.
    name = "rlkit_plugin_" + re.sub(r"\W", "_", str(path))
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _check_arguments(
    name: str, cls: Any, given: dict[str, Any], given_later: Collection[str] | None = None
) -> dict[str, Any]:
    """The arguments, checked against the signature and annotations.

    Args:
        given_later: of a function that is called with more than these: what else it gets. Then an argument may be
            missing here, since a data set's columns are only known later.
    """
    try:
        parameters = inspect.signature(cls).parameters
    except (TypeError, ValueError):
        return given
    known = [p.name for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    known = [key for key in known if key not in (given_later or ())]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key in given:
        if key not in known and not takes_any:
            hint = _nearest(key, known)
            raise PluginError(
                f"reward.{name}.{key}: {cls.__name__} has no such argument{hint}; it takes {known or 'none'}"
            )
    missing = [key for key in known if parameters[key].default is inspect.Parameter.empty and key not in given]
    if missing and given_later is None:
        raise PluginError(f"reward.{name}.{missing[0]}: {cls.__name__} needs this argument; set it in the recipe")
    hints = _hints(cls)
    return {key: _checked(f"reward.{name}.{key}", hints.get(key), value) for key, value in given.items()}


def _hints(cls: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls.__init__ if inspect.isclass(cls) else cls)
    # Annotations are a stranger's text; where they cannot be resolved there is nothing to check.
    except Exception:
        return {}


def _checked(key: str, hint: Any, value: Any) -> Any:
    if hint is None or hint is Any:
        return value
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    # pydantic refuses configurations on some types and cannot describe others; those go unchecked.
    except Exception:
        return value
    try:
        # YAML has no tuples and sets, so lists may become them; numbers in quotes may not become numbers.
        return adapter.validate_python(value, strict=not isinstance(value, list))
    except ValidationError as e:
        shown = getattr(hint, "__name__", None) if isinstance(hint, type) else None
        message = e.errors()[0]["msg"]
        raise PluginError(f"{key}={value!r} does not fit {shown or hint}: {message.lower()}") from e


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
        return  # no signature to look at


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
