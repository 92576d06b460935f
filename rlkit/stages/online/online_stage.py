"""The stage kinds `grpo` and `ppo`: a policy learns from the rewards of its own samples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rlkit.recipe.schema import GrpoKeys, OnlineKeys, PpoKeys
from rlkit.stages.stage import Stage, StageRows, StageStart

if TYPE_CHECKING:
    from rlkit.data.stream import TaskStream
    from rlkit.data.tasks import Mixture
    from rlkit.plan.model_size import ModelSize
    from rlkit.plan.stage_plan import FilePlan, RowCounts, StagePlan
    from rlkit.records import Task
    from rlkit.watch.evaluated import Evaluated

O = TypeVar("O", bound=OnlineKeys)  # noqa: E741


class OnlineStage(Stage[O]):
    """Samples, scores, updates and syncs in each step; see rlkit.stages.online.train."""

    needs_tasks = True
    evaluates = True

    def task_stream(self, tasks: Sequence[Task], mixture: Mixture | None) -> TaskStream:
        """The training tasks in the stage's own order, at their beginning.

        Raises:
            DataError: the tasks cannot be drawn as data.domain_shares or data.stratify_by asks.
        """
        from rlkit.data.stream import rows_stream
        from rlkit.rollout.request import derive_seed

        assert mixture is not None
        seed = derive_seed(self.recipe.run.seed, "stream", self.index)
        return rows_stream(tasks, mixture, self.recipe.data, "data", seed)

    def check_order(self, tasks: Sequence[Task], mixture: Mixture | None, rows: StageRows | None) -> None:
        """See Stage."""
        self.task_stream(tasks, mixture)

    def user_code(self, base_dir: Path) -> Iterator[tuple[str, Any]]:
        """See Stage: the user's policy loss, if `objective` names one."""
        if ":" in (loss := self.keys.objective):
            from rlkit.learner.policy_loss import load_policy_loss

            key = f"stages.{self.index}.objective"
            yield key, load_policy_loss(loss, base_dir, key)

    def plan(self, rows: RowCounts | None) -> StagePlan:
        """See Stage."""
        from rlkit.plan.stage_plan import StagePlan

        keys, tasks = self.keys, None if rows is None else rows.tasks
        samples = keys.prompts_per_step * keys.samples_per_prompt
        tokens = samples * self.recipe.rollout.max_tokens
        return StagePlan(
            name=self.name,
            kind=keys.kind,
            steps=keys.steps,
            updates=keys.num_updates,
            prompts_per_step=keys.prompts_per_step,
            samples_per_step=samples,
            prompts=keys.steps * keys.prompts_per_step,
            samples=keys.steps * samples,
            max_tokens_per_step=tokens,
            max_tokens=keys.steps * tokens,
            steps_per_epoch=tasks / keys.prompts_per_step if tasks else None,
        )

    def files(self, folder: Path, size: ModelSize) -> Iterator[FilePlan]:
        """See Stage."""
        from rlkit.plan.memory import checkpoint_bytes
        from rlkit.plan.stage_plan import FilePlan

        every, kept = self.recipe.tracking.rollouts_every, self.recipe.checkpoint.keep_last
        if every:
            what = f"{math.ceil(self.keys.steps / every)} Parquet files of samples and scores"
            yield FilePlan(str(folder / self.name / "rollouts"), None, what)
        checkpoint = checkpoint_bytes(self.recipe, self.keys, size)
        # One more than `kept`: the oldest checkpoint is deleted after the newest is complete.
        gib = None if checkpoint is None else checkpoint * (kept + 1) / 2**30
        yield FilePlan(str(folder / self.name / "checkpoints"), gib, f"the last {kept}, to resume from")

    def run(self, start: StageStart, out: Path) -> Evaluated | None:
        """See Stage."""
        from rlkit.stages.online.online_run import run_online

        return run_online(self, start, out)


class GrpoStage(OnlineStage[GrpoKeys]):
    """Computes advantages by comparing the samples of a group."""

    Keys = GrpoKeys


class PpoStage(OnlineStage[PpoKeys]):
    """Computes advantages with a critic."""

    Keys = PpoKeys
