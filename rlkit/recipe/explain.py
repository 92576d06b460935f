"""Turns pydantic's validation errors into sentences: where, which key, which value, what is allowed."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rlkit.errors import did_you_mean, nearest
from rlkit.recipe.positions import KeyPath, Positions, dotted, kind_of
from rlkit.recipe.schema import Recipe, RewardKeys, RewardPartKeys, StageKeys
from rlkit.recipe.schema.stage_kinds import stage_key_classes

MAX_SHOWN = 5
"""Maximum number of problems in one error message."""
MAX_DOC = 110
"""A message shortens a key's documentation if it is longer than this, in characters."""
_UNION_TYPES = (typing.Union, types.UnionType)
_WRONG_TYPE = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "finite_number": "must be a finite number",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
}
_LIMITS = {
    "greater_than": ("must be greater than {}", "gt"),
    "greater_than_equal": ("must be at least {}", "ge"),
    "less_than": ("must be less than {}", "lt"),
    "less_than_equal": ("must be at most {}", "le"),
    "multiple_of": ("must be a multiple of {}", "multiple_of"),
    "string_too_long": ("must have at most {} characters", "max_length"),
}


def explain(error: ValidationError, data: dict[str, Any], positions: Positions) -> str:
    """The error message: one line per problem, at most MAX_SHOWN of them."""
    lines = sorted(set(_sentences(error, data, positions)), key=_place)
    shown = lines[:MAX_SHOWN]
    if len(lines) > MAX_SHOWN:
        shown.append(f"{len(lines) - MAX_SHOWN} more problems after these")
    return "\n".join(shown)


def _place(sentence: str) -> tuple[int, str]:
    """Sort key: overrides first, then by line."""
    line = re.match(r"(?!override ).*?:(\d+): ", sentence)
    return (int(line[1]) if line else 0, sentence)


def key_path(loc: tuple[str | int, ...], data: Any) -> KeyPath:
    """Pydantic's location, without the names of union members, which are not keys of the recipe."""
    path: KeyPath = ()
    value = data
    for i, part in enumerate(loc):
        last = i == len(loc) - 1
        if isinstance(value, list) and isinstance(part, int) and (part < len(value) or last):
            value = value[part] if part < len(value) else None
        elif isinstance(value, dict) and value.get("kind") == part and i > 0 and isinstance(loc[i - 1], int):
            continue  # the kind that selected a stage's schema
        elif isinstance(value, dict) and part in value:
            value = value[part]
        elif not last or not isinstance(value, dict):
            continue  # a union member's name, or "[key]"
        path = (*path, part)
    return path


def section_at(path: KeyPath, data: Any) -> type[BaseModel] | None:
    """The schema class of the section at a path, or None if there is no section."""
    model: Any = Recipe
    value = data
    for part in path:
        value = _get(value, part)
        model = _child(model, part)
        if isinstance(model, tuple):
            model = _member(model, value)
        if model is None:
            return None
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


def known_keys(section: type[BaseModel]) -> list[str]:
    """The keys that a section may contain."""
    return list(section.model_fields)


def _get(value: Any, part: str | int) -> Any:
    if isinstance(value, dict):
        return value.get(part)
    return value[part] if isinstance(value, list) and isinstance(part, int) and part < len(value) else None


def _child(model: Any, part: str | int) -> Any:
    """The type of a key or list item: a model, a tuple of models of which `kind` selects one, or a plain type."""
    if typing.get_origin(model) in (list, tuple) and isinstance(part, int):
        inner = _models_in(typing.get_args(model)[0])
        return tuple(stage_key_classes().values()) if inner is StageKeys else inner
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return None
    field = model.model_fields.get(str(part))
    if field is None:
        return RewardPartKeys if model is RewardKeys else None
    return _models_in(field.annotation)


def _models_in(annotation: Any) -> Any:
    """The list type or the model inside Optional and Annotated; a tuple if there are several models."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _models_in(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) not in _UNION_TYPES:
        return annotation
    members = [a for a in typing.get_args(annotation) if a is not type(None)]
    return _models_in(members[0]) if len(members) == 1 else tuple(members)


def _member(members: tuple[Any, ...], value: Any) -> Any:
    kind = value.get("kind") if isinstance(value, dict) else None
    for member in members:
        fields = getattr(member, "model_fields", {})
        if "kind" in fields and kind in typing.get_args(fields["kind"].annotation):
            return member
    return None


def _sentences(error: ValidationError, data: dict[str, Any], positions: Positions) -> Iterator[str]:
    for detail in error.errors(include_url=False):
        path = key_path(detail["loc"], data)
        kind = detail["type"]
        if kind == "extra_forbidden":
            yield f"{positions.place(path)}: {_unknown_key(path, data)}"
        elif kind == "missing":
            yield from (f"{positions.where(path)}: {sentence}" for sentence in _missing_key(path, data))
        elif kind in ("union_tag_invalid", "union_tag_not_found"):
            yield _stage_kind(path, detail, positions)
        elif kind == "value_error":
            yield _rule(path, str(detail["ctx"]["error"]), positions)
        else:
            yield f"{positions.place(path, _shown(detail['input']))}: {_wrong_value(path, detail, data)}"


def _unknown_key(path: KeyPath, data: Any) -> str:
    name = str(path[-1])
    section = section_at(path[:-1], data)
    known = known_keys(section) if section else []
    hint = did_you_mean(name, known) or (f"; known: {', '.join(known)}" if known else "")
    owners = [kind for kind, stage in stage_key_classes().items() if name in stage.model_fields]
    if len(path) == 3 and path[0] == "stages" and owners:
        hint = f"; it belongs to {' and '.join(owners)} stages"
    return f"unknown key {name!r}{hint}"


def _missing_key(path: KeyPath, data: Any) -> Iterator[str]:
    section = section_at(path[:-1], data)
    name = str(path[-1])
    doc = _doc(section, name, ". ", "; ")
    sentence = f"{dotted(path)} is missing" + (f": {doc}" if doc else "")
    if isinstance(path[-1], int):
        sentence = f"{dotted(path[:-1])} must hold at least {path[-1] + 1} items"
    near = nearest(name, [k for k in _keys(data, path[:-1]) if section is None or k not in section.model_fields], 0.7)
    if near is None:
        yield sentence
    elif section is not None and section.model_config.get("extra") == "allow":
        yield f"{sentence}; found {near!r}: did you mean {name!r}?"
    # Otherwise the unknown-key error reports the misspelt key already.


def _keys(data: Any, path: KeyPath) -> list[str]:
    for part in path:
        data = _get(data, part)
    return [str(key) for key in data] if isinstance(data, dict) else []


def _stage_kind(path: KeyPath, detail: ErrorDetails, positions: Positions) -> str:
    path = (*path, "kind")
    kinds = [k.strip(" '") for k in detail.get("ctx", {}).get("expected_tags", "").split(",")] or []
    if detail["type"] == "union_tag_not_found":
        return f"{positions.where(path)}: {dotted(path)} is missing: must be one of {', '.join(stage_key_classes())}"
    tag = detail["ctx"]["tag"]
    return f"{positions.place(path, _shown(tag))}: must be one of {', '.join(kinds)}{did_you_mean(tag, kinds)}"


def _rule(path: KeyPath, message: str, positions: Positions) -> str:
    """A rule over several keys. Its place is that of the first key in the message that the recipe gives."""
    for word in re.findall(r"[a-z_][a-z_0-9]*(?:\.[a-z_0-9]+)*", message):
        keys = tuple(word.split("."))
        for candidate in (keys, (*path, *keys)):
            if positions.is_written(candidate):
                return f"{positions.where(candidate)}: {dotted(path)}: {message}".replace(" : ", " ")
    prefix = f"{dotted(path)}: " if path else ""
    return f"{positions.where(path)}: {prefix}{message}"


def _wrong_value(path: KeyPath, detail: ErrorDetails, data: Any) -> str:
    kind, ctx, value = detail["type"], detail.get("ctx", {}), detail["input"]
    if kind in _LIMITS:
        text, key = _LIMITS[kind]
        multiple = max(1, round(value / ctx[key])) * ctx[key] if kind == "multiple_of" else None
        example = f", such as {multiple}" if multiple else ""
        return text.format(ctx[key]) + example + _meaning(path, data)
    if kind == "literal_error":
        expected = re.findall(r"'([^']*)'", str(ctx["expected"]))
        hint = did_you_mean(value, expected) if isinstance(value, str) else ""
        return f"must be one of {', '.join(expected)}{hint}"
    if kind == "too_long":
        return f"must hold at most {ctx['max_length']} item{'s' if ctx['max_length'] > 1 else ''}"
    if kind == "too_short":
        return f"must hold at least {ctx['min_length']} item{'s' if ctx['min_length'] > 1 else ''}"
    if kind == "string_too_short":
        return "must not be empty"
    if kind == "string_pattern_mismatch":
        return "may contain only letters, digits, '.', '_' and '-', and must begin with a letter or a digit"
    if kind not in _WRONG_TYPE:
        return str(detail["msg"])
    return _WRONG_TYPE[kind] + _type_hint(path, kind, value, data)


def _meaning(path: KeyPath, data: Any) -> str:
    """The key's documentation in brackets, so that the reader understands the limit."""
    doc = _doc(section_at(path[:-1], data), str(path[-1]), ". ")
    return f" ({doc})" if doc else ""


def _doc(section: type[BaseModel] | None, name: str, *ends: str) -> str:
    """A key's documentation up to the first of `ends`, as part of a sentence."""
    field = section.model_fields.get(name) if section else None
    doc = " ".join((field.description or "").split()) if field else ""
    for end in ends:
        doc = doc.split(end)[0]
    if len(doc) > MAX_DOC:
        doc = doc.split("; ")[0]
    return f"{doc[:1].lower()}{doc[1:]}".rstrip(".") if doc else ""


def _type_hint(path: KeyPath, kind: str, value: Any, data: Any) -> str:
    if kind == "string_type" and not isinstance(value, (dict, list)) and value is not None:
        return "; put it in quotes"
    if kind in ("list_type", "tuple_type") and isinstance(value, str | int | float):
        return f"; write [{_shown(value)}]"
    if kind != "model_type" or isinstance(value, (dict, list)):
        return "" if value is not None else "; leave the key out for its default"
    section = section_at(path, data)
    if section is RewardPartKeys and isinstance(value, (int, float)):
        return f"; write {dotted(path)}.weight"
    if section is RewardPartKeys and value is None:
        return "; only the four default parts can be set to null"
    if value is None:
        return "; leave the key out for its defaults"
    return f" with keys such as {', '.join(known_keys(section)[:4])}" if section else ""


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (dict, list)) and len(repr(value)) > 60:
        return kind_of(value)
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
