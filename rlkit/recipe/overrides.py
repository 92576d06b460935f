"""Applies `KEY=VALUE` overrides from the command line to a recipe's mapping, by dotted path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from rlkit.errors import RecipeError
from rlkit.recipe.positions import KeyPath, Positions, dotted, kind_of, parse_value

# By section: keys that exclude each other. An override of one removes the others. An override of `data.path` keeps
# mapping, fields, filter and split, because the new file usually has the same columns.
ALTERNATIVES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("model", ("path", "init")),
    ("data", ("path", "sources")),
    ("data", ("mapping", "fields")),
    ("stages", ("steps", "epochs")),
)


def apply_overrides(data: dict[str, Any], positions: Positions, overrides: Sequence[str]) -> dict[KeyPath, str]:
    """Sets each override in `data`, in order, and records it in `positions`. Returns each value's raw text by path.

    Raises:
        RecipeError: An override is not KEY=VALUE, or its path does not exist.
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
    """Sets the value and creates missing parent sections."""
    parent: Any = data
    path: KeyPath = ()
    for i, name in enumerate(key):
        step = _step(parent, name, path, override)
        path = (*path, step)
        if i == len(key) - 1:
            parent[step] = value
            break
        if isinstance(parent, dict) and parent.get(step) is None:
            parent[step] = {}
            positions.forget(path)
            positions.overrides[path] = override
        elif isinstance(parent[step], (dict, list)):
            # A YAML anchor may share this value with another key, which must keep the old one.
            parent[step] = parent[step].copy()
        parent = parent[step]
    positions.forget(path)
    positions.overrides[path] = override
    return path


def _step(parent: Any, name: str, path: KeyPath, override: str) -> str | int:
    """The key or list index that `name` means in `parent`."""
    if isinstance(parent, dict):
        return name
    if not isinstance(parent, list):
        raise RecipeError(f"override {override}: {dotted(path)} is {kind_of(parent)} and has no key {name!r}")
    if not name.isdecimal() or int(name) >= len(parent):
        known = f"its items are 0 to {len(parent) - 1}" if parent else "it is empty"
        raise RecipeError(f"override {override}: {dotted(path)} is a list without an item {name!r}: {known}")
    return int(name)


def _drop_alternatives(data: dict[str, Any], path: KeyPath, positions: Positions, given: list[KeyPath]) -> None:
    for end in range(1, len(path)):
        parent, name = path[:end], path[end]
        section = parent[-1] if isinstance(parent[-1], str) else parent[0]
        for other in _alternatives(section, name):
            alternative = (*parent, other)
            if not any(p[: len(alternative)] == alternative for p in given):
                _remove(data, alternative)
                positions.forget(alternative)


def _alternatives(section: str | int, name: str | int) -> list[str]:
    return [k for s, keys in ALTERNATIVES if s == section and name in keys for k in keys if k != name]


def _remove(data: Any, path: KeyPath) -> None:
    for step in path[:-1]:
        data = data[step]
    if isinstance(data, dict):
        data.pop(path[-1], None)
