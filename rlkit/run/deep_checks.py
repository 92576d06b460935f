"""`rlkit plan --deep`: checks that need the tokenizer, the chat template and the installed vLLM.

`rlkit train` makes the same checks before it starts any actor.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from rlkit.models.pretrained import context_length
from rlkit.recipe.schema import Recipe
from rlkit.rollout.engine import EngineSpec
from rlkit.rollout.engine_arguments import check_engine_values
from rlkit.run.inputs import Inputs, read_inputs
from rlkit.run.run_data import RunData


def check_deeply(recipe: Recipe, data: RunData) -> list[str]:
    """Renders every prompt and demonstration, and checks the engine's arguments with vLLM. Returns notes for the user.

    Args:
        recipe: A recipe whose defaults are filled in.
        data: Its rows.

    Raises:
        UsageError: A check failed.
        ClusterError: vLLM cannot be imported.
    """
    with TemporaryDirectory() as folder:
        inputs = read_inputs(recipe, data, Path(folder), lambda line: None)
        if recipe.has_engines and recipe.cluster.address is None:
            spec = EngineSpec(inputs.model_path, recipe.rollout, recipe.learner.dtype, recipe.run.seed)
            check_engine_values(spec, timeout_s=recipe.cluster.start_timeout_s)
        return list(_findings(recipe, inputs))


def _findings(recipe: Recipe, inputs: Inputs) -> Iterator[str]:
    tasks = [*inputs.train, *inputs.heldout]
    if tasks:
        lengths = sorted(len(inputs.renderer.render(task).token_ids) for task in tasks)
        yield (
            f"prompts have {lengths[0]} to {lengths[-1]} tokens (median {lengths[len(lengths) // 2]}); with "
            f"rollout.max_tokens={recipe.rollout.max_tokens} a sequence has at most "
            f"{lengths[-1] + recipe.rollout.max_tokens} of the model's {context_length(inputs.model_path)}"
        )
    if inputs.skipped:
        yield f"{len(inputs.skipped)} bad rows are skipped; the last: {inputs.skipped[-1].where}: " + (
            inputs.skipped[-1].reason
        )
