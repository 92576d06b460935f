"""Runs a recipe's stages in order; each stage starts from the previous stage's model."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rlkit.cluster.ray_start import start_ray, stop_ray
from rlkit.cluster.stop import StopSignal
from rlkit.data.stream import tasks_fingerprint
from rlkit.errors import RlkitError, Stopped
from rlkit.keep.resume import describe_stop
from rlkit.keep.runstate import RunState, unwritable
from rlkit.recipe.schema import Recipe
from rlkit.run.inputs import Inputs, read_inputs
from rlkit.run.run_data import RunData
from rlkit.stages.online.actors import ActorStarter
from rlkit.stages.online.evaluate import evaluate_heldout
from rlkit.stages.registry import stages_of
from rlkit.stages.stage import Stage, StageStart
from rlkit.watch.evaluated import Evaluated
from rlkit.watch.metrics import PhaseTimer
from rlkit.watch.report import Report
from rlkit.watch.runlog import RunLog
from rlkit.watch.sinks import SinkThreads, build_sinks


class Pipeline:
    """Executes the stages of a run, from a fresh start or a resume, and writes its summary."""

    def __init__(
        self,
        recipe: Recipe,
        data: RunData,
        base_dir: Path,
        state: RunState,
        report: Report,
        stop: StopSignal,
    ) -> None:
        self.recipe = recipe
        self.data = data
        self.base_dir = base_dir
        self.state = state
        self.report = report
        self.run_dir = state.run_dir
        self.sinks = SinkThreads(build_sinks(recipe.tracking, base_dir), self._log_event)
        self.log = RunLog(state.run_dir, on_step=self.sinks.put)
        self.timer = PhaseTimer()
        self.stop = stop
        self.stage: Stage[Any] | None = None
        """The current or last stage; None during setup."""

    def execute(self, address: str | None) -> int:
        """Runs the unfinished stages and writes the summary. Returns the exit code.

        Args:
            address: Address of a Ray cluster; None: start a local one.

        Raises:
            Stopped: The user stopped the run.
            RlkitError: The run failed.
        """
        began = time.monotonic()
        status = "failed"
        try:
            with self.timer("setup"):
                with self.report.waiting("reading the tokenizer"):
                    inputs = read_inputs(self.recipe, self.data, self.run_dir, self.report.line)
                inputs.describe(self.run_dir, self.report.line, self.log.line)
                self.state.check_heldout(tasks_fingerprint(inputs.heldout))
                with self.report.waiting(f"connecting to the Ray cluster {address}" if address else "starting Ray"):
                    start_ray(self.recipe.cluster, address, restore_handlers=self.stop.install_handlers)
            self._run_stages(inputs)
            status = "done"
        except KeyboardInterrupt:
            status = "stopped"
            stage_name = "setup" if self.stage is None else self.stage.name
            self.log.event("stopped", f"{stage_name} after step {self._done_step}")
            raise Stopped(describe_stop(self.state, stage_name, self._done_step)) from None
        except RlkitError as e:
            self.log.event("failed", str(e))
            raise
        except OSError as e:
            raise unwritable(self.run_dir, e) from e
        finally:
            # The summary is written before Ray is stopped, because stopping Ray may take seconds or fail.
            try:
                self.sinks.close(self.recipe.tracking.sink_timeout_s)
                self.state.seconds += time.monotonic() - began
                self._write_summary(status)
            finally:
                with self.stop.ignored(), self.report.during("stopping Ray and its processes"):
                    stop_ray()
        if self.state.before is not None and self.state.after is not None:
            self.report.table(self.state.before, self.state.after, self.state.before_name)
        self.report.done(self.run_dir, self.state.seconds, self.log.num_events())
        return 0

    @property
    def _done_step(self) -> int:
        """The last completed step of the current stage."""
        return 0 if self.stage is None else self.stage.done_step

    def _write_summary(self, status: str) -> None:
        """Writes summary.json. If that fails after another failure, the first error is the one that is raised."""
        try:
            self.state.save()
            seconds, events = self.timer.seconds, self.log.num_events()
            model = status == "done" or (self.stage is not None and self.stage.kept_model)
            summary = self.state.summary(status, self._done_step, seconds, events, model=model)
            self.log.write_json("summary.json", summary)
        except OSError as e:
            if status == "done":
                raise unwritable(self.run_dir, e) from e

    def _log_event(self, kind: str, text: str) -> None:
        """Logs and prints an event of a metrics sink."""
        self.log.event(kind, text)
        self.report.line(text)

    def _run_stages(self, inputs: Inputs) -> None:
        stages: list[Stage[Any]] = stages_of(self.recipe)
        model = str(self.run_dir / self.state.models[-1]) if self.state.models else inputs.model_path
        evaluated_by_stage = any(stage.evaluates for stage in stages)
        if not evaluated_by_stage and not self.state.models and self.state.before is None:
            before = self._evaluate_model(inputs, model, "before the first step")
            if before is not None:
                self._save_before(before, "before")
        for stage in stages:
            self.stage, done = stage, stage.index < len(self.state.models)
            stage.done_step = self.log.last_step(stage.name)
            if not done:
                out = self.run_dir / "model" if stage.is_last else self.run_dir / stage.name / "model"
                self._run_stage(stage, inputs, model, out)
                model = str(out)
            stage.end(self.run_dir)
        if not stages[-1].evaluates and self.state.after is None:
            self.state.after = self._evaluate_model(inputs, model, "after the last step")

    def _run_stage(self, stage: Stage[Any], inputs: Inputs, model: str, out: Path) -> None:
        with self.timer(stage.name):
            self.state.after = None  # an evaluation of the previous stage's model
            start = StageStart(
                run_dir=self.run_dir,
                run_id=self.state.run_id,
                base_dir=self.base_dir,
                model=model,
                data=inputs.of_stage(stage.index),
                log=self.log,
                report=self.report,
                stop=self.stop,
                timer=self.timer,
                data_may_differ=self.state.data_may_differ,
                evaluated_before=self.state.before is not None,
                save_before=self._save_before,
            )
            self.state.after = stage.run(start, out)
        self.log.sync()
        self.state.models.append(str(out.relative_to(self.run_dir)))
        self.state.save()

    def _save_before(self, result: Evaluated, name: str) -> None:
        self.state.before, self.state.before_name = result, name
        self.state.save()
        self.report.evaluated(name, result)

    def _evaluate_model(self, inputs: Inputs, model: str, when: str) -> Evaluated | None:
        """Evaluates a model on the held-out tasks with separate engines; None if there are no held-out tasks."""
        if not inputs.heldout:
            return None
        with self.timer("evaluation"), ExitStack() as actors:
            starter = ActorStarter(self.recipe, self.run_dir, self.base_dir, self.report, self.log.event, actors)
            place = starter.reserve(with_learner=False)
            scoring, rollout = starter.start_scorers(), starter.start_engines(model, place)
            return evaluate_heldout(self.recipe, inputs.heldout, inputs.renderer, rollout, scoring, self.report, when)
