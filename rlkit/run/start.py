"""A start of `rlkit train`: what it is made with, whether it goes on, its folder's lock and copy, and its stages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from rlkit.cluster.stop import StopSignal
from rlkit.disk import write_whole
from rlkit.keep.mirror import Mirror
from rlkit.keep.resume import begin, describe_start, locked
from rlkit.keep.runfiles import RECIPE
from rlkit.keep.runstate import unwritable
from rlkit.recipe.load import LoadedRecipe, resolve
from rlkit.recipe.schema import Recipe
from rlkit.rollout.engine import EngineSpec
from rlkit.rollout.engine_arguments import check_engine_values
from rlkit.run.pipeline import Pipeline
from rlkit.run.provenance import code_hashes, library_versions, model_hashes
from rlkit.run.run_data import RunData
from rlkit.scoring.plugins.plugin import load_parts
from rlkit.stages.registry import stages_of
from rlkit.watch.report import Report


def run_recipe(
    loaded: LoadedRecipe,
    *,
    recipe: Recipe,
    data: RunData,
    run_dir: Path,
    resume: str,
    address: str | None,
    allow: Sequence[str] = (),
) -> int:
    """Runs a recipe on its data to its end; returns the exit code.

    Args:
        loaded: The recipe as it was written: what a resume is compared by.
        recipe: The same with its defaults filled in for this model and machine.
        data: Its rows.
        run_dir: The run's folder.
        resume: "auto", "must" or "never".
        address: A Ray cluster's, or None.
        allow: Keys that may differ from the run's start.

    Raises:
        RlkitError: the run failed, was stopped or cannot start; what it had done is kept.
    """
    report = Report()
    report.hear()
    stop = StopSignal(lambda: report.line("stopping after this step; Ctrl-C again leaves at once"))
    parts = [(part.name, part.plugin) for part in load_parts(recipe.reward, loaded.base_dir)]
    own = [named for stage in stages_of(recipe) for named in stage.own_code(loaded.base_dir)]
    made_with = {
        "code": code_hashes([*parts, *own]),
        "files": model_hashes(recipe),
        "versions": library_versions(),
        "machine": {"precision": str(recipe.learner.precision)},
    }
    here = recipe.cluster.address is None
    if loaded.recipe.rollout.engine and recipe.model.path is not None and here and recipe.has_engines:
        spec = EngineSpec(recipe.model.path, recipe.rollout, recipe.learner.dtype, recipe.run.seed)
        with report.waiting("checking rollout.engine with the installed vLLM"):
            check_engine_values(spec, timeout_s=recipe.cluster.start_timeout_s)
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
            _write_recipe(run_dir, recipe)
            if goes_on:
                report.line(describe_start(state, recipe))
            return Pipeline(recipe, data, loaded.base_dir, state, report, stop).execute(address)


def _write_recipe(run_dir: Path, recipe: Recipe) -> None:
    """Writes every key with its value, those that were worked out too; what a resume compares is in progress.json."""
    try:
        write_whole(run_dir / RECIPE, yaml.safe_dump(resolve(recipe), sort_keys=False, allow_unicode=True))
    except OSError as e:
        raise unwritable(run_dir, e) from e
