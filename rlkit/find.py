"""Finds the classes and functions that a recipe names: `module:name`, `./file.py:name`, or an entry point."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlkit.errors import PluginError, did_you_mean

_MAX_MESSAGE = 400
ENTRY_POINTS = "rlkit.rewards"
"""Entry-point group of reward plugins; the built-in parts are in it too."""


def check_present(spec: str, base_dir: Path, where: str, group: str = ENTRY_POINTS) -> None:
    """Checks that the file, module or entry point of a plugin exists, without importing it.

    Args:
        spec: `module:name`, `./file.py:name` or the name of an entry point.
        base_dir: Folder that file paths are relative to; modules in it can be imported too.
        where: The recipe key that names the plugin, for the error message.
        group: Entry-point group.

    Raises:
        PluginError: It does not exist.
    """
    if ":" not in spec:
        _entry_point(spec, where, group)
        return
    source = spec.rpartition(":")[0]
    if source.endswith(".py"):
        if not (base_dir / source).is_file():
            raise PluginError(f"{where}: {_missing(source, base_dir)}")
        return
    # The module may lie beside the recipe or be installed.
    top = source.partition(".")[0]
    beside = (base_dir / top).is_dir() or (base_dir / f"{top}.py").is_file()
    if not beside and not (top.isidentifier() and importlib.util.find_spec(top)):
        known = [*sys.stdlib_module_names, *sys.modules, *importlib.metadata.packages_distributions()]
        hint = did_you_mean(top, [name for name in known if "." not in name])
        raise PluginError(f"{where}: cannot import {source}: there is no module named {top!r}{hint}")


def find_plugin(spec: str, base_dir: Path, where: str, group: str = ENTRY_POINTS) -> Any:
    """Imports the class or function that a plugin spec names. See `check_present` for the arguments.

    Raises:
        PluginError: It does not exist, cannot be imported or is not callable.
    """
    check_present(spec, base_dir, where, group)
    if ":" not in spec:
        return _from_entry_point(spec, where, group)
    source, _, attribute = spec.rpartition(":")
    try:
        if source.endswith(".py"):
            module = _import_file(base_dir / source)
        else:
            # At the end of the path, so that a module beside the recipe cannot shadow an installed one.
            if str(base_dir) not in sys.path:
                sys.path.append(str(base_dir))
            module = importlib.import_module(source)
    # A user's module may raise anything at import.
    except (Exception, SystemExit) as e:
        raise PluginError(f"{where}: cannot import {source}: {type(e).__name__}: {_line(e)}") from e
    found = getattr(module, attribute, None)
    if found is not None and not callable(found):
        what = f"{attribute} in {source} is of type {type(found).__name__}"
        raise PluginError(f"{where}: {what}, and must be a class or a function")
    if found is None:
        raise PluginError(
            f"{where}: {source} has no class or function {attribute!r}{did_you_mean(attribute, dir(module))}"
        )
    return found


@dataclass(frozen=True)
class CallSignature:
    """The arguments that a class or function takes."""

    names: list[str]
    """Arguments that can be given by name."""
    required: list[str]
    """Arguments without a default, those that can only be given by position included."""
    takes_any: bool
    """Whether it takes arguments of any other name too."""


def signature_of(found: Any) -> CallSignature | None:
    """The arguments of a class or function; None if it has no signature to read, as some written in C."""
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return None
    own = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    return CallSignature(
        names=[p.name for p in own if p.kind is not p.POSITIONAL_ONLY],
        required=[p.name for p in own if p.default is p.empty],
        takes_any=any(p.kind is p.VAR_KEYWORD for p in parameters),
    )


def _entry_point(name: str, where: str, group: str) -> importlib.metadata.EntryPoint:
    points = {point.name: point for point in importlib.metadata.entry_points(group=group)}
    if name not in points:
        raise PluginError(
            f"{where}: no installed plugin is named {name!r}{did_you_mean(name, points)}; write "
            f"module:Class, ./file.py:Class, or one of {', '.join(sorted(points))}"
        )
    return points[name]


def _from_entry_point(name: str, where: str, group: str) -> Any:
    point = _entry_point(name, where, group)
    try:
        return point.load()
    # A user's module may raise anything at import.
    except (Exception, SystemExit) as e:
        raise PluginError(f"{where}: cannot import {point.value}: {type(e).__name__}: {_line(e)}") from e


def _import_file(path: Path) -> Any:
    path = path.resolve()
    # The module's name contains the whole path, so that files of the same name in two folders stay two modules, and
    # their classes can be pickled.
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


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:_MAX_MESSAGE]


def _missing(source: str, base_dir: Path) -> str:
    """The message for a missing plugin file, with a hint at the file that the user probably meant."""
    folder = base_dir.resolve()
    hint = did_you_mean(Path(source).name, [path.name for path in folder.glob("*.py")])
    if Path(source).is_file():
        hint = f"; there is one in the working directory: move it there, or write {Path(source).resolve()}"
    return f"there is no file {source} in the recipe's folder {folder}{hint}"
