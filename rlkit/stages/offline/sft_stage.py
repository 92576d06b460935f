"""The stage kind `sft`: supervised fine-tuning on demonstrations."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rlkit.recipe.schema import RowsKeys, SftKeys
from rlkit.stages.stage import Stage, StageRows, StageStart

if TYPE_CHECKING:
    from rlkit.data.prompts import PromptRenderer, RenderedDemonstration
    from rlkit.data.stream import TaskStream
    from rlkit.data.tasks import LoadedDemonstrations, Mixture
    from rlkit.plan.model_size import ModelSize
    from rlkit.plan.stage_plan import FilePlan, RowCounts, StagePlan
    from rlkit.records import Task
    from rlkit.watch.evaluated import Evaluated


class SftStage(Stage[SftKeys]):
    """Trains on the demonstrations of its own `data` section, or of the recipe's, in its own actor."""

    Keys = SftKeys

    # -- data

    @property
    def _source(self) -> tuple[RowsKeys, str]:
        """(data section of its demonstrations, that section's recipe key)."""
        own = self.keys.data
        return (self.recipe.data, "data") if own is None else (own, f"stages.{self.index}.data")

    def read_rows(self) -> LoadedDemonstrations:
        """See Stage."""
        from rlkit.data.tasks import load_demonstrations

        rows, key = self._source
        must_think = self.recipe.data.prompt.force_think
        kinds = self.recipe.reward.kinds
        return load_demonstrations(rows, seed=self.recipe.run.seed, kinds=kinds, key=key, must_think=must_think)

    def fit_rows(self, rows: StageRows, renderer: PromptRenderer, context: int) -> LoadedDemonstrations:
        """See Stage."""
        from rlkit.data.prompts import check_demonstrations

        source, key = self._source
        return check_demonstrations(_own(rows), renderer, self.keys.max_length or context, source.on_bad_row, key)

    def check_order(self, tasks: Sequence[Task], mixture: Mixture | None, rows: StageRows | None) -> None:
        """See Stage."""
        self._stream(rows)

    def _stream(self, rows: StageRows | None) -> TaskStream:
        """The demonstrations in the stage's order, mixed as the data section asks."""
        from rlkit.data.stream import rows_stream

        own, (source, key) = _own(rows), self._source
        return rows_stream(own.as_tasks(), own.mixture, source, key, self.recipe.run.seed + self.index)

    def training_order(self, rows: StageRows | None, renderer: PromptRenderer) -> list[RenderedDemonstration]:
        """The rendered demonstrations in training order; the list has one entry for each use of a demonstration."""
        rendered = {d.id: renderer.render_demonstration(d) for d in _own(rows).demonstrations}
        if self.keys.steps is not None:
            count = self.keys.steps * self.keys.batch_size
        else:
            count = math.ceil(len(rendered) * (self.keys.epochs or 1.0))
        return [rendered[task.id] for task in self._stream(rows).next(count)]

    # -- plan

    def plan(self, rows: RowCounts | None) -> StagePlan:
        """See Stage."""
        from rlkit.plan.stage_plan import StagePlan

        keys, steps = self.keys, self.keys.steps
        count = None if rows is None else rows.demonstrations.get(self.index)
        if steps is None and count is not None:
            steps = math.ceil(math.ceil(count * (keys.epochs or 1.0)) / keys.batch_size)
        return StagePlan(
            name=self.name,
            kind=keys.kind,
            steps=steps,
            updates=steps,
            prompts_per_step=keys.batch_size,
            prompts=None if steps is None else steps * keys.batch_size,
            steps_per_epoch=None if count is None else math.ceil(count / keys.batch_size),
        )

    def files(self, folder: Path, size: ModelSize) -> Iterator[FilePlan]:
        """See Stage."""
        from rlkit.plan.stage_plan import FilePlan

        kept = self.recipe.checkpoint.keep_last
        # Weights and AdamW's two moments, in float32. One more than `kept`: the oldest is deleted after the newest.
        gib = None if size.parameters is None else 3 * 4 * size.parameters * (kept + 1) / 2**30
        why = f"the last {kept}, to resume from" if self.is_last else "until the stage is done"
        yield FilePlan(str(folder / self.name / "checkpoints"), gib, why)

    # -- run

    def run(self, start: StageStart, out: Path) -> Evaluated | None:
        """See Stage."""
        from rlkit.data.stream import tasks_fingerprint
        from rlkit.stages.offline.finetune import SftRun

        rows = _own(start.data.rows)
        run = SftRun(
            name=self.name,
            keys=self.keys,
            recipe=self.recipe,
            run_dir=start.run_dir,
            run_id=start.run_id,
            model_path=start.model,
            demonstrations=[(r.token_ids, r.completion_mask) for r in self.training_order(rows, start.data.renderer)],
            data=tasks_fingerprint(rows.as_tasks()),
            threads=self.recipe.learner.num_threads,
            log=start.log,
            report=start.report,
            on_stop=start.stop.report_wait,
            data_may_differ=start.data_may_differ,
        )
        try:
            run.run(out)
        finally:
            self.done_step = run.done_step
        return None

    def end(self, run_dir: Path) -> None:
        """See Stage. If a later stage starts from the model, the checkpoints are not needed any more."""
        if not self.is_last:
            for name in ("checkpoints", "trainer"):
                shutil.rmtree(run_dir / self.name / name, ignore_errors=True)


def _own(rows: StageRows | None) -> LoadedDemonstrations:
    """The rows that `read_rows` returned, with their actual type."""
    return cast("LoadedDemonstrations", rows)
