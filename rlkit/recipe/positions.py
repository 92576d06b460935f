"""Reads YAML and records the line of each key, so that every error message can name file and line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.reader import ReaderError

from rlkit.errors import RecipeError, nearest

KeyPath = tuple[str | int, ...]
MAX_NODES = 100_000
MAX_DEPTH = 50


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also reads `1e-5` (without a dot) as a number, as YAML 1.2 does."""


_Loader.yaml_implicit_resolvers = {k: list(v) for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


@dataclass
class Positions:
    """The origin of each key of a recipe: a line of the file, or an override."""

    file: str
    """The recipe's path as the user gave it."""
    lines: dict[KeyPath, int] = field(default_factory=dict)
    """Line of each key and list item in the file, from 1."""
    overrides: dict[KeyPath, str] = field(default_factory=dict)
    """`KEY=VALUE` as the user gave it, by the path that it set."""

    def where(self, path: KeyPath) -> str:
        """`file:line` or `override KEY=VALUE` of a key, or of its nearest parent if the key is not given."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.overrides:
                return f"override {self.overrides[path[:end]]}"
            if path[:end] in self.lines:
                return f"{self.file}:{self.lines[path[:end]]}"
        return self.file

    def place(self, path: KeyPath, value: str = "") -> str:
        """Start of a message about a key: `file:line: key = value`, or the override, which contains key and value."""
        if self.overrides.get(path, "").partition("=")[0] == dotted(path):
            return self.where(path)
        return f"{self.where(path)}: {dotted(path)}" + (f" = {value}" if value else "")

    def is_written(self, path: KeyPath) -> bool:
        """Whether the file or an override gives this key."""
        return path in self.overrides or path in self.lines

    def forget(self, path: KeyPath) -> None:
        """Removes a key and everything below it."""
        for table in (self.lines, self.overrides):
            for key in [k for k in table if k[: len(path)] == path]:
                del table[key]


def dotted(path: Iterable[str | int]) -> str:
    """A path as text: `stages.0.steps`."""
    return ".".join(str(part) for part in path)


def read_yaml(path: Path) -> tuple[dict[str, Any], Positions]:
    """Reads a recipe file. Returns its mapping and the line of each key.

    Raises:
        RecipeError: The file does not exist, is not YAML, repeats a key or does not contain a mapping.
    """
    text = _read_text(path)
    positions = Positions(str(path), {(): 1})
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None:
            _walk(loader, node, positions)
        data = loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as e:
        raise RecipeError(_yaml_sentence(path, e)) from e
    except ReaderError as e:
        line = text.count("\n", 0, e.position) + 1
        character = f"#x{ord(text[e.position]):04x}"
        raise RecipeError(f"{path}:{line}: not YAML: the character {character} is not allowed; remove it") from e
    except yaml.YAMLError as e:
        raise RecipeError(f"{path}: not YAML: {' '.join(str(e).split())}") from e
    except (ValueError, RecursionError) as e:  # a date such as 2026-13-45, or brackets without end
        raise RecipeError(f"{path}: not YAML: {e}") from e
    finally:
        if loader is not None:
            loader.dispose()
    if not isinstance(data, dict):
        found = "is empty" if data is None else f"holds {kind_of(data)}"
        raise RecipeError(f"{path}: {found}; a recipe is a mapping with the keys model, data and stages")
    return data, positions


def parse_value(text: str) -> Any:
    """Parses the value of an override, a YAML scalar or flow collection.

    Raises:
        yaml.YAMLError: The text is not YAML.
    """
    return yaml.load(text, Loader=_Loader)


def kind_of(value: Any) -> str:
    """The type of a YAML value, in words for a message."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return {str: "text", int: "a whole number", float: "a number"}.get(type(value), "nothing")


def _read_text(path: Path) -> str:
    if path.is_dir():
        inside = sorted(file for file in path.iterdir() if file.suffix in (".yaml", ".yml"))
        raise RecipeError(f"{path} is a folder; a recipe is a YAML file" + (f" such as {inside[0]}" if inside else ""))
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f"{path} does not exist{nearest_sibling(path)}") from None
    except (OSError, UnicodeDecodeError) as e:
        raise RecipeError(f"{path} cannot be read: {e}") from e


def nearest_sibling(path: Path) -> str:
    """`; did you mean 'dir/file'?` for a path that does not exist; empty if no file beside it has a similar name."""
    missing = path
    while not missing.parent.exists() and missing.parent != missing:
        missing = missing.parent
    try:
        names = sorted(p.name for p in missing.parent.iterdir())
    except OSError:
        return ""
    near = nearest(missing.name, names)
    return f"; did you mean '{missing.parent / near}'?" if near else ""


def _walk(loader: _Loader, root: yaml.Node, positions: Positions) -> None:
    """Records the line of each key and rejects repeated keys. Keys merged from an anchor keep the anchor's lines."""
    queue: list[tuple[yaml.Node, KeyPath]] = [(root, ())]
    num_nodes = 0
    while queue:
        node, path = queue.pop()
        num_nodes += 1
        # An anchor that contains itself would never end, and nested anchors can expand to billions of nodes.
        if num_nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise ValueError(f"more than {MAX_NODES} values or {MAX_DEPTH} levels, or an anchor that contains itself")
        if isinstance(node, yaml.MappingNode):
            queue += _walk_mapping(loader, node, path, positions)
        elif isinstance(node, yaml.SequenceNode):
            for i, item in enumerate(node.value):
                positions.lines[(*path, i)] = item.start_mark.line + 1
                queue.append((item, (*path, i)))


def _walk_mapping(
    loader: _Loader, node: yaml.MappingNode, path: KeyPath, positions: Positions
) -> list[tuple[yaml.Node, KeyPath]]:
    seen: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if key.tag == "tag:yaml.org,2002:merge" or not isinstance(key, yaml.ScalarNode):
            continue
        if key.value in seen:
            raise RecipeError(
                f"{positions.file}:{line}: {dotted((*path, key.value))} is given twice, "
                f"first on line {seen[key.value]}; keep one"
            )
        seen[key.value] = line
    loader.flatten_mapping(node)  # `<<: *anchor`: puts the anchor's keys first, so that the mapping's own override them
    children: dict[KeyPath, yaml.Node] = {}
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.tag == "tag:yaml.org,2002:float":  # keys are text, also one such as 1e5
                key.tag = "tag:yaml.org,2002:str"
            positions.lines[(*path, key.value)] = key.start_mark.line + 1
            children[(*path, key.value)] = value
    return [(value, child) for child, value in children.items()]


def _yaml_sentence(path: Path, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"{path}:{mark.line + 1}" if mark else str(path)
    what = " ".join(str(error.problem or error.context or "it cannot be parsed").split())
    hint = ""
    if "\\t" in what:
        hint = " (indent with spaces, not tabs)"
    elif "mapping values are not allowed" in what:
        hint = " (quote a value that contains ': ')"
    elif "could not determine a constructor" in what:
        hint = " (plain YAML only)"
    return f"{where}: not YAML: {what}{hint}"
