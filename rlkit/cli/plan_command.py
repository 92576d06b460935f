"""`rlkit plan`: prints the plan of a recipe without starting anything."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from rlkit.cli.command import Command
from rlkit.cli.recipe_arguments import add_recipe, address_of, load, run_dir_of
from rlkit.cli.usage import RECIPE_WORDS
from rlkit.errors import UsageError


def _configure_plan(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser, required=False)
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    parser.add_argument(
        "--deep",
        action="store_true",
        help="also read all data and check it with the tokenizer and vLLM, as train does (about 20 seconds)",
    )
    parser.add_argument("--schema", action="store_true", help="print the recipe's JSON Schema, for editors")


def _plan(args: argparse.Namespace) -> int:
    if args.schema:
        import json

        from rlkit.recipe.schema import Recipe

        print(json.dumps(Recipe.model_json_schema(), indent=2))
        return 0
    if args.recipe is None:
        raise UsageError(f"{args.prog} needs RECIPE, a YAML file: {args.prog} {RECIPE_WORDS} (see {args.prog} --help)")
    loaded = load(args)
    from rlkit.run.checks import check_run

    address = address_of(args, loaded)
    checked = check_run(loaded, run_dir=run_dir_of(args, loaded), address=address, read_all=args.deep)
    plan, notes = checked.plan, checked.notes
    if args.deep and checked.data is not None:
        from rlkit.run.deep_checks import check_deeply

        notes = (*notes, *check_deeply(plan.recipe, checked.data))
    plan = replace(plan, notes=(*plan.notes, *notes))
    if args.json:
        print(plan.to_json())
    else:
        from rlkit.plan.show import print_plan

        print_plan(plan)
    for refusal in plan.refusals:
        print(f"rlkit: error: {refusal}", file=sys.stderr)
    return 2 if plan.refusals else 0


PLAN = Command(
    "Show a recipe's steps, memory, placement and files on this machine; starts nothing.", _configure_plan, _plan
)
