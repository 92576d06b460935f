"""`rlkit train`: locks the run's folder, decides between start and resume, keeps the mirror, and runs the stages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from rlkit.cluster.stop import StopSignal
from rlkit.disk import write_atomically
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
    """Starts or resumes a run and executes its stages. Returns the exit code.

    Args:
        loaded: The recipe without filled-in defaults; a resume compares this one with the run's start.
        recipe: The recipe with the defaults for this model and machine.
        data: Its rows.
        run_dir: The run's folder.
        resume: "auto", "must" or "never".
        address: Address of a Ray cluster; None: start a local one.
        allow: Keys that may differ from the run's start.

    Raises:
        RlkitError: The run failed, was stopped or cannot start. Finished work is saved.
    """
    report = Report()
    report.forward_cluster_logs()
    stop = StopSignal(lambda: report.line("stopping after this step; press Ctrl-C again to stop at once"))
    parts = [(part.name, part.plugin) for part in load_parts(recipe.reward, loaded.base_dir)]
    own = [named for stage in stages_of(recipe) for named in stage.user_code(loaded.base_dir)]
    provenance = {
        "code": code_hashes([*parts, *own]),
        "files": model_hashes(recipe),
        "versions": library_versions(),
        "machine": {"precision": str(recipe.learner.precision)},
    }
    is_local = recipe.cluster.address is None
    # A new model (model.init) does not exist yet: vLLM checks the arguments for it when the engine starts.
    if loaded.recipe.rollout.engine and recipe.model.path is not None and is_local and recipe.has_engines:
        spec = EngineSpec(recipe.model.path, recipe.rollout, recipe.learner.dtype, recipe.run.seed)
        with report.waiting("checking rollout.engine with the installed vLLM"):
            check_engine_values(spec, timeout_s=recipe.cluster.start_timeout_s)
    run_dir = run_dir.resolve()  # actors may run in another working directory
    mirror = Mirror(recipe.run, run_dir, report)
    with stop.installed(), locked(run_dir):
        mirror.fetch(resume)
        is_resumed = (run_dir / RECIPE).exists()
        state = begin(run_dir, loaded, resume, provenance=provenance, allow=allow)
        with mirror.kept_up():
            if state is None:
                model = run_dir / "model"
                report.line(
                    f"the run in {run_dir} is done; its model is in {model}. To start a new run, set another run.name"
                )
                return 0
            _write_recipe(run_dir, recipe)
            if is_resumed:
                report.line(describe_start(state, recipe))
            return Pipeline(recipe, data, loaded.base_dir, state, report, stop).execute(address)


def _write_recipe(run_dir: Path, recipe: Recipe) -> None:
    """Writes recipe.yaml with all keys, for the user. A resume compares with the recipe in progress.json instead."""
    try:
        write_atomically(run_dir / RECIPE, yaml.safe_dump(resolve(recipe), sort_keys=False, allow_unicode=True))
    except OSError as e:
        raise unwritable(run_dir, e) from e
