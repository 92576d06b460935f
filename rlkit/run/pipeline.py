"""A recipe's stages, in order: each one's model is the next one's start."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from rlkit.cluster.placement import Placement
from rlkit.cluster.ray_start import start_ray, stop_ray
from rlkit.cluster.stop import StopSignal
from rlkit.data.stream import tasks_fingerprint
from rlkit.errors import LearnerLost, RlkitError, Stopped
from rlkit.keep.resume import describe_stop
from rlkit.keep.runstate import RunState, unwritable
from rlkit.learner.learner_group import LearnerGroup
from rlkit.learner.spec import LearnerSpec
from rlkit.recipe.schema import OnlineKeys, Recipe, SftKeys, StageKeys
from rlkit.rollout.engine import EngineSpec
from rlkit.rollout.rollout_pool import RolloutPool
from rlkit.run.inputs import Inputs, read_inputs
from rlkit.run.run_data import RunData
from rlkit.scoring.processes.scoring_pool import ScoringPool
from rlkit.stages.offline.finetune import OfflineStage, forget_checkpoints
from rlkit.stages.online.parity import CANARY_PROMPTS
from rlkit.stages.online.train import OnlineStage, evaluate_heldout, train
from rlkit.watch.evaluated import Evaluated
from rlkit.watch.metrics import PhaseTimer
from rlkit.watch.report import Report
from rlkit.watch.runlog import RunLog


class Pipeline:
    """One start of a run."""

    def __init__(
        self,
        recipe: Recipe,
        data: RunData,
        base_dir: Path,
        state: RunState,
        report: Report,
        stop: StopSignal,
        *,
        threads: int,
    ) -> None:
        self.recipe = recipe
        self.data = data
        self.base_dir = base_dir
        self.threads = threads
        self.state = state
        self.report = report
        self.run_dir = state.run_dir
        self.log = RunLog(state.run_dir)
        self.timer = PhaseTimer()
        self.stop = stop
        self.at = "setup"
        self.done_steps = 0
        self.kept_model = False

    def execute(self, address: str | None) -> int:
        """Every stage that is not done yet, then the summary."""
        began = time.monotonic()
        status = "failed"
        try:
            with self.timer("setup"):
                with self.report.waiting("reading the tokenizer"):
                    inputs = read_inputs(self.recipe, self.data, self.run_dir, self.report.line)
                inputs.tell(self.run_dir, self.report.line, self.log.line)
                self.state.check_heldout(tasks_fingerprint(inputs.heldout))
                with self.report.waiting(f"connecting to the Ray cluster {address}" if address else "starting Ray"):
                    start_ray(self.recipe.cluster, address, restore_handlers=self.stop.take)
            self._stages(inputs)
            status = "done"
        except KeyboardInterrupt:
            status = "stopped"
            self.log.event("stopped", f"{self.at} after step {self.done_steps}")
            raise Stopped(describe_stop(self.state, self.at, self.done_steps)) from None
        except RlkitError as e:
            self.log.event("failed", str(e))
            raise
        except OSError as e:
            raise unwritable(self.run_dir, e) from e
        finally:
            try:
                self.state.seconds += time.monotonic() - began
                self._end(status)
            finally:
                with self.stop.ignored(), self.report.during("ending Ray and its processes"):
                    stop_ray()
        if self.state.before is not None and self.state.after is not None:
            self.report.table(self.state.before, self.state.after, self.state.before_name)
        self.report.done(self.run_dir, self.state.seconds, self.log.num_events())
        return 0

    def _end(self, status: str) -> None:
        """Writes how the run ended; where not even that can be written, what is told of is what came first."""
        try:
            self.state.save()
            seconds, events = self.timer.seconds, self.log.num_events()
            model = status == "done" or self.kept_model
            summary = self.state.summary(status, self.done_steps, seconds, events, model=model)
            self.log.write_json("summary.json", summary)
        except OSError as e:
            if status == "done":
                raise unwritable(self.run_dir, e) from e

    def _stages(self, inputs: Inputs) -> None:
        model = str(self.run_dir / self.state.models[-1]) if self.state.models else inputs.model_path
        last = len(self.recipe.stages) - 1
        if not self.recipe.rl_stages and not self.state.models and self.state.before is None:
            self._note_before(self._evaluate_model(inputs, model, "before the first step"), "before")
        for i, stage in enumerate(self.recipe.stages):
            name = self.recipe.stage_name(i)
            self.at, self.done_steps = name, self.log.last_step(name)
            if i >= len(self.state.models):
                out = self.run_dir / "model" if i == last else self.run_dir / name / "model"
                self._stage(name, i, stage, inputs, model, out)
                model = str(out)
            if isinstance(stage, SftKeys) and i != last:
                forget_checkpoints(self.run_dir / name)
        if last not in self.recipe.rl_stages and self.state.after is None:
            self.state.after = self._evaluate_model(inputs, model, "after the last step")

    def _stage(self, name: str, index: int, stage: StageKeys, inputs: Inputs, model: str, out: Path) -> None:
        with self.timer(name):
            self.state.after = None  # of an earlier stage's model
            if isinstance(stage, SftKeys):
                self._sft(name, index, stage, inputs, model, out)
            else:
                self._online(name, index, stage, inputs, model, out)
        self.log.sync()
        self.state.models.append(str(out.relative_to(self.run_dir)))
        self.state.save()

    def _sft(self, name: str, index: int, stage: SftKeys, inputs: Inputs, model: str, out: Path) -> None:
        rendered = inputs.demonstrations_in_order(self.recipe, index)
        run = OfflineStage(
            name=name,
            keys=stage,
            recipe=self.recipe,
            run_dir=self.run_dir,
            run_id=self.state.run_id,
            model_path=model,
            demonstrations=[(r.token_ids, r.completion_mask) for r in rendered],
            data=tasks_fingerprint(inputs.demonstrations[index].as_tasks()),
            threads=self.threads,
            log=self.log,
            report=self.report,
            on_stop=self.stop.tell,
            data_may_differ=self.state.data_may_differ,
        )
        try:
            run.run(out)
        finally:
            self.done_steps = run.done_step

    def _online(self, name: str, index: int, stage: OnlineKeys, inputs: Inputs, model: str, out: Path) -> None:
        with ExitStack() as actors:
            run = self._online_stage(name, index, stage, inputs, model, actors)
            try:
                with self.report.during(name):
                    self._learn(index, stage, run, out)
            except KeyboardInterrupt:
                self._keep(run)
                raise
            finally:
                self.done_steps = run.done_step
        if self.state.after is not None:
            self.report.evaluated("after", self.state.after)

    def _learn(self, index: int, stage: OnlineKeys, run: OnlineStage, out: Path) -> None:
        """From the stage's newest checkpoint, or its start, to its end, whenever the learner is lost on the way."""
        while True:
            try:
                run.learner.check_sees(self.run_dir / "progress.json")
                first_step = run.take_up()
                run.first_sync(first_step - 1)
                if first_step == 1 and self.state.before is None:
                    when = f"before stage {index} ({stage.kind})"
                    self._note_before(run.evaluate(when), when)
                    run.sync(0)  # the first step finds the engines as it does without an evaluation before it
                train(run, first_step)
                run.save()
                with self.timer("evaluation"):
                    self.state.after = run.evaluate("after the last step")
                self.report.at("saving the model")
                run.learner.save_model(out)
                return
            except LearnerLost as e:
                run.unfinished = True  # there is nothing to save until it has taken up a checkpoint
                if self.stop.asked:
                    raise KeyboardInterrupt from e
                self.report.line(f"{e}; starting the learner again from the newest checkpoint")
                run.learner.restart(str(e))

    def _online_stage(
        self, name: str, index: int, stage: OnlineKeys, inputs: Inputs, model: str, actors: ExitStack
    ) -> OnlineStage:
        """Starts the stage's actors; they end with `actors`."""
        place = self._place(actors, with_learner=True)
        rollout, scoring = self._pools(model, place, actors)
        run = OnlineStage(
            name=name,
            keys=stage,
            recipe=self.recipe,
            run_dir=self.run_dir,
            run_id=self.state.run_id,
            stream=inputs.stream(self.recipe, index),
            renderer=inputs.renderer,
            heldout=inputs.heldout,
            canary=(*inputs.heldout, *inputs.train)[:CANARY_PROMPTS],
            rollout=rollout,
            scoring=scoring,
            learner=self._learner(stage, model, place),
            log=self.log,
            report=self.report,
            stop=self.stop,
            data_may_differ=self.state.data_may_differ,
        )
        actors.callback(run.learner.close)
        return run

    def _learner(self, stage: OnlineKeys, model: str, place: Placement) -> LearnerGroup:
        spec = LearnerSpec(
            model_path=model,
            stage=stage,
            keys=self.recipe.learner,
            temperature=self.recipe.rollout.temperature,
            max_tokens=self.recipe.rollout.max_tokens,
            threads=self.threads,
            deterministic=self.recipe.run.deterministic,
            seed=self.recipe.run.seed,
        )
        keys, ranks = self.recipe.cluster, self.recipe.learner.num_workers
        with self.report.waiting("starting the learner" + (f" on {ranks} ranks" if ranks > 1 else "")):
            return LearnerGroup(
                spec,
                start_timeout_s=keys.start_timeout_s,
                max_restarts=keys.max_learner_restarts,
                on_event=self.log.event,
                options=place.rank,
            )

    def _place(self, actors: ExitStack, *, with_learner: bool) -> Placement:
        with self.report.during("waiting for room in the Ray cluster"):
            return actors.enter_context(Placement(self.recipe, with_learner=with_learner))

    def _pools(self, model: str, place: Placement, actors: ExitStack) -> tuple[RolloutPool, ScoringPool]:
        cluster = self.recipe.cluster
        with self.report.waiting("starting the scorers"):
            scoring = ScoringPool(
                self.recipe.reward, self.base_dir, start_timeout_s=cluster.start_timeout_s, on_event=self.log.event
            )
        actors.callback(scoring.close)
        recipe, sleeps = self.recipe, cluster.placement == "together"
        spec = EngineSpec(model, recipe.rollout, recipe.learner.dtype, recipe.run.seed, sleeps=sleeps)
        engines = "1 vLLM engine" if spec.keys.num_engines == 1 else f"{spec.keys.num_engines} vLLM engines"
        with self.report.waiting(f"starting {engines} on {self._shown(model)}"):
            rollout = RolloutPool(
                spec,
                start_timeout_s=cluster.start_timeout_s,
                max_restarts=cluster.max_restarts,
                on_event=self.log.event,
                options=place.engine,
            )
        actors.callback(rollout.close)
        return rollout, scoring

    def _note_before(self, result: Evaluated | None, name: str) -> None:
        if result is not None:
            self.state.before, self.state.before_name = result, name
            self.state.save()
            self.report.evaluated(name, result)

    def _shown(self, model: str) -> str:
        """A model as a line names it: one that the run made by its place in the run's folder."""
        return model.removeprefix(f"{self.run_dir}/")

    def _evaluate_model(self, inputs: Inputs, model: str, when: str) -> Evaluated | None:
        """A model on the held-out tasks, with engines of its own; None without tasks."""
        if not inputs.heldout:
            return None
        with self.timer("evaluation"), ExitStack() as actors:
            rollout, scoring = self._pools(model, self._place(actors, with_learner=False), actors)
            return evaluate_heldout(self.recipe, inputs.heldout, inputs.renderer, rollout, scoring, self.report, when)

    def _keep(self, run: OnlineStage) -> None:
        """After Ctrl-C, while the actors are up: a checkpoint of the last whole step, and its model."""
        if run.done_step > 0 and not run.unfinished:
            try:
                self.report.line(f"stopping once step {run.done_step} is saved; Ctrl-C again leaves at once")
                with self.report.during(f"saving step {run.done_step}"):
                    run.save()
                    run.learner.save_model(self.run_dir / "model")
                self.kept_model = True
            except RlkitError as e:  # the checkpoint may be there: what cannot be kept must not cost the exit code
                self.report.line(f"{e}; the newest checkpoint is what the run continues from")
