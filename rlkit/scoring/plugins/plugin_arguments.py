"""Checks a plugin's arguments in the recipe against its signature and annotations."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from rlkit.errors import PluginError, did_you_mean
from rlkit.find import find_plugin, signature_of
from rlkit.recipe.schema.reward_section import RewardPartKeys


def check_arguments(
    name: str, cls: Any, given: dict[str, Any], base_dir: Path, given_later: Collection[str] | None = None
) -> dict[str, Any]:
    """The arguments, checked and converted by the signature and annotations.

    Args:
        given_later: for another toolkit's function, the arguments that each call adds. Then other arguments may be
            missing here too, since the columns of the data are only known later.

    Raises:
        PluginError: an argument is unknown, missing or of the wrong type.
    """
    if (signature := signature_of(cls)) is None:
        return given
    known = [key for key in signature.names if key not in (given_later or ())]
    for key in given:
        if key not in known and not signature.takes_any:
            hint = did_you_mean(key, known) or did_you_mean(key, RewardPartKeys.model_fields)
            raise PluginError(
                f"reward.{name}.{key}: {cls.__name__} has no such argument{hint}; it takes {known or 'none'}"
            )
    missing = [key for key in known if key in signature.required and key not in given]
    if missing and given_later is None:
        what = f"reward.{name}.{missing[0]}: {cls.__name__} needs this argument; set it in the recipe"
        if not inspect.isclass(cls):
            what += ". rlkit calls a function once, to make the plugin; a plugin is a class with score(group) or "
            what += "score_one(task, sample). Name a reward function of another toolkit as {trl: ...}, {verl: ...} or "
            what += "{openrlhf: ...}"
        raise PluginError(what)
    hints = _hints(cls)
    checked: dict[str, Any] = {}
    for key, value in given.items():
        where = f"reward.{name}.{key}"
        checked[key] = _checked(where, hints.get(key), _with_functions(where, hints.get(key), value, base_dir))
    return checked


def _with_functions(where: str, hint: Any, value: Any, base_dir: Path) -> Any:
    """The value, with names of functions replaced by the functions where the plugin's annotation is `Callable`."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    for option in options:
        if typing.get_origin(option) is dict and isinstance(value, dict):
            inner = typing.get_args(option)[1]
            return {key: _with_functions(f"{where}.{key}", inner, v, base_dir) for key, v in value.items()}
        if typing.get_origin(option) is Callable and isinstance(value, str):
            if ":" not in value:
                raise PluginError(f"{where}: {value!r} must be module:function or ./file.py:function")
            function = find_plugin(value, base_dir, where)
            _check_takes(where, value, function, (*typing.get_args(option), None)[0])
            return function
    return value


def _check_takes(where: str, spec: str, function: Any, wanted: Any) -> None:
    """Raises if a function does not accept the number of arguments in the plugin's annotation."""
    if not isinstance(wanted, list):
        return  # Callable[..., X]: any arguments
    names = ", ".join(getattr(kind, "__name__", str(kind)).lower() for kind in wanted)
    try:
        inspect.signature(function).bind(*wanted)
    except TypeError as e:
        raise PluginError(f"{where}: {spec} must take ({names}): {e}") from e
    except ValueError:
        return  # no signature to check


def _hints(cls: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls.__init__ if inspect.isclass(cls) else cls)
    # Annotations are the plugin author's; if they cannot be resolved there is nothing to check.
    except Exception:
        return {}


def _checked(key: str, hint: Any, value: Any) -> Any:
    if hint is None or hint is Any:
        return value
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    # pydantic does not support some types; their values are not checked.
    except Exception:
        return value
    try:
        # YAML has no tuples or sets, so lists may be converted to them; quoted numbers are not converted.
        return adapter.validate_python(value, strict=not isinstance(value, list))
    except ValidationError as e:
        shown = getattr(hint, "__name__", None) if isinstance(hint, type) else None
        message = e.errors()[0]["msg"]
        raise PluginError(f"{key}={value!r} does not fit {shown or hint}: {message.lower()}") from e
