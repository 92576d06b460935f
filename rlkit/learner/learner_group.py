"""The driver's handle on the learner's Ray actors, one for each rank."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlkit.algorithm.step_arrays import Sequences, StepSamples
from rlkit.cluster.calls import get, get_outcome, wait
from rlkit.cluster.restarts import Restarts
from rlkit.cluster.supervisor import ActorKind, Supervisor
from rlkit.cluster.thread_env import thread_env
from rlkit.errors import ActorDied, ActorLost, ClusterError, LearnerLost, RlkitError, ValueLost
from rlkit.learner.learner_worker import LearnerWorker
from rlkit.learner.spec import LearnerSpec, UpdateReport
from rlkit.records import Sample, ScoredGroup

GRACE_S = 5.0
"""Seconds that the other ranks have to report their errors after one rank failed."""
LEAVES_RANKS_IN_STEP = ("save_model", "begin_save", "saved")
"""Calls after which the ranks stay synchronised even if one raised, as long as all of them answered: a failed write
comes after the last collective operation, or all ranks learn about it."""


class LearnerGroup:
    """Calls all ranks of the learner, with the recipe's deadline; used by the driver.

    If a call fails on one rank, all ranks are ended, because the others would wait for it in their next collective
    operation. The exception is a failed save (a full disk) if every rank answers.
    """

    def __init__(
        self,
        spec: LearnerSpec,
        *,
        start_timeout_s: float,
        max_restarts: int = 0,
        on_event: Callable[[str, str], None] = lambda kind, text: None,
        options: Callable[[int], Mapping[str, Any]] = lambda rank: {"num_cpus": 0},
    ) -> None:
        """`options`: Ray's options for each rank, except its GPUs."""
        self._spec = spec
        self._timeout_s = spec.keys.deadline_s
        self._start_timeout_s = start_timeout_s
        env = thread_env(spec.threads, spec.keys.gpus)
        if spec.deterministic:
            env["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        self._ranks = Supervisor(
            ActorKind(LearnerWorker, env=env, gpus=spec.keys.gpus, options=options),
            spec.keys.num_workers,
            restarts=Restarts(max_restarts, "cluster.max_learner_restarts"),
            on_replace=lambda text: on_event("learner_restarted", text),
        )
        try:
            self._start()
        except ActorDied as e:
            # Retry only once: if memory is short, another start fails too.
            self._ranks.check_restarts([str(e)])
            self._ranks.replace_all(str(e), "starting it once more")
            self._start()

    def _start(self) -> None:
        """Loads the model on every rank; if one does not start, ends all."""
        what, limit_s = f"starting the learner ({self._spec.model_path})", self._start_timeout_s
        try:
            meeting = None
            if self._spec.keys.sharded:
                meeting = get(self._ranks.actors[0].open_meeting.remote(self._spec), timeout_s=limit_s, what=what)
            ranks = sorted(self._ranks.actors.items())
            refs = [actor.start.remote(self._spec, rank, meeting) for rank, actor in ranks]
            _result(refs, timeout_s=limit_s, what=what)
        except _Failed as e:
            self.close()
            raise e.error from e
        except RlkitError:
            self.close()
            raise

    def restart(self, why: str) -> None:
        """Replaces all ranks by new ones with the start model; repeats if they do not start.

        Raises:
            ClusterError: cluster.max_learner_restarts is used up.
        """
        while True:
            self._ranks.replace_all(why, "resuming from the newest checkpoint")
            try:
                self._start()
            except ClusterError as e:
                why = str(e)
            else:
                return

    def train_step(self, groups: Sequence[ScoredGroup], step: int) -> UpdateReport:
        """Runs one step's updates."""
        report: UpdateReport = self._call("train_step", f"the update of step {step}", StepSamples.of(groups))
        return report

    def publish(self) -> Any:
        """A Ray reference to the current weights. The weights themselves do not pass through the driver."""
        what = "gathering the weights"
        self._check_up(what)
        # Call every rank: they gather the weights together.
        ranks = sorted(self._ranks.actors)
        pairs = [self._ranks.actors[rank].weights.options(num_returns=2).remote() for rank in ranks]
        self._await([done for _, done in pairs], what)
        return pairs[0][0]

    def logprobs_of(self, samples: Sequence[Sample]) -> list[list[float]]:
        """Log-probs of the samples' tokens under the learner's weights, for the parity gate."""
        what = "the learner's log-probs for the parity gate"
        rows: list[list[float]] = self._call("logprobs_of", what, Sequences.of(samples))
        return rows

    def check_shared_folder(self, file: Path) -> None:
        """Checks that every rank can read a file of this node.

        Raises:
            ClusterError: one cannot.
        """
        self._call("check_shared_folder", f"looking for {file}", file, file.read_bytes())

    def save_model(self, out: Path) -> None:
        """Writes the model in Hugging Face format."""
        self._call("save_model", f"saving the model to {out}", out)

    def begin_save(self, folder: Path, seal: Callable[[], None]) -> None:
        """Begins to write the learner's state in the background; `seal` is called when it is written."""
        self._call("begin_save", f"beginning to save to {folder}", folder, seal)

    def saved(self, *, wait: bool) -> bool:
        """Whether the save that was begun last is done; with `wait`, waits for it.

        Raises:
            ClusterError: the state could not be written.
        """
        whole: bool = self._call("saved", "writing the checkpoint", wait)
        return whole

    def load_state(self, folder: Path) -> None:
        """Loads a saved state."""
        self._call("load_state", f"loading the learner's state from {folder}", folder)

    def close(self) -> None:
        """Ends the actors."""
        self._ranks.close()

    def _call(self, method: str, what: str, *args: Any) -> Any:
        """Calls a method on every rank; returns the result of rank 0 when all are done."""
        self._check_up(what)
        refs = self._ranks.submit(method, *args)
        return self._await(list(refs.values()), what, in_step=method in LEAVES_RANKS_IN_STEP)

    def _check_up(self, what: str) -> None:
        if not self._ranks.actors:
            raise LearnerLost(f"{what} is not possible: a rank of the learner was lost")

    def _await(self, refs: Sequence[Any], what: str, *, in_step: bool = False) -> Any:
        """`in_step`: the ranks stay synchronised after a failure, if all of them answered."""
        try:
            return _result(refs, timeout_s=self._timeout_s, what=what)
        except _Failed as e:
            if not (in_step and e.all_answered):
                self.close()
            if _is_loss(e.error):
                raise LearnerLost(str(e.error)) from e
            raise e.error from e


class _Failed(Exception):
    """A call failed on at least one rank."""

    def __init__(self, error: RlkitError, *, all_answered: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.all_answered = all_answered


def _result(refs: Sequence[Any], *, timeout_s: float, what: str) -> Any:
    """Waits for every rank; returns the result of rank 0.

    Raises:
        _Failed: with the most informative error of all ranks; ActorLost for a rank that died or does not answer.
    """
    deadline = time.monotonic() + timeout_s
    waiting, outcomes = list(refs), dict[int, Any]()
    failures: list[RlkitError] = []
    while waiting:
        left = min(deadline - time.monotonic(), GRACE_S) if failures else deadline - time.monotonic()
        done = wait(waiting, num_returns=1, timeout_s=max(0.0, left), what=what)
        if not done:
            break
        waiting = [ref for ref in waiting if ref not in done]
        for ref in done:
            rank = refs.index(ref)
            outcomes[rank] = get_outcome(ref, timeout_s=GRACE_S, what=_on_ranks(what, [rank], refs))
        failures = [outcome for outcome in outcomes.values() if isinstance(outcome, RlkitError)]
    if waiting:
        silent = _on_ranks(what, [refs.index(ref) for ref in waiting], refs)
        how = (
            f"does not end after another rank failed: {failures[0]}"
            if failures
            else (f"took more than {timeout_s:g} s (a deadline set in the recipe)")
        )
        failures.append(ActorLost(f"{silent} {how}"))
    if failures:
        raise _Failed(min(failures, key=_vagueness), all_answered=not (waiting or any(map(_is_loss, failures))))
    return outcomes[0]


def _on_ranks(what: str, ranks: Sequence[int], all_ranks: Sequence[Any]) -> str:
    return f"{what} on rank {', '.join(map(str, ranks))}" if len(all_ranks) > 1 else what


def _is_loss(error: RlkitError) -> bool:
    return isinstance(error, ActorLost | ValueLost)


def _vagueness(error: RlkitError) -> int:
    """Sort key, most informative first: rlkit's own errors, then lost ranks, then failed collective operations."""
    if not isinstance(error, ClusterError):
        return 0
    return 1 if _is_loss(error) else 2
