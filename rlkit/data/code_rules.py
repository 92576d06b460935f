"""Translates the checkers and tolerances of code data sets into the keys of `compare`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rlkit.data.rows import RowError

_CHECKER_KEYS = ("checker", "output_checker", "generated_checker", "special_judge", "validator_flags")
_EXACT = ("", "none", "exact", "diff", "lines", "tokens", "standard", "default", "lcmp", "wcmp", "ncmp", "fcmp")
_BY_VALUE = ("numeric", "numbers", "number", "float", "real")
_TESTLIB = {"rcmp": 1.5e-6, "rcmp4": 1e-4, "rcmp6": 1e-6, "rcmp9": 1e-9, "dcmp": 1e-6}
_FLAG = re.compile(r"(?:float_)?((?:absolute_|relative_)?tolerance|epsilon|eps)[\s=:]+(\S+)")
_TOLERANCES: Mapping[str, tuple[str, ...]] = {
    "tolerance": ("rel_tol", "abs_tol"),
    "float_tolerance": ("rel_tol", "abs_tol"),
    "epsilon": ("rel_tol", "abs_tol"),
    "eps": ("rel_tol", "abs_tol"),
    "relative_tolerance": ("rel_tol",),
    "rel_tolerance": ("rel_tol",),
    "float_relative_tolerance": ("rel_tol",),
    "absolute_tolerance": ("abs_tol",),
    "abs_tolerance": ("abs_tol",),
    "float_absolute_tolerance": ("abs_tol",),
}


def usual_rules(mode: str) -> dict[str, Any]:
    """The `compare` keys that correspond to the judges of other data sets, by mode."""
    return {"stdin": {"numbers": True}, "function": {"tuples_as_lists": True}}.get(mode, {})


def rules_of(reference: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """The `compare` of a reference: its own settings override those of its data set's judge (`usual`).

    Raises:
        RowError: it names a checker that rlkit does not support.
    """
    rules = {**usual, **_tolerances(reference)}
    for name in _CHECKER_KEYS:
        rules |= _checker(name, reference.get(name))
    own = reference.get("compare") or {}
    if not isinstance(own, Mapping):
        raise RowError("compare must be an object")
    return {**rules, **own}


def _tolerances(place: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, rules in _TOLERANCES.items():
        if place.get(name) in (None, ""):
            continue
        try:
            tolerance = float(place[name])
        except (TypeError, ValueError, OverflowError):
            tolerance = -1.0
        if isinstance(place[name], bool) or not 0 <= tolerance < 1e9:
            raise RowError(f"{name} must be a number of at least 0")
        found |= {"numbers": True, **dict.fromkeys(rules, tolerance)}
    return found


def _checker(name: str, given: Any) -> dict[str, Any]:
    """The `compare` keys for a checker's name."""
    if given is None or given is False:
        return {}
    if isinstance(given, Mapping):
        return _checker(name, given.get("type", given.get("name", ""))) | _tolerances(given)
    word = str(given).strip().lower().removesuffix(".cpp").removeprefix("std::")
    if word in _EXACT:
        return {}
    if word in _BY_VALUE:
        return {"numbers": True}
    if word in _TESTLIB:
        return {"numbers": True, "rel_tol": _TESTLIB[word], "abs_tol": _TESTLIB[word]}
    flags = _FLAG.findall(word)
    if flags and not _FLAG.sub("", word).replace("float_", "").strip():
        return _tolerances(dict(flags))
    raise RowError(
        f"{name} {str(given)[:40]!r} is not supported (known: exact, numeric, float_tolerance 1e-6, rcmp6, ...): "
        "give such rows a kind of your own, with a judge in reward.accuracy.judges, or remove them"
    )
