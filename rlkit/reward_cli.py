"""`rlkit reward`: scores a file, tests a plugin, starts a new one. No GPU, no cluster."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rlkit.errors import UsageError

if TYPE_CHECKING:
    from rlkit.recipe.load import LoadedRecipe


@dataclass(frozen=True)
class Action:
    """A word after `rlkit reward`."""

    target: str
    """What its argument is called; empty where it takes none."""
    run: Callable[[argparse.Namespace], int]
    """Does it; returns the exit code."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `rlkit reward`."""
    parser.add_argument("action", choices=list(ACTIONS), help="score a file, test a plugin, or start a new one")
    parser.add_argument(
        "target",
        nargs="?",
        metavar="TARGET",
        help="test: the plugin, as MODULE:CLASS, ./file.py:CLASS or an entry point; new: its NAME",
    )
    parser.add_argument("--recipe", metavar="RECIPE", help="score: its reward; test: also the plugin's arguments")
    score = parser.add_argument_group("rlkit reward score")
    score.add_argument(
        "--input", metavar="IN.jsonl", help="a sample a line; samples of one `group` are scored together"
    )
    score.add_argument("--output", metavar="OUT.jsonl", help="the scores, a line for each line of the input")
    score.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="groups scored at once")
    test = parser.add_argument_group("rlkit reward test")
    test.add_argument("--style", metavar="STYLE", help="TARGET is a function for trl, trl_text, verl or openrlhf")
    test.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(args: argparse.Namespace) -> int:
    """Runs one action."""
    action = ACTIONS[args.action]
    if action.target and args.target is None:
        raise UsageError(f"rlkit reward {args.action} needs a {action.target} (see rlkit reward --help)")
    if not action.target and args.target is not None:
        raise UsageError(f"rlkit reward {args.action} takes no argument {args.target!r} (see rlkit reward --help)")
    return action.run(args)


def _score(args: argparse.Namespace) -> int:
    if args.recipe is None or args.input is None or args.output is None:
        raise UsageError("rlkit reward score needs --recipe, --input and --output")
    if args.workers < 1:
        raise UsageError(f"--workers {args.workers} must be at least 1")
    loaded = _load(args.recipe)
    from rlkit.reward_score import score_file

    return score_file(loaded, Path(args.input), Path(args.output), args.workers)


def _test(args: argparse.Namespace) -> int:
    from rlkit.reward_trial import try_plugin

    loaded = _load(args.recipe) if args.recipe else None
    return try_plugin(args.target, args.style, loaded, as_json=args.json)


def _new(args: argparse.Namespace) -> int:
    from rlkit.scoring.start import class_name, write_plugin

    plugin, test = write_plugin(args.target, Path.cwd())
    print(f"wrote {plugin.name}, the plugin, and {test.name}, its test; try them with")
    print(f"  {Path(sys.executable).name} -m pytest {test.name}")
    print(f"  rlkit reward test ./{plugin.name}:{class_name(plugin.stem)}")
    return 0


def _load(recipe: str) -> LoadedRecipe:
    from rlkit.recipe.load import load_recipe

    return load_recipe(Path(recipe))


ACTIONS: Mapping[str, Action] = {
    "score": Action("", _score),
    "test": Action("MODULE:CLASS", _test),
    "new": Action("NAME", _new),
}
