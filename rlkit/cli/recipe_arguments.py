"""The arguments of commands that take a recipe: RECIPE and KEY=VALUE."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rlkit.cli.usage import RECIPE_WORDS
from rlkit.cluster.jobs import job_address
from rlkit.errors import UsageError

if TYPE_CHECKING:
    from rlkit.recipe.load import LoadedRecipe


def add_recipe(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Adds RECIPE and KEY=VALUE."""
    parser.add_argument("recipe", metavar="RECIPE", nargs=None if required else "?", help="a YAML file")
    parser.add_argument(
        "overrides",
        metavar="KEY=VALUE",
        nargs="*",
        default=[],
        help="overrides by dotted path, such as stages.1.steps=5",
    )
    parser.set_defaults(prog=parser.prog)


def load(args: argparse.Namespace) -> LoadedRecipe:
    """Loads the recipe of these arguments.

    Raises:
        RlkitError: The recipe is invalid.
    """
    from rlkit.recipe.load import load_recipe

    check_recipe_words(args.prog, args.recipe, args.overrides)
    return load_recipe(Path(args.recipe), args.overrides)


def run_dir_of(args: argparse.Namespace, loaded: LoadedRecipe) -> Path:
    """The run's folder: --run-dir if given, else the recipe's."""
    run = loaded.recipe.run
    return Path(args.run_dir) if getattr(args, "run_dir", None) else Path(run.dir) / run.name


def address_of(args: argparse.Namespace, loaded: LoadedRecipe) -> str | None:
    """Address of the Ray cluster: --address, else the recipe's, else that of the Ray job that runs this; or None."""
    return getattr(args, "address", None) or loaded.recipe.cluster.address or job_address()


def check_recipe_words(prog: str, recipe: str, overrides: list[str]) -> None:
    """Checks that the arguments are one recipe followed by KEY=VALUE.

    Raises:
        UsageError: They are not; the message shows the correct command.
    """
    words = [recipe, *overrides]
    files = [word for word in words if "=" not in word and _is_file_name(word)]
    keys = [word for word in words if "=" in word]
    if "=" in recipe and not Path(recipe).exists():
        if files:
            raise UsageError(f"the recipe comes first: {prog} {' '.join([files[0], *keys])}")
        raise UsageError(f"{recipe!r} is an override, not a recipe: {prog} {RECIPE_WORDS}")
    if len(files) > 1 and files[0] == recipe:
        raise UsageError(f"{prog} takes one recipe, but {files[1]!r} is a second file: {prog} {RECIPE_WORDS}")
    if "=" in overrides:
        index = overrides.index("=")
        joined = "".join(overrides[max(0, index - 1) : index + 2])
        raise UsageError(f"write an override without spaces around the equals sign: {joined}")


def _is_file_name(word: str) -> bool:
    return Path(word).suffix in (".yaml", ".yml") or Path(word).exists()
