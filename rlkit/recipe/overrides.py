"""`KEY=VALUE` from the command line, set into a recipe's mapping by dotted path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from rlkit.errors import RecipeError
from rlkit.recipe.positions import KeyPath, Positions, dotted, kind_of, parse_value

# By section, keys of which a recipe gives one: an override of one drops the others. `data.path` keeps mapping,
# fields, filter and split, since the new file usually has the old one's columns.
ALTERNATIVES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("model", ("path", "init")),
    ("data", ("path", "sources")),
    ("data", ("mapping", "fields")),
    ("stages", ("steps", "epochs")),
)


def apply_overrides(data: dict[str, Any], positions: Positions, overrides: Sequence[str]) -> dict[KeyPath, str]:
    """Sets each override into `data`, in order, and notes its place; the raw text of each value by path.

    Raises:
        RecipeError: An override is not KEY=VALUE, or its path leads nowhere.
    """
    raw: dict[KeyPath, str] = {}
    given: list[KeyPath] = []
    for override in overrides:
        key, text = _split(override)
        path = _set(data, key, _value(override, text), override, positions)
        raw[path] = text
        given.append(path)
    for path in given:
        _drop_alternatives(data, path, positions, given)
    return raw


def _split(override: str) -> tuple[list[str], str]:
    name, equals, text = override.partition("=")
    name = name.strip()
    if not equals or not name or not all(name.split(".")):
        raise RecipeError(f"override {override!r} is not KEY=VALUE, such as stages.1.steps=5")
    return name.split("."), text


def _value(override: str, text: str) -> Any:
    try:
        return parse_value(text)
    except (yaml.YAMLError, ValueError) as e:
        problem = " ".join(str(getattr(e, "problem", None) or e).split())
        raise RecipeError(f"override {override}: the value is not YAML: {problem}; quote it") from e


def _set(data: dict[str, Any], key: list[str], value: Any, override: str, positions: Positions) -> KeyPath:
    """Walks to the key's parent, making sections that are missing, and sets the value there."""
    at: Any = data
    path: KeyPath = ()
    for i, name in enumerate(key):
        step = _step(at, name, path, override)
        path = (*path, step)
        if i == len(key) - 1:
            at[step] = value
            break
        if isinstance(at, dict) and at.get(step) is None:
            at[step] = {}
            positions.forget(path)
            positions.overrides[path] = override
        elif isinstance(at[step], (dict, list)):
            at[step] = at[step].copy()  # an anchor may share it with another place
        at = at[step]
    positions.forget(path)
    positions.overrides[path] = override
    return path


def _step(at: Any, name: str, path: KeyPath, override: str) -> str | int:
    if isinstance(at, dict):
        return name
    if not isinstance(at, list):
        raise RecipeError(f"override {override}: {dotted(path)} is {kind_of(at)} and has no key {name!r}")
    if not name.isdecimal() or int(name) >= len(at):
        known = f"0 to {len(at) - 1}" if at else "it is empty"
        raise RecipeError(f"override {override}: {dotted(path)} is a list, and {name!r} is none of its items: {known}")
    return int(name)


def _drop_alternatives(data: dict[str, Any], path: KeyPath, positions: Positions, given: list[KeyPath]) -> None:
    for end in range(1, len(path)):
        parent, name = path[:end], path[end]
        section = parent[-1] if isinstance(parent[-1], str) else parent[0]
        for other in _others(section, name):
            rival = (*parent, other)
            if not any(p[: len(rival)] == rival for p in given):
                _remove(data, rival)
                positions.forget(rival)


def _others(section: str | int, name: str | int) -> list[str]:
    return [k for s, keys in ALTERNATIVES if s == section and name in keys for k in keys if k != name]


def _remove(data: Any, path: KeyPath) -> None:
    for step in path[:-1]:
        data = data[step]
    if isinstance(data, dict):
        data.pop(path[-1], None)
