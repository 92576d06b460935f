"""A stage that learns from demonstrations: from its newest checkpoint, or its start, to its end."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlkit.cluster.restarts import Restarts
from rlkit.errors import ActorLost, DataError
from rlkit.keep.checkpoint import newest_checkpoint, prune_checkpoints, save_checkpoint
from rlkit.recipe.schema import Recipe, SftKeys
from rlkit.stages.offline.launch import launch_sft
from rlkit.stages.offline.sft import SftSpec
from rlkit.watch.report import Report
from rlkit.watch.runlog import RunLog


@dataclass(frozen=True)
class Keeper:
    """Keeps the trainer's checkpoints as those of an RL stage are kept; goes along into the stage's actor."""

    folder: Path
    run_id: str
    keep_last: int
    data: str
    """Fingerprint of what the demonstrations are drawn from."""

    def __call__(self, step: int, write: Callable[[Path], None]) -> None:
        """See rlkit.stages.offline.sft.Keep."""
        save_checkpoint(self.folder, step, {"step": step, "data": self.data}, write, run_id=self.run_id)
        prune_checkpoints(self.folder, keep_last=self.keep_last, keep=())


@dataclass
class OfflineStage:
    """One SFT stage of a run; hears of its progress."""

    name: str
    """Folder of the stage: "stage-0-sft"."""
    keys: SftKeys
    recipe: Recipe
    run_dir: Path
    run_id: str
    """Of the run, in its checkpoints."""
    model_path: str
    """The stage's start model."""
    demonstrations: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]
    """(token ids, mask) of each, in the order of learning."""
    data: str
    """Fingerprint of all that they are drawn from."""
    threads: int
    """CPU threads."""
    log: RunLog
    report: Report
    on_stop: Callable[[], None]
    """Says that the stage stops after its step."""
    data_may_differ: bool = False
    """Whether other demonstrations than the checkpoint's were allowed."""
    done_step: int = 0
    """The last optimizer step that was told."""
    resumed_step: int = 0
    """The step of the checkpoint that the stage goes on from."""

    def run(self, out: Path) -> None:
        """Takes the stage up where it was, again whenever its process is lost, and writes its model to `out`.

        Raises:
            CheckpointError: there are checkpoints, and none is whole.
            DataError: the demonstrations are others than those of the checkpoint.
            ClusterError: the stage outlasts its timeout_s, or its process died more often than the recipe allows.
        """
        restarts = Restarts(self.recipe.cluster.max_learner_restarts, "cluster.max_learner_restarts")
        while True:
            try:
                self._launch(self._take_up(out))
                return
            except ActorLost as e:
                self.log.event("learner_restarted", f"{self.name}: {e}")
                self.report.line(f"{e}; starting the stage's process again from the newest checkpoint")
                restarts.take([str(e)])

    def _launch(self, spec: SftSpec) -> None:
        what = f"{self.name}: loading the model and {len(spec.demonstrations)} demonstrations"
        self.report.line(f"{what} ...")
        with self.report.during(what):
            launch_sft(
                spec,
                self,
                self.run_dir / "progress.json",
                start_timeout_s=self.recipe.cluster.start_timeout_s,
                answer_s=self.recipe.learner.deadline_s,
                on_stop=self.on_stop,
            )

    def _take_up(self, out: Path) -> SftSpec:
        """What is left to do after the newest checkpoint."""
        folder = self.run_dir / self.name / "checkpoints"
        found = newest_checkpoint(folder, self.run_id, self.log, self.report)
        self.done_step = self.resumed_step = 0 if found is None else found.step
        if found is not None:
            if found.state().get("data", self.data) != self.data and not self.data_may_differ:
                raise DataError(
                    f"{self.name} was begun with other demonstrations: the data has changed since; put it back, start "
                    "a new run, or go on with the new ones at the same place with --allow data"
                )
            self.log.event("resume", f"{self.name} continues after step {found.step}")
            self.report.line(f"{self.name} continues after step {found.step}")
        work_dir = self.run_dir / self.name / "trainer"
        shutil.rmtree(work_dir, ignore_errors=True)  # what a kill left of the checkpoint that was being written
        self.log.keep_steps(self.name, 0)  # the checkpoint tells all steps before it again
        return SftSpec(
            model_path=self.model_path,
            stage=self.keys,
            demonstrations=self.demonstrations,
            out=out,
            work_dir=work_dir,
            checkpoint=self.recipe.checkpoint,
            keep=Keeper(folder, self.run_id, self.recipe.checkpoint.keep_last, self.data),
            resume_from=None if found is None else found.learner_state,
            seed=self.recipe.run.seed,
            precision=self.recipe.learner.dtype,
            threads=self.threads,
            use_gpu=self.recipe.learner.gpus > 0,
            activation_checkpointing=self.recipe.learner.activation_checkpointing,
            deterministic=self.recipe.run.deterministic,
        )

    def step(self, figures: dict[str, float]) -> None:
        """Writes an optimizer step's metrics and its line."""
        self.done_step = int(figures["step"])
        self.log.step({"stage": self.name, "policy_version": 0, **figures, "step": self.done_step})
        if self.done_step > self.resumed_step:
            self.report.sft_step(self.name, figures)

    def event(self, kind: str, text: str) -> None:
        """Notes what happened in the stage's actor."""
        self.log.event(kind, f"{self.name}: {text}")
        if kind == "checkpoint_failed":
            self.report.line(text)


def forget_checkpoints(stage_dir: Path) -> None:
    """Drops the trainer's files of a stage that is done and whose model is kept; again where a kill came between."""
    for name in ("checkpoints", "trainer"):
        shutil.rmtree(stage_dir / name, ignore_errors=True)
