"""`rlkit reward`: scores a file, tests a plugin, or creates a new one. Needs no GPU and no cluster."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rlkit.cli.command import Command, CommandFamily
from rlkit.errors import UsageError

if TYPE_CHECKING:
    from rlkit.recipe.load import LoadedRecipe


def _configure_score(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", metavar="RECIPE", required=True, help="the recipe whose reward is used")
    parser.add_argument(
        "--input",
        metavar="IN.jsonl",
        required=True,
        help="one sample per line; samples of the same `group` are scored together",
    )
    parser.add_argument("--output", metavar="OUT.jsonl", required=True, help="the scores, one line per input line")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="groups scored in parallel"
    )


def _score(args: argparse.Namespace) -> int:
    if args.workers < 1:
        raise UsageError(f"--workers {args.workers} must be at least 1")
    loaded = _load(args.recipe)
    from rlkit.scoring.kit.score_file import score_file

    return score_file(loaded, Path(args.input), Path(args.output), args.workers)


def _configure_test(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="PLUGIN", help="MODULE:CLASS, ./file.py:CLASS or an entry point")
    parser.add_argument("--recipe", metavar="RECIPE", help="a recipe whose reward gives the plugin's arguments")
    parser.add_argument("--style", metavar="STYLE", help="PLUGIN is a function for trl, trl_text, verl or openrlhf")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def _test(args: argparse.Namespace) -> int:
    from rlkit.scoring.kit.findings import try_plugin

    loaded = _load(args.recipe) if args.recipe else None
    return try_plugin(args.target, args.style, loaded, as_json=args.json)


def _configure_new(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the file's name, in lower case with underscores")


def _new(args: argparse.Namespace) -> int:
    from rlkit.scoring.kit.new_plugin import class_name, write_plugin

    plugin, test = write_plugin(args.name, Path.cwd())
    print(f"wrote the plugin {plugin.name} and its test {test.name}; try them with")
    print(f"  {Path(sys.executable).name} -m pytest {test.name}")
    print(f"  rlkit reward test ./{plugin.name}:{class_name(plugin.stem)}")
    return 0


def _load(recipe: str) -> LoadedRecipe:
    from rlkit.recipe.load import load_recipe

    return load_recipe(Path(recipe))


REWARD = CommandFamily(
    "Score a file with a recipe's reward, test a reward plugin, or create one.",
    {
        "score": Command("Score the samples of a file with a recipe's reward.", _configure_score, _score),
        "test": Command("Test a reward plugin on many kinds of replies.", _configure_test, _test),
        "new": Command("Create an example reward plugin and its test in this folder.", _configure_new, _new),
    },
)
