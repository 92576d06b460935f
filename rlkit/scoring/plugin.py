"""Finds, checks and builds reward plugins. Every mistake of a recipe is one sentence that names its key."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import sys
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import ConfigDict, TypeAdapter, ValidationError

from rlkit.errors import PluginError
from rlkit.recipe.schema.reward import Reward, RewardPart
from rlkit.records import Group, Score

ENTRY_POINTS = "rlkit.rewards"
"""Entry-point group under which plugins are found by name; the built-in parts are found the same way."""


class Plugin(Protocol):
    """A reward part. `needs` (optional) names the parts whose scores it wants in `group.scores`."""

    def score(self, group: Group) -> list[Score]:
        """One score for each sample of the group, in order."""
        ...


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

    `plugin` is `module:Class`, `./file.py:Class` (relative to base_dir) or an entry point; by default the part's name.

    Raises:
        PluginError: not found, not importable, wrong arguments, or without a `score(group)` method.
    """
    cls = find_plugin(part.plugin or name, base_dir, f"reward.{name}")
    arguments = _check_arguments(name, cls, part.arguments)
    try:
        plugin = cls(**arguments)
    # A stranger's constructor may raise anything.
    except Exception as e:
        raise PluginError(f"reward.{name}: {cls.__name__} could not be built: {type(e).__name__}: {e}") from e
    _check_score(name, plugin)
    needs = getattr(plugin, "needs", ())
    if isinstance(needs, str) or not all(isinstance(need, str) for need in needs):
        raise PluginError(f"reward.{name}: {cls.__name__}.needs must be a tuple of part names, got {needs!r}")
    return LoadedPart(name, part.weight, plugin, tuple(needs))


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


def _check_arguments(name: str, cls: Any, given: dict[str, Any]) -> dict[str, Any]:
    """The arguments, checked against the constructor's signature and annotations."""
    try:
        parameters = inspect.signature(cls).parameters
    except (TypeError, ValueError):
        return given
    known = [p.name for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key in given:
        if key not in known and not takes_any:
            hint = _nearest(key, known)
            raise PluginError(
                f"reward.{name}.{key}: {cls.__name__} has no such argument{hint}; it takes {known or 'none'}"
            )
    missing = [key for key in known if parameters[key].default is inspect.Parameter.empty and key not in given]
    if missing:
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


def _check_score(name: str, plugin: Any) -> None:
    score = getattr(plugin, "score", None)
    if not callable(score):
        raise PluginError(f"reward.{name}: {type(plugin).__name__} has no method score(group)")
    try:
        inspect.signature(score).bind(None)
    except TypeError as e:
        raise PluginError(
            f"reward.{name}: {type(plugin).__name__}.score must take one argument, the group ({e})"
        ) from e
    except ValueError:
        return  # no signature to look at


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
