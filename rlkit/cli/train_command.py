"""`rlkit train`: runs a recipe. Checks it before importing anything heavy (torch, ray, vllm)."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from rlkit.cli.command import Command
from rlkit.cli.recipe_arguments import add_recipe, address_of, load, run_dir_of
from rlkit.errors import Stopped, UsageError


def _configure_train(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser)
    parser.add_argument("--run-dir", metavar="DIR", help="the run's folder (default: <run.dir>/<run.name>)")
    parser.add_argument(
        "--resume",
        choices=("auto", "must", "never"),
        default="auto",
        help="auto: resume an unfinished run, else start one; must: only resume; never: only start",
    )
    parser.add_argument("--address", metavar="RAY", help="address of a Ray cluster (auto, host:6379); cluster.address")
    parser.add_argument(
        "--allow",
        metavar="KEY",
        action="append",
        default=[],
        help="resume although this key (or section, or code.PART) differs from the run's start; may be repeated",
    )


def _train(args: argparse.Namespace) -> int:
    loaded = load(args)
    run_dir, address = run_dir_of(args, loaded), address_of(args, loaded)
    from rlkit.run.checks import check_run

    checked = check_run(loaded, run_dir=run_dir, address=address, read_all=True)
    if checked.data is None:
        raise UsageError("\n".join(checked.plan.refusals))
    for note in checked.notes:
        print(f"note: {note}")
    run_recipe = _import_run()
    return run_recipe(
        loaded,
        recipe=checked.plan.recipe,
        data=checked.data,
        run_dir=run_dir,
        resume=args.resume,
        address=address,
        allow=args.allow,
    )


def _import_run() -> Callable[..., int]:
    """Imports `rlkit.run.start.run_recipe`, which takes seconds. Ctrl-C during the import exits the process at once.

    It does not raise KeyboardInterrupt: some libraries would take the exception for a failed import and continue.
    """
    from rlkit.cluster.stop import StopSignal
    from rlkit.watch.report import Report

    report = Report()

    def leave() -> NoReturn:
        report.clear_live_line()
        print("rlkit: stopped as you asked before the run began", file=sys.__stderr__, flush=True)
        os._exit(Stopped.exit_code)

    stop = StopSignal(leave)
    with stop.installed(), report.waiting("loading PyTorch and Ray"), stop.deferred():
        from rlkit.run.start import run_recipe
    return run_recipe


TRAIN = Command("Run a recipe: fine-tune the model and save the run to disk.", _configure_train, _train)
