"""Checks `rollout.engine` against the installed vLLM: names and simple types at once, the rest in a child process."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rlkit.errors import ClusterError, RecipeError, did_you_mean
from rlkit.recipe.schema import RolloutKeys
from rlkit.rollout.engine import EngineSpec, engine_env, vllm_refusal

OURS = {
    "model": "it is the stage's model",
    "tokenizer": "it is the model's tokenizer",
    "seed": "every sample has its own seed, derived from run.seed",
    "dtype": "it follows learner.precision",
    "logprobs_mode": "the learner depends on it",
    "disable_log_stats": "metrics.jsonl has the statistics",
    "weight_transfer_config": "rlkit's weight sync sets it",
    "enable_sleep_mode": "it follows cluster.placement",
    "override_generation_config": "the keys of rollout set how tokens are drawn",
}
"""Engine arguments that rlkit sets itself."""
_PLAIN: dict[str, type | tuple[type, ...]] = {
    "int": int,
    "float": (int, float),
    "bool": bool,
    "str": str,
    "None": type(None),
}
_SOURCE = Path("engine", "arg_utils.py")


def check_engine_arguments(keys: RolloutKeys) -> None:
    """Checks names and simple types of `rollout.engine` against the source of the installed vLLM, without importing it.

    Raises:
        RecipeError: an argument does not exist, is set by rlkit itself, or has a value of the wrong type.
    """
    if not keys.engine:
        return
    for name, why in OURS.items():
        if name in keys.engine:
            raise RecipeError(f"rollout.engine.{name} is set by rlkit ({why}): remove it")
    known = known_arguments()
    for name, value in keys.engine.items():
        if known is not None and name not in known:
            hint = did_you_mean(name, known) or "; `vllm serve --help` lists them, with - instead of _"
            raise RecipeError(f"rollout.engine.{name} is not an engine argument of the installed vLLM{hint}")
        allowed = _plain_types(known[name]) if known is not None else None
        if allowed and not any(_is(value, kind) for kind in allowed):
            wanted = " or ".join(kind for kind in allowed if kind != "None")
            raise RecipeError(f"rollout.engine.{name} = {value!r}: the installed vLLM expects {wanted}")


def known_arguments() -> dict[str, str] | None:
    """The engine arguments of the installed vLLM with their annotations; None if its source cannot be read."""
    spec = find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        return None
    try:
        tree = ast.parse((Path(spec.submodule_search_locations[0]) / _SOURCE).read_text(encoding="utf-8"))
    except (OSError, SyntaxError):
        return None
    found = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "EngineArgs")
    return dict(_fields(next(found))) if found else None


def _fields(tree: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, ast.unparse(node.annotation)


def _plain_types(annotation: str) -> list[str]:
    """The types in an annotation such as `int | None`; empty if it has others, which only vLLM can check."""
    names = [part.strip() for part in annotation.split("|")]
    return names if all(name in _PLAIN for name in names) else []


def _is(value: Any, kind: str) -> bool:
    return isinstance(value, _PLAIN[kind]) and (kind == "bool" or not isinstance(value, bool))


def check_engine_values(spec: EngineSpec, *, timeout_s: float) -> None:
    """Lets the installed vLLM check all arguments of an engine together, in a child process since the import is slow.

    Raises:
        RecipeError: vLLM refuses the arguments; with its message.
        ClusterError: vLLM cannot be imported, or not within `timeout_s`.
    """
    job = json.dumps({**asdict(spec), "keys": spec.keys.model_dump()})
    try:
        child = subprocess.run(
            [sys.executable, "-c", "from rlkit.rollout.engine_arguments import _check; _check()"],
            input=job,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ClusterError(f"importing vllm to check rollout.engine took more than {timeout_s:g} s") from None
    if child.returncode != 0:
        last = child.stderr.strip().splitlines()[-1:] or ["no message"]
        raise ClusterError(f"vllm cannot be imported to check rollout.engine: {last[0]}")
    problem = json.loads(child.stdout.strip().splitlines()[-1])
    if problem:
        raise RecipeError(f"rollout.engine: the installed vLLM refuses an engine of this recipe: {problem}")


def _check() -> None:
    """The child process of `check_engine_values`: prints the refusal as JSON."""
    import os

    fields = json.load(sys.stdin)
    spec = EngineSpec(**{**fields, "keys": RolloutKeys.model_validate(fields["keys"])})
    os.environ.update(engine_env(spec.keys))
    print(json.dumps(vllm_refusal(spec)))
