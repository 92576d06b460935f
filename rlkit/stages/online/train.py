"""THE LOOP: sample and score -> update -> sync -> log -> save, one line a stage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rlkit.algorithm.batch import informative
from rlkit.cluster.stop import StopSignal
from rlkit.data.prompts import PromptRenderer
from rlkit.data.stream import TaskStream
from rlkit.errors import DataError
from rlkit.keep.checkpoint import Checkpoint, newest_checkpoint
from rlkit.learner.learner_group import LearnerGroup
from rlkit.learner.spec import UpdateReport
from rlkit.recipe.schema import OnlineKeys, Recipe
from rlkit.records import Group, ScoredGroup, Task
from rlkit.rollout.rollout_pool import RolloutPool
from rlkit.scoring.combine import check_unscored
from rlkit.scoring.processes.scoring_pool import ScoringPool
from rlkit.stages.online.evaluate import evaluate, make_requests
from rlkit.stages.online.parity import CANARY_TOKENS, check_parity, max_logprob_gap, worst
from rlkit.stages.online.saver import Saver
from rlkit.watch.evaluated import Evaluated
from rlkit.watch.metrics import PhaseTimer, reward_metrics, sandbox_tiers
from rlkit.watch.no_signal import describe_no_signal
from rlkit.watch.report import Report
from rlkit.watch.runlog import RunLog


def train(run: OnlineStage, first_step: int = 1) -> None:
    """Runs the steps of an RL stage from `first_step` on. The engines hold the weights of the step before it."""
    run.evaluate_if_due(first_step - 1)  # where a run was killed between a checkpoint and its evaluation
    for step in range(first_step, run.keys.steps + 1):
        timer = PhaseTimer()
        run.say_step(step, "sampling and scoring")
        scored = run.collect(step, timer)
        with run.stop.deferred():  # from here on a step is finished, so that what is kept is whole
            run.unfinished = True
            run.say_step(step, "updating the model")
            with timer("update"):
                run.rollout.sleep()  # until the sync, where engines share GPUs with the learner
                update = run.learner.train_step(scored, step)
            with timer("sync"):
                run.sync(step)
            with timer("canary"):
                parity = run.check_parity(step)
            run.log_step(step, scored, update, parity, timer)
            run.finish_step(step)
        run.evaluate_if_due(step)


@dataclass
class OnlineStage:
    """Everything the loop needs, and how each of its lines is done."""

    name: str
    """Folder of the stage: "stage-1-grpo"."""
    keys: OnlineKeys
    recipe: Recipe
    run_dir: Path
    run_id: str
    """Of the run, in its checkpoints."""
    stream: TaskStream
    renderer: PromptRenderer
    heldout: Sequence[Task]
    canary: Sequence[Task]
    """Tasks of the parity gate: the same ones and the same seeds after every sync."""
    rollout: RolloutPool
    scoring: ScoringPool
    learner: LearnerGroup
    log: RunLog
    report: Report
    stop: StopSignal
    data_may_differ: bool = False
    """Whether other data, or another order of it, than the checkpoint's was allowed."""
    unfinished: bool = False
    """The learner may hold an update of a step that is not whole: nothing is saved of it."""
    done_step: int = 0
    """The last step whose update, sync and metrics are done."""
    warned_of_no_signal: bool = False
    """Whether this start has said that a step taught nothing."""
    tiers: list[str] = field(default_factory=list)
    """How programs were isolated so far, as it was logged."""
    stream_state: dict[str, Any] | None = None
    """The data position after `done_step`."""
    start: dict[str, Any] = field(init=False)
    """The data position at the stage's start."""
    saver: Saver = field(init=False)
    """Of its checkpoints."""

    def __post_init__(self) -> None:
        self.start = self.stream.state_dict()
        folder, keys = self.run_dir / self.name / "checkpoints", self.recipe.checkpoint
        self.saver = Saver(folder, self.run_id, keys, self.learner, self.log, self.report, self.best_steps)

    def collect(self, step: int, timer: PhaseTimer) -> list[ScoredGroup]:
        """The step's scored groups, in order; with dynamic sampling as many rounds as it takes to fill the step.

        Groups are scored while others are still being drawn. Those that tell nothing are among them: they are samples
        of the policy, and only the learner leaves them out.
        """
        scored: dict[int, ScoredGroup] = {}
        whole = PhaseTimer()
        for _ in range(self.keys.sampling_rounds):
            missing = self.keys.prompts_per_step
            if self.keys.sampling_rounds > 1:
                missing -= sum(informative(group) for group in scored.values())
            if missing == 0:
                break
            with whole("both"):
                groups = self.scoring.score(self.sample(step, missing, len(scored), timer), step)
                scored |= self.report.counted(groups, missing, "groups")
        # What is left of scoring once the last group was drawn.
        timer.seconds["score"] = max(0.0, whole.seconds["both"] - timer.seconds.get("sample", 0.0))
        ordered = [scored[index] for index in sorted(scored)]
        check_unscored(ordered, self.recipe.reward.runtime.max_unscored)
        return ordered

    def sample(self, step: int, count: int, first: int, timer: PhaseTimer) -> Iterator[tuple[int, Group]]:
        """Groups of the next `count` tasks, numbered from `first`, each as it finishes."""
        tasks = self.stream.next(count)
        samples, seed = self.keys.samples_per_prompt, self.recipe.run.seed
        with timer("sample"):
            yield from self.rollout.draw(
                make_requests(self.renderer, tasks, samples, seed, self.name, step, first=first)
            )

    def say_step(self, step: int, what: str) -> None:
        """Shows what the step is at."""
        self.report.at(f"{self.name} step {step} of {self.keys.steps}, {what}")

    def first_sync(self, version: int) -> None:
        """The first sync after the engines have started, in which they warm up."""
        with self.report.waiting("first weight sync from the learner to the engines"):
            self.sync(version)
            self.check_parity(version)

    def sync(self, version: int) -> None:
        """Publishes the learner's weights to every engine."""
        self.rollout.load(self.learner.publish(), version)

    def check_parity(self, version: int) -> float:
        """Draws the canary from every engine and passes the parity gate; returns the widest gap."""
        requests = make_requests(self.renderer, self.canary, 1, self.recipe.run.seed, "canary", 0)
        requests = [replace(r, max_tokens=CANARY_TOKENS, truncated=False) for r in requests]
        gaps = []
        for groups in self.rollout.draw_on_each(requests):
            samples = [group.samples[0] for group in groups]
            gaps.append(max_logprob_gap(samples, self.learner.logprobs_of(samples)))
        gap, limit = worst(gaps), self.recipe.parity_limit
        check_parity(gap, limit=limit, version=version, precision=self.recipe.learner.computes_in)
        return gap

    def log_step(
        self, step: int, scored: Sequence[ScoredGroup], update: UpdateReport, parity: float, timer: PhaseTimer
    ) -> None:
        """Writes the step's metrics, its samples and its line."""
        tiers = sandbox_tiers(scored)
        if tiers and tiers != self.tiers:
            self.log.event("sandbox", f"{self.name}: programs are isolated by {', '.join(tiers)}")
            self.tiers = tiers
        for network in ("learner", "critic"):
            if skipped := update.metrics.get(f"{network}/updates_skipped"):
                what = f"{self.name} step {step}: {skipped:g} of the {network}'s gradients were not finite"
                self.log.event("update_skipped", f"{what} and were left out: look at its rewards and {network}/loss")
        metrics = reward_metrics(scored) | update.metrics | timer.metrics()
        metrics["parity/max_abs_logprob"] = parity
        self.log.step({"stage": self.name, "step": step, "policy_version": step, **metrics})
        every = self.recipe.tracking.rollouts_every
        if every and step % every == 0:
            self.log.rollouts(self.name, step, scored, update.advantages)
        for group in scored[: self.recipe.tracking.print_samples]:
            parts = ", ".join(f"{name} {scores[0].value}" for name, scores in group.parts.items())
            self.log.line(f"step {step} reward {group.rewards[0]} ({parts}): {group.samples[0].response!r}")
        self.report.step(self.name, step, self.keys.steps, metrics, list(scored[0].parts))
        self.warn_of_no_signal(step, scored)

    def warn_of_no_signal(self, step: int, scored: Sequence[ScoredGroup]) -> None:
        """At the first step whose rewards teach nothing, says so, and why."""
        if self.warned_of_no_signal:
            return
        if found := describe_no_signal(scored, whole_step=getattr(self.keys, "baseline", "") == "batch"):
            self.warned_of_no_signal = True
            self.log.event("no_signal", f"{self.name} step {step} {found}")
            self.report.line(f"{self.name} step {step} {found}")

    def finish_step(self, step: int) -> None:
        """Notes that the step is whole, and saves a checkpoint where one is due."""
        self.done_step, self.stream_state = step, self.stream.state_dict()
        self.unfinished = False
        self.saver.look()
        if self.saver.is_due(step):
            self.saver.begin(step, self.state())

    def state(self) -> dict[str, Any]:
        """What the driver has to remember of the last whole step."""
        return {"step": self.done_step, "stream": self.stream_state or self.stream.state_dict()}

    def save(self) -> None:
        """Saves a checkpoint of the last whole step, and waits for it."""
        self.saver.save(self.done_step, self.state())

    def best_steps(self) -> list[int]:
        """The steps of the best evaluations, checkpoint.keep_best of them; of equals the earlier."""
        rows = [row for row in self.log.evaluations(self.name) if row["step"] < self.keys.steps]
        graded = [row for row in rows if row["accuracy"] is not None]
        ranked = sorted(graded, key=lambda row: (-row["accuracy"], row["step"]))
        return [row["step"] for row in ranked[: self.recipe.checkpoint.keep_best]]

    def take_up(self) -> int:
        """Takes up the newest whole checkpoint, or the stage's start where there is none; returns the first step to do.

        Raises:
            CheckpointError: there are checkpoints, and none is whole.
        """
        checkpoint = newest_checkpoint(self.saver.folder, self.run_id, self.log, self.report)
        self.saver.start_from(-1 if checkpoint is None else checkpoint.step)
        self.unfinished = True  # until what is noted here is what the learner holds
        if checkpoint is not None:
            self._resume(checkpoint)
        else:
            self.stream.load_state_dict(self.start)
            self.done_step, self.stream_state = 0, None
            self.log.keep_steps(self.name, 0)
        self.unfinished = False
        return self.done_step + 1

    def _resume(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.state()
        self.learner.load_state(checkpoint.learner_state)
        self._go_on_drawing(state["stream"])
        self.done_step = checkpoint.step
        self.stream_state = self.stream.state_dict()
        self.log.keep_steps(self.name, checkpoint.step)
        self.log.event("resume", f"{self.name} continues after step {checkpoint.step}")
        self.report.line(f"{self.name} continues after step {checkpoint.step}")

    def _go_on_drawing(self, position: dict[str, Any]) -> None:
        try:
            self.stream.load_state_dict(position)
        except DataError as e:
            if not self.data_may_differ:
                raise DataError(f"{e}, or go on with it from its beginning with --allow data") from e
            self.log.event("changed", f"{self.name} draws from the beginning of its data: {e}")
            self.stream.load_state_dict(self.start)

    def evaluate_if_due(self, step: int) -> None:
        """An evaluation inside the stage, every evaluation.every steps; the last step's is the stage's own."""
        every = self.recipe.evaluation.every
        due = every and 0 < step < self.keys.steps and step % every == 0
        if not due or step in [row["step"] for row in self.log.evaluations(self.name)]:
            return
        result = self.evaluate(f"after step {step}")
        if result is None:
            return
        self.report.evaluated(f"after step {step}", result)
        self.log.evaluation({"stage": self.name, "step": step, **result.summary()})
        if step in self.best_steps():
            self.saver.begin(step, self.state())

    def evaluate(self, when: str) -> Evaluated | None:
        """The weights in the engines on the held-out tasks; None where there are none."""
        return evaluate_heldout(self.recipe, self.heldout, self.renderer, self.rollout, self.scoring, self.report, when)


def evaluate_heldout(
    recipe: Recipe,
    heldout: Sequence[Task],
    renderer: PromptRenderer,
    rollout: RolloutPool,
    scoring: ScoringPool,
    report: Report,
    when: str,
) -> Evaluated | None:
    """Sampled replies (and a greedy one) to every held-out task; the same seeds each time, so runs compare."""
    if not heldout:
        return None
    keys, seed = recipe.evaluation, recipe.run.seed
    wanted = make_requests(renderer, heldout, keys.samples_per_prompt, seed, "evaluation", 0)
    if keys.greedy:
        greedy = make_requests(renderer, heldout, 1, seed, "evaluation", 0)
        wanted += [replace(r, index=r.index + len(heldout), greedy=True) for r in greedy]
    with report.waiting(f"evaluating {when} on {len(heldout)} held-out tasks"):
        return evaluate(wanted, rollout, scoring, lambda scored: report.counted(scored, len(wanted), "groups"))
