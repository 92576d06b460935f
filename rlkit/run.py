"""A start of `rlkit train`: what it is made with, whether it goes on, its folder's lock and copy, and its stages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlkit.mirror import Mirror
from rlkit.pipeline import Pipeline
from rlkit.provenance import code_hashes, library_versions, model_hashes
from rlkit.recipe.load import LoadedRecipe
from rlkit.recipe.machine import Machine
from rlkit.recipe.plan import learner_threads, settle
from rlkit.report import Report
from rlkit.resume import begin, describe_start, locked
from rlkit.rollout.engine import check_engine_arguments
from rlkit.runfiles import RECIPE
from rlkit.scoring.plugin import load_parts
from rlkit.stop import StopSignal


def run_recipe(
    loaded: LoadedRecipe, *, run_dir: Path, resume: str, address: str | None, allow: Sequence[str] = ()
) -> int:
    """Runs a recipe to its end; returns the exit code.

    Raises:
        RlkitError: the run failed, was stopped or cannot start; what it had done is kept.
    """
    report, machine = Report(), Machine.detect(run_dir)
    report.hear()
    stop = StopSignal(lambda: report.line("stopping after this step; Ctrl-C again leaves at once"))
    recipe = settle(loaded.recipe, machine)
    codes = code_hashes((part.name, part.plugin) for part in load_parts(recipe.reward, loaded.base_dir))
    made_with = {
        "code": codes,
        "files": model_hashes(recipe),
        "versions": library_versions(),
        "machine": {"precision": str(recipe.learner.precision)},
    }
    if recipe.rollout.engine:
        with report.waiting("checking rollout.engine with the installed vLLM"):
            check_engine_arguments(recipe.rollout, timeout_s=recipe.cluster.start_timeout_s)
    run_dir = run_dir.resolve()  # actors may run in another working directory
    mirror = Mirror(recipe.run, run_dir, report)
    with stop.installed(), locked(run_dir):
        mirror.fetch(resume)
        goes_on = (run_dir / RECIPE).exists()
        state = begin(run_dir, loaded, resume, made_with=made_with, allow=allow)
        with mirror.kept_up():
            if state is None:
                model = run_dir / "model"
                report.line(
                    f"the run in {run_dir} is done; its model is in {model}. For another run give another run.name"
                )
                return 0
            if goes_on:
                report.line(describe_start(state, recipe))
            threads = learner_threads(recipe, machine)
            return Pipeline(recipe, loaded.base_dir, state, report, stop, threads=threads).execute(address)
