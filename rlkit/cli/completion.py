"""`rlkit completion`: a script that completes rlkit's command line in a shell.

The script contains a table of all commands, options and recipe keys, generated from the parsers and the schema.
It does not start Python, which takes too long for a completion. That rules out argcomplete, which runs the program at
each key press. shtab generates a script too, but supports neither dotted keys nor reading the recipe's stages.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rlkit.cli.command import Command, CommandFamily

SHELLS = ("bash", "zsh", "fish")
FOLLOWS = {
    "RECIPE": "files yaml yml",
    "KEY=VALUE": "overrides",
    "KEY": "keys",
    "DIR": "folders",
    "IN.jsonl": "files jsonl",
    "OUT.jsonl": "files jsonl",
    "PLUGIN": "files py",
    "RAY": "words auto",
}
"""How the script completes an argument, by the argument's name in the help."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("shell", choices=SHELLS, help="the shell that the script is for")


def write_script(shell: str, family: CommandFamily) -> str:
    """The completion script for a shell."""
    here = Path(__file__).parent
    program = (here / "completion.awk").read_text(encoding="utf-8")
    table = "\n    ".join(f"{call[0]}({', '.join(map(_quoted, call[1:]))})" for call in _table(family))
    script = (here / f"completion.{shell}").read_text(encoding="utf-8")
    return script.replace("@PROGRAM@", program.replace("# TABLE", table))


def _quoted(text: str) -> str:
    """A text as an awk string that can stand inside a shell's single quotes."""
    return '"' + " ".join(text.split()).translate(str.maketrans("'", "’", '"\\`')) + '"'


def _table(family: CommandFamily) -> Iterator[tuple[str, ...]]:
    yield from _commands(family, "")
    from rlkit.recipe.schema import Recipe

    schema = Recipe.model_json_schema()
    for name, values, text in _keys(schema, schema, ""):
        yield "key", name, values, text
    for kind, stage in _stages(schema).items():
        for name, values, text in _keys(schema, stage, ""):
            yield "stage_key", kind, name, values, text


def _commands(family: CommandFamily, path: str) -> Iterator[tuple[str, ...]]:
    yield "option", path, "--help", "", "show the help"
    if not path:
        yield "option", path, "--version", "", "show the version"
    for word, member in family.members.items():
        inner = f"{path} {word}".strip()
        yield "command", path, word, member.summary
        if isinstance(member, CommandFamily):
            yield from _commands(member, inner)
        else:
            yield from _arguments(member, inner)


def _arguments(command: Command, path: str) -> Iterator[tuple[str, ...]]:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    place = 0
    for action in parser._actions:
        follows = "" if action.nargs == 0 else _follows(action)
        for option in action.option_strings:
            if option.startswith("--"):
                yield "option", path, option, follows, action.help or ""
        if not action.option_strings:
            place += 1
            yield "argument", path, "*" if action.nargs == "*" else str(place), follows


def _follows(action: argparse.Action) -> str:
    if action.choices is not None:
        return " ".join(["words", *map(str, action.choices)])
    return FOLLOWS.get(str(action.metavar), "words")


def _stages(schema: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The schema of each kind of stage."""
    found: dict[str, Mapping[str, Any]] = {}
    for stage in _shapes(schema, schema["properties"]["stages"]["items"]):
        for kind in _shapes(schema, stage["properties"]["kind"]):
            found |= {str(name): stage for name in kind.get("enum", [kind.get("const")])}
    return found


def _shapes(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The alternatives of a schema node, with references resolved."""
    if "$ref" in node:
        yield from _shapes(schema, schema["$defs"][node["$ref"].rpartition("/")[2]])
        return
    inner = [shape for word in ("anyOf", "oneOf", "allOf") for shape in node.get(word, ())]
    if not inner:
        yield node
    for shape in inner:
        yield from _shapes(schema, shape)


def _keys(schema: Mapping[str, Any], section: Mapping[str, Any], path: str) -> Iterator[tuple[str, str, str]]:
    """(dotted key, its values or "files", its help) of a section and its subsections, except the stages."""
    properties = dict(section.get("properties", {}))
    if path == "reward.":
        part = {"$ref": "#/$defs/RewardPartKeys"}
        properties |= {name: part for name in _parts() if name not in properties}
    for name, node in properties.items():
        key = path + name
        shapes = list(_shapes(schema, node))
        sections = [shape for shape in shapes if "properties" in shape]
        for inner in sections:
            yield from _keys(schema, inner, f"{key}.")
        if key != "stages" and len(sections) < len(shapes):
            yield key, _values(shapes, name), node.get("description", "").partition(". ")[0]


def _parts() -> list[str]:
    """Names of reward parts: the four default parts and those of installed packages."""
    from importlib.metadata import entry_points

    from rlkit.recipe.schema.reward_section import DEFAULT_WEIGHTS

    return list(dict.fromkeys([*DEFAULT_WEIGHTS, *sorted(e.name for e in entry_points(group="rlkit.rewards"))]))


def _values(shapes: list[Mapping[str, Any]], name: str) -> str:
    words: list[str] = []
    for shape in shapes:
        words += [str(word) for word in shape.get("enum", [shape["const"]] if "const" in shape else [])]
        words += {"boolean": ["true", "false"], "null": ["null"]}.get(shape.get("type", ""), [])
    is_text = any(shape.get("type") == "string" for shape in shapes)
    if name in ("path", "dir", "plugin") and is_text and set(words) <= {"null"}:
        return "files"
    return " ".join(words)
