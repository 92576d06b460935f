"""How the results of a code task are compared, in the words of other data sets -> the keys of `compare`."""

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
    """How the judges of other data sets compare results in a mode."""
    return {"stdin": {"numbers": True}, "function": {"tuples_as_lists": True}}.get(mode, {})


def rules_of(reference: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """The reference's `compare`: what it says in its own words, over what its data set's judge does.

    Raises:
        RowError: it names a way to compare that does not exist here.
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
            raise RowError(f"{name} must be a number from 0")
        found |= {"numbers": True, **dict.fromkeys(rules, tolerance)}
    return found


def _checker(name: str, given: Any) -> dict[str, Any]:
    """The rules that a checker's name stands for."""
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
        f"{name} {str(given)[:40]!r} is none that rlkit runs (exact, numeric, float_tolerance 1e-6, rcmp6, ...): "
        "give such rows a kind of their own, judged by reward.accuracy.judges, or leave them out"
    )
