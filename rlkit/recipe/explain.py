"""Turns what pydantic says about a recipe into sentences: where, which key, which value, what is allowed."""

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
from rlkit.recipe.schema.stage_kinds import kinds_of_keys

MAX_SHOWN = 5
MAX_DOC = 110
"""Characters of a key's doc that a message shows whole."""
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
    """One sentence a problem, one problem a line, the first few only."""
    lines = sorted(set(_sentences(error, data, positions)), key=_place)
    shown = lines[:MAX_SHOWN]
    if len(lines) > MAX_SHOWN:
        shown.append(f"{len(lines) - MAX_SHOWN} more problems after these")
    return "\n".join(shown)


def _place(sentence: str) -> tuple[int, str]:
    """Sorts by line; overrides come first, as typed last."""
    line = re.match(r"(?!override ).*?:(\d+): ", sentence)
    return (int(line[1]) if line else 0, sentence)


def key_path(loc: tuple[str | int, ...], data: Any) -> KeyPath:
    """Pydantic's location without the names of union members, which are no keys of the recipe."""
    path: KeyPath = ()
    at = data
    for i, part in enumerate(loc):
        last = i == len(loc) - 1
        if isinstance(at, list) and isinstance(part, int) and (part < len(at) or last):
            at = at[part] if part < len(at) else None
        elif isinstance(at, dict) and at.get("kind") == part and i > 0 and isinstance(loc[i - 1], int):
            continue  # the kind that chose a stage's schema
        elif isinstance(at, dict) and part in at:
            at = at[part]
        elif not last or not isinstance(at, dict):
            continue  # a union member's name, or "[key]"
        path = (*path, part)
    return path


def section_at(path: KeyPath, data: Any) -> type[BaseModel] | None:
    """The schema of the section at a path of a recipe, or None where there is no section."""
    model: Any = Recipe
    at = data
    for part in path:
        at = _get(at, part)
        model = _child(model, part)
        if isinstance(model, tuple):
            model = _member(model, at)
        if model is None:
            return None
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


def known_keys(section: type[BaseModel]) -> list[str]:
    """The keys a section may hold."""
    return list(section.model_fields)


def _get(at: Any, part: str | int) -> Any:
    if isinstance(at, dict):
        return at.get(part)
    return at[part] if isinstance(at, list) and isinstance(part, int) and part < len(at) else None


def _child(model: Any, part: str | int) -> Any:
    """The type below a key or index: a model, a tuple of models to choose from by `kind`, or a plain type."""
    if typing.get_origin(model) in (list, tuple) and isinstance(part, int):
        inner = _models_in(typing.get_args(model)[0])
        return tuple(kinds_of_keys().values()) if inner is StageKeys else inner
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return None
    field = model.model_fields.get(str(part))
    if field is None:
        return RewardPartKeys if model is RewardKeys else None
    return _models_in(field.annotation)


def _models_in(annotation: Any) -> Any:
    """The list type or the model inside Optional and Annotated; a tuple where several models fit."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _models_in(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) not in _UNION_TYPES:
        return annotation
    members = [a for a in typing.get_args(annotation) if a is not type(None)]
    return _models_in(members[0]) if len(members) == 1 else tuple(members)


def _member(members: tuple[Any, ...], at: Any) -> Any:
    kind = at.get("kind") if isinstance(at, dict) else None
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
    owners = [kind for kind, stage in kinds_of_keys().items() if name in stage.model_fields]
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
        yield f"{sentence}; did you mean {name!r} by {near!r}?"
    # Otherwise the misspelt key is reported itself, and once is enough.


def _keys(data: Any, path: KeyPath) -> list[str]:
    for part in path:
        data = _get(data, part)
    return [str(key) for key in data] if isinstance(data, dict) else []


def _stage_kind(path: KeyPath, detail: ErrorDetails, positions: Positions) -> str:
    path = (*path, "kind")
    kinds = [k.strip(" '") for k in detail.get("ctx", {}).get("expected_tags", "").split(",")] or []
    if detail["type"] == "union_tag_not_found":
        return f"{positions.where(path)}: {dotted(path)} is missing: must be one of {', '.join(kinds_of_keys())}"
    tag = detail["ctx"]["tag"]
    return f"{positions.place(path, _shown(tag))}: must be one of {', '.join(kinds)}{did_you_mean(tag, kinds)}"


def _rule(path: KeyPath, message: str, positions: Positions) -> str:
    """A rule over several keys: placed at the first of them that the recipe holds."""
    for word in re.findall(r"[a-z_][a-z_0-9]*(?:\.[a-z_0-9]+)*", message):
        keys = tuple(word.split("."))
        for candidate in (keys, (*path, *keys)):
            if positions.known(candidate):
                return f"{positions.where(candidate)}: {dotted(path)}: {message}".replace(" : ", " ")
    prefix = f"{dotted(path)}: " if path else ""
    return f"{positions.where(path)}: {prefix}{message}"


def _wrong_value(path: KeyPath, detail: ErrorDetails, data: Any) -> str:
    kind, ctx, value = detail["type"], detail.get("ctx", {}), detail["input"]
    if kind in _LIMITS:
        text, key = _LIMITS[kind]
        nearest_one = max(1, round(value / ctx[key])) * ctx[key] if kind == "multiple_of" else None
        such = f", such as {nearest_one}" if nearest_one else ""
        return text.format(ctx[key]) + such + _meaning(path, data)
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
        return "may hold letters, digits, '.', '_' and '-' only, and begins with a letter or a digit"
    if kind not in _WRONG_TYPE:
        return str(detail["msg"])
    return _WRONG_TYPE[kind] + _type_hint(path, kind, value, data)


def _meaning(path: KeyPath, data: Any) -> str:
    """What a key is, in brackets: a limit makes sense only to who knows."""
    doc = _doc(section_at(path[:-1], data), str(path[-1]), ". ")
    return f" ({doc})" if doc else ""


def _doc(section: type[BaseModel] | None, name: str, *ends: str) -> str:
    """A key's line of doc up to the first of `ends`, as part of a sentence."""
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
        return "; only the four default parts may be null"
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
