"""A hook of mkdocs: writes the recipe's keys and the reward parts' arguments into the pages, from the code itself."""

import inspect
import re
import typing
from collections.abc import Iterator
from importlib.metadata import entry_points
from types import NoneType, UnionType
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rlkit.plan.defaults import WHY
from rlkit.recipe.schema import Recipe, RewardPartKeys, StageKeys
from rlkit.recipe.schema.reward_section import DEFAULT_WEIGHTS
from rlkit.recipe.schema.stage_kinds import stage_key_classes

COMPARISONS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "multiple_of": "a multiple of"}
WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false"}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replaces each marker of a page by what it stands for."""
    for marker, text in (("recipe keys", recipe_keys), ("reward parts", reward_parts)):
        if (comment := f"<!-- generated: {marker} -->") in markdown:
            markdown = markdown.replace(comment, text())
    return markdown


def recipe_keys() -> str:
    """A table for each section of the recipe and each kind of stage, in Markdown."""
    shown: dict[type[BaseModel], str] = {}
    lines: list[str] = []
    for name, field in Recipe.model_fields.items():
        if name == "stages":
            for kind, keys in stage_key_classes().items():
                lines += _table(keys, f"stages.N (kind: {kind})", keys.__doc__ or "", shown)
        else:
            lines += _section(field, name, shown)
        if name == "reward":
            lines += _table(RewardPartKeys, "reward.PART", RewardPartKeys.__doc__ or "", shown)
    return "\n".join(lines)


def reward_parts() -> str:
    """A table of the arguments of each built-in reward part, in Markdown."""
    lines: list[str] = []
    found = {e.name: e.load() for e in entry_points(group="rlkit.rewards") if e.value.startswith("rewards.")}
    for name in [*DEFAULT_WEIGHTS, *sorted(found.keys() - DEFAULT_WEIGHTS.keys())]:
        doc, _, arguments = inspect.getdoc(found[name]).partition("\nArgs:\n")
        described = dict(re.findall(r"^    (\w+): (.*(?:\n     +.*)*)", arguments, re.M))
        lines += ["", f"### `{name}`", "", doc.strip().replace("<", "&lt;"), ""]
        parameters = inspect.signature(found[name]).parameters
        if parameters:
            lines += ["| argument | default | what it does |", "|---|---|---|"]
        for key, parameter in parameters.items():
            default = "required" if parameter.default is parameter.empty else f"`{_plain(parameter.default)}`"
            lines.append(f"| `{key}` | {default} | {_cell(described[key])} |")
    return "\n".join(lines)


def _section(field: FieldInfo, path: str, shown: dict[type[BaseModel], str]) -> Iterator[str]:
    section = _section_of(field.annotation)
    if section in shown:
        yield f"\n## `{path}`\n\nThe keys of `{shown[section]}`."
    elif section is not None:
        yield from _table(section, path, field.description or "", shown)


def _table(section: type[BaseModel], path: str, doc: str, shown: dict[type[BaseModel], str]) -> Iterator[str]:
    """A heading, what the section is, a table of its keys, and the sections below it."""
    shown[section] = path
    yield f"\n## `{path}`\n\n{_cell(doc)}\n\n| key | type | default | what it does |\n|---|---|---|---|"
    stem = path.partition(" ")[0]
    for key, field in section.model_fields.items():
        what = field.description or ""
        if (why := WHY.get(f"{stem}.{key}")) is not None:
            what = f"{what} *Left out, it follows from: {why}.*"
        yield f"| `{key}` | {_cell(_type(field))} | {_default(field)} | {_cell(what)} |"
    for key, field in section.model_fields.items():
        yield from _section(field, f"{stem}.{key}", shown)


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a key holds, one or several of, if any."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation if annotation is not StageKeys else None
    return next(filter(None, map(_section_of, typing.get_args(annotation))), None)


def _type(field: FieldInfo) -> str:
    """The type in words, with the range that the schema allows."""
    limits = [
        f"{sign} {_plain(limit)}"
        for rule in field.metadata
        for name, sign in COMPARISONS.items()
        if (limit := getattr(rule, name, None)) is not None
    ]
    return ", ".join([_type_name(field.annotation), *limits])


def _type_name(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type_name(arguments[0])
    if origin is typing.Literal:
        return " or ".join(f"`{a}`" for a in arguments)
    if origin in (typing.Union, UnionType):
        return " or ".join(_type_name(a) for a in arguments if a is not NoneType)
    if origin in (list, tuple):
        return f"list of {_type_name(arguments[0])}"
    if origin is dict:
        return f"mapping of {_type_name(arguments[0])} to {_type_name(arguments[1])}"
    return "section" if _section_of(annotation) else WORDS.get(annotation, "anything")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    return "its keys' own" if isinstance(value, BaseModel) else f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    """A value as YAML has it, on one line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_plain(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_plain, value)) + "]"
    if isinstance(value, str):
        return value.replace("\n", "\\n") or '""'
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    """One line of text that does not end a cell of a table and holds no HTML outside of code."""
    parts = " ".join(text.split()).split("`")
    return "`".join(part if i % 2 else part.replace("|", "\\|").replace("<", "&lt;") for i, part in enumerate(parts))
