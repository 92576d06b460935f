"""`rlkit reward test`: the findings about a plugin, for a person or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import ValidationError

from rlkit.errors import PluginError, UsageError
from rlkit.recipe.load import LoadedRecipe
from rlkit.recipe.schema import RewardKeys, RewardPartKeys
from rlkit.recipe.schema.reward_section import DEFAULT_WEIGHTS
from rlkit.scoring.kit.plugin_trial import Cheat, Examples, Finding, Trial
from rlkit.scoring.kit.reward_examples import columns_of, default_examples, first_tasks, recipe_examples
from rlkit.scoring.plugins.plugin import LoadedPart, load_part
from rlkit.scoring.plugins.reward_check import check_columns, check_plugins

_TIMEOUT_S = 30.0
"""Time limit for a group when there is no recipe."""


def try_plugin(target: str, style: str | None, loaded: LoadedRecipe | None, *, as_json: bool) -> int:
    """Checks a plugin and prints the findings. Returns exit code 1 if a check failed, else 0.

    Args:
        target: `MODULE:CLASS`, `./file.py:CLASS` or an entry point; with a recipe, also the name of a part.
        style: the toolkit that `target` was written for; None: rlkit.
        loaded: the recipe that sets the plugin's arguments, and the other parts for the totals.
        as_json: print one JSON object instead of lines.

    Raises:
        PluginError: the plugin cannot be found or built.
    """
    base_dir = loaded.base_dir if loaded else Path.cwd()
    if loaded is None:
        name, reward, examples = *_alone(target, style, base_dir), default_examples()
    else:
        name, reward = _in_recipe(target, loaded)
        examples = _examples(loaded, check_plugins(reward, base_dir))
    trial = Trial(reward, name, base_dir, examples)
    try:
        findings = []
        for finding in trial.findings():
            findings.append(finding)
            if not as_json:
                print(f"{finding.check:<34} {finding.status:<5} {finding.text}", flush=True)
        cheats = list(trial.cheats())
    finally:
        trial.close()
    if as_json:
        print(json.dumps({"findings": [asdict(f) for f in findings], "cheats": [asdict(c) for c in cheats]}))
    else:
        _print_cheats(name, cheats, with_total=loaded is not None)
    failed = [finding for finding in findings if finding.status == "FAIL"]
    print(_conclusion(failed, cheats), file=sys.stderr)
    return 1 if failed else 0


def _examples(loaded: LoadedRecipe, parts: Sequence[LoadedPart]) -> Examples:
    """The examples for a recipe. Prints a note for each needed column that some of the recipe's rows lack.

    Raises:
        PluginError: no row has a column that a part needs.
        UsageError: there is no example of one of the recipe's kinds.
    """
    tasks = first_tasks(loaded.recipe)
    if tasks:
        for note in check_columns(parts, columns_of(tasks), len(tasks)):
            print(f"note: {note}", file=sys.stderr)
    return recipe_examples(loaded.recipe, tasks)


def _alone(target: str, style: str | None, base_dir: Path) -> tuple[str, RewardKeys]:
    """(part name, reward section): the plugin without arguments, and the default parts that it needs at weight 0."""
    name = target.rpartition(":")[2] if target not in DEFAULT_WEIGHTS else target
    try:
        part = RewardPartKeys(plugin={style: target} if style else target, weight=1.0)
    except ValidationError as e:
        raise UsageError(f"--style {style}: {e.errors()[0]['msg'].removeprefix('Value error, ')}") from e
    parts: dict[str, object] = dict.fromkeys(DEFAULT_WEIGHTS)
    loaded = load_part(name, part, base_dir)
    if loaded.columns:
        needed = ", ".join(map(repr, loaded.columns))
        raise PluginError(
            f"{target} needs the columns {needed} of the data, which the built-in examples lack: pass a --recipe whose "
            "data has them, or give the arguments default values"
        )
    for need in loaded.needs:
        if need not in DEFAULT_WEIGHTS:
            raise PluginError(f"{target} needs the scores of part {need!r}: pass a --recipe that has both")
        parts[need] = {"weight": 0.0}
    parts |= {name: part.model_dump(), "runtime": {"timeout_s": _TIMEOUT_S}}
    return name, RewardKeys.model_validate(parts)


def _in_recipe(target: str, loaded: LoadedRecipe) -> tuple[str, RewardKeys]:
    reward = loaded.recipe.reward
    for name, part in reward.parts.items():
        specs = part.plugin.values() if isinstance(part.plugin, dict) else [part.plugin]
        if target == name or target in specs:
            return name, reward
    raise UsageError(f"{loaded.path} has no reward part with the plugin {target!r}: it has {', '.join(reward.parts)}")


def _print_cheats(name: str, cheats: list[Cheat], *, with_total: bool) -> None:
    width = max(len(cheat.name) for cheat in cheats)
    total = "   total (honest)" if with_total else ""
    print(f"\n{'known cheat':<{width}}  {name} (honest){total}")
    for cheat in cheats:
        line = f"{cheat.name:<{width}}  {_number(cheat.value)} ({_number(cheat.honest)})"
        if with_total:
            line += f"   {_number(cheat.reward)} ({_number(cheat.honest_reward)})"
        if cheat.above:
            line += f"   more than the honest reply on {cheat.above} of {cheat.tasks} tasks"
        elif cheat.is_wrong and cheat.level:
            line += f"   as much on {cheat.level} of {cheat.tasks}"
        print(line)


def _number(value: float | None) -> str:
    return "   -" if value is None else f"{value:.2f}"


def _conclusion(failed: list[Finding], cheats: list[Cheat]) -> str:
    text = f"{len(failed)} checks failed" if failed else "every check passed"
    paid = [cheat.name for cheat in cheats if cheat.above]
    level = [cheat.name for cheat in cheats if cheat.is_wrong and cheat.level and not cheat.above]
    if paid:
        text += f"; known cheats that earn more than the honest reply on some tasks: {_shortened(paid)}"
    if level:
        text += f"; cheats with a wrong answer that earn as much on some tasks: {_shortened(level)}"
    return text if paid or level else f"{text}; no known cheat earns as much as the honest reply"


def _shortened(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
