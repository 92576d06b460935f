"""Logs the steps of an RL stage and prints them on the console."""

from __future__ import annotations

from collections.abc import Sequence

from rlkit.learner.spec import UpdateReport
from rlkit.recipe.schema import OnlineKeys, TrackingKeys
from rlkit.records import ScoredGroup
from rlkit.watch.metrics import PhaseTimer, reward_metrics, sandbox_tiers
from rlkit.watch.no_signal import describe_no_signal
from rlkit.watch.report import Report
from rlkit.watch.runlog import RunLog


class StepLog:
    """Writes the metrics, samples, events and console line of each step.

    Args:
        name: Name of the stage.
        keys: The stage's section of the recipe.
        tracking: The recipe's `tracking` section.
        log: The run's log.
        report: The console.
    """

    def __init__(self, name: str, keys: OnlineKeys, tracking: TrackingKeys, log: RunLog, report: Report) -> None:
        self._name = name
        self._keys = keys
        self._tracking = tracking
        self._log = log
        self._report = report
        self._tiers: list[str] = []
        self._warned_of_no_signal = False

    def show_activity(self, step: int, what: str) -> None:
        """Shows what the step is doing now."""
        self._report.update_activity(f"{self._name} step {step} of {self._keys.steps}, {what}")

    def write(
        self, step: int, scored: Sequence[ScoredGroup], update: UpdateReport, parity: float, timer: PhaseTimer
    ) -> None:
        """Writes a finished step.

        Args:
            step: Number of the step, and of the policy version that it produced.
            scored: The step's samples.
            update: The learner's report.
            parity: Largest gap of the parity gate, in nats.
            timer: Times of the step's phases.
        """
        self._log_events(step, scored, update)
        metrics = reward_metrics(scored) | update.metrics | timer.metrics()
        metrics["parity/max_abs_logprob"] = parity
        self._log.step({"stage": self._name, "step": step, "policy_version": step, **metrics})
        every = self._tracking.rollouts_every
        if every and step % every == 0:
            self._log.rollouts(self._name, step, scored, update.advantages)
        for group in scored[: self._tracking.print_samples]:
            parts = ", ".join(f"{name} {scores[0].value}" for name, scores in group.parts.items())
            self._log.line(f"step {step} reward {group.rewards[0]} ({parts}): {group.samples[0].response!r}")
        self._report.step(self._name, step, self._keys.steps, metrics, list(scored[0].parts))
        self._warn_of_no_signal(step, scored)

    def _log_events(self, step: int, scored: Sequence[ScoredGroup], update: UpdateReport) -> None:
        tiers = sandbox_tiers(scored)
        if tiers and tiers != self._tiers:
            self._log.event("sandbox", f"{self._name}: programs are isolated by {', '.join(tiers)}")
            self._tiers = tiers
        for network in ("learner", "critic"):
            if skipped := update.metrics.get(f"{network}/updates_skipped"):
                what = f"{self._name} step {step}: {skipped:g} of the {network}'s gradients were not finite"
                self._log.event("update_skipped", f"{what} and were skipped: check its rewards and {network}/loss")

    def _warn_of_no_signal(self, step: int, scored: Sequence[ScoredGroup]) -> None:
        """Warns once, at the first step whose rewards give no training signal, with the reason."""
        if self._warned_of_no_signal:
            return
        if found := describe_no_signal(scored, whole_step=getattr(self._keys, "baseline", "") == "batch"):
            self._warned_of_no_signal = True
            self._log.event("no_signal", f"{self._name} step {step} {found}")
            self._report.line(f"{self._name} step {step} {found}")
