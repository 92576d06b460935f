"""Runs an SFT stage: resumes it from its newest checkpoint, and restarts it if its process dies."""

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
class CheckpointWriter:
    """Writes the trainer's checkpoints in the format of RL stages. It is sent to the stage's actor, which calls it."""

    folder: Path
    run_id: str
    keep_last: int
    data: str
    """Fingerprint of the rows that the demonstrations come from."""

    def __call__(self, step: int, write: Callable[[Path], None]) -> None:
        """See rlkit.stages.offline.sft.SaveCheckpoint."""
        save_checkpoint(self.folder, step, {"step": step, "data": self.data}, write, run_id=self.run_id)
        prune_checkpoints(self.folder, keep_last=self.keep_last, keep=())


@dataclass
class SftRun:
    """One SFT stage of a run. It is the `Listener` of its training."""

    name: str
    """Folder of the stage: "stage-0-sft"."""
    keys: SftKeys
    recipe: Recipe
    run_dir: Path
    run_id: str
    """The run's id, stored in its checkpoints."""
    model_path: str
    """The model that the stage starts from."""
    demonstrations: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]
    """(token ids, loss mask) of each demonstration, in training order."""
    data: str
    """Fingerprint of the rows that they come from."""
    threads: int
    """CPU threads."""
    log: RunLog
    report: Report
    on_stop: Callable[[], None]
    """Reports that the stage stops after its current step."""
    data_may_differ: bool = False
    """Whether the demonstrations may differ from the checkpoint's."""
    done_step: int = 0
    """The last reported optimizer step."""
    resumed_step: int = 0
    """The step of the checkpoint that the stage resumed from; 0 if it started from the beginning."""

    def run(self, out: Path) -> None:
        """Runs the stage from its newest checkpoint, restarts it if its process is lost, and writes its model to `out`.

        Raises:
            CheckpointError: there are checkpoints, but none is complete.
            DataError: the demonstrations differ from those of the checkpoint.
            ClusterError: the stage takes longer than its timeout_s, or its process dies more often than allowed.
        """
        restarts = Restarts(self.recipe.cluster.max_learner_restarts, "cluster.max_learner_restarts")
        while True:
            try:
                self._launch(self._resume(out))
                return
            except ActorLost as e:
                self.log.event("learner_restarted", f"{self.name}: {e}")
                self.report.line(f"{e}; restarting the stage's process from the newest checkpoint")
                restarts.consume([str(e)])

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

    def _resume(self, out: Path) -> SftSpec:
        """The spec for the rest of the stage, after its newest checkpoint."""
        folder = self.run_dir / self.name / "checkpoints"
        found = newest_checkpoint(folder, self.run_id, self.log, self.report)
        self.done_step = self.resumed_step = 0 if found is None else found.step
        if found is not None:
            if found.state().get("data", self.data) != self.data and not self.data_may_differ:
                raise DataError(
                    f"{self.name} was started with other demonstrations: the data has changed since; restore the data, "
                    "start a new run, or continue at the same position in the new data with --allow data"
                )
            self.log.event("resume", f"{self.name} continues after step {found.step}")
            self.report.line(f"{self.name} continues after step {found.step}")
        work_dir = self.run_dir / self.name / "trainer"
        shutil.rmtree(work_dir, ignore_errors=True)  # may hold a partial checkpoint of a killed run
        self.log.keep_steps(self.name, 0)  # the trainer will report the steps before the checkpoint again
        return SftSpec(
            model_path=self.model_path,
            stage=self.keys,
            demonstrations=self.demonstrations,
            out=out,
            work_dir=work_dir,
            checkpoint=self.recipe.checkpoint,
            save_checkpoint=CheckpointWriter(folder, self.run_id, self.recipe.checkpoint.keep_last, self.data),
            resume_from=None if found is None else found.learner_state,
            seed=self.recipe.run.seed,
            precision=self.recipe.learner.dtype,
            threads=self.threads,
            use_gpu=self.recipe.learner.gpus > 0,
            activation_checkpointing=self.recipe.learner.activation_checkpointing,
            deterministic=self.recipe.run.deterministic,
        )

    def step(self, figures: dict[str, float]) -> None:
        """Logs an optimizer step and prints its line."""
        self.done_step = int(figures["step"])
        self.log.step({"stage": self.name, "policy_version": 0, **figures, "step": self.done_step})
        if self.done_step > self.resumed_step:
            self.report.sft_step(self.name, figures)

    def event(self, kind: str, text: str) -> None:
        """Logs an event of the stage's actor."""
        self.log.event(kind, f"{self.name}: {text}")
        if kind == "checkpoint_failed":
            self.report.line(text)
