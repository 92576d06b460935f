"""The learner's Ray actors, one a rank, and the driver's handle on them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray

from rlkit.cluster import get, wait
from rlkit.errors import ActorLost, ClusterError, LearnerLost, RlkitError
from rlkit.learner.learner import Learner
from rlkit.learner.ranks import Ranks
from rlkit.learner.spec import LearnerSpec, UpdateReport
from rlkit.records import Sample, ScoredGroup

GRACE_S = 5.0
"""How long the other ranks have, once one failed, to say what they know of it."""


class LearnerWorker:
    """The actor's side: one rank."""

    learner: Learner

    def open_meeting(self, spec: LearnerSpec) -> tuple[str, int]:
        """On rank 0: where the ranks find each other, as (host, port)."""
        from rlkit.learner.shard import open_meeting

        host = ray.util.get_node_ip_address()
        self._meeting = open_meeting(host, spec.keys.num_workers, timeout_s=spec.keys.timeout_s)
        return host, self._meeting.port

    def start(self, spec: LearnerSpec, rank: int, meeting: tuple[str, int] | None) -> None:
        """Loads the model. Not in __init__: Ray hides the cause of what fails there."""
        from rlkit.learner.shard import connect, join_meeting

        ranks = Ranks(rank, spec.keys.num_workers)
        if meeting is not None:
            limit = spec.keys.timeout_s
            store = self._meeting if rank == 0 else join_meeting(*meeting, ranks.size, timeout_s=limit)
            connect(ranks, store, device=spec.device, timeout_s=limit)
        self.learner = Learner(spec, ranks)

    def train_step(self, groups: Sequence[ScoredGroup]) -> UpdateReport:
        """See Learner.train_step."""
        return self.learner.train_step(groups)

    def weights(self) -> Any:
        """The weights; as this call's return value they go straight into the object store."""
        return self.learner.weights()

    def ready(self) -> None:
        """Answers once every earlier call is done."""

    def logprobs_of(self, samples: Sequence[Sample]) -> list[list[float]]:
        """See Learner.logprobs_of."""
        return self.learner.logprobs_of(samples)

    def save_model(self, out: Path) -> None:
        """See Learner.save_model."""
        self.learner.save_model(out)

    def save_state(self, folder: Path) -> None:
        """See Learner.save_state."""
        self.learner.save_state(folder)

    def load_state(self, folder: Path) -> None:
        """See Learner.load_state."""
        self.learner.load_state(folder)


class LearnerGroup:
    """The driver's side: every call goes to all ranks and has the recipe's deadline.

    A call that fails on one rank ends all of them: the others would wait for it in their next exchange.
    """

    def __init__(self, spec: LearnerSpec, *, start_timeout_s: float) -> None:
        self._timeout_s = spec.keys.timeout_s
        env = {
            "OMP_NUM_THREADS": str(spec.threads),
            "MKL_NUM_THREADS": str(spec.threads),
            "TOKENIZERS_PARALLELISM": "false",
        }
        if spec.deterministic:
            env["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        actor = ray.remote(LearnerWorker).options(num_cpus=0, num_gpus=spec.keys.gpus, runtime_env={"env_vars": env})
        self._workers = [actor.remote() for _ in range(spec.keys.num_workers)]
        what = f"starting the learner ({spec.model_path})"
        try:
            meeting = None
            if spec.keys.sharded:
                meeting = get(self._workers[0].open_meeting.remote(spec), timeout_s=start_timeout_s, what=what)
            shared = ray.put(spec)
            refs = [worker.start.remote(shared, rank, meeting) for rank, worker in enumerate(self._workers)]
            _results(refs, timeout_s=start_timeout_s, what=what)
        except RlkitError:
            self.close()
            raise

    def train_step(self, groups: Sequence[ScoredGroup], step: int) -> UpdateReport:
        """One step's updates."""
        report: UpdateReport = self._call("train_step", f"the update of step {step}", groups)
        return report

    def publish(self) -> Any:
        """A Ray reference to the weights; it never passes through the driver."""
        refs = [worker.weights.remote() for worker in self._workers]  # every rank: they gather them together
        # Calls of an actor run in order: with this one done the weights are there, and a rank that died is found here.
        self._call("ready", "gathering the weights")
        return refs[0]

    def logprobs_of(self, samples: Sequence[Sample]) -> list[list[float]]:
        """The canary's log-probs under the learner's weights."""
        rows: list[list[float]] = self._call("logprobs_of", "the learner's half of the parity gate", samples)
        return rows

    def save_model(self, out: Path) -> None:
        """Writes the model in Hugging Face format."""
        self._call("save_model", f"saving the model to {out}", out)

    def save_state(self, folder: Path) -> None:
        """Writes the learner's state."""
        self._call("save_state", f"saving the learner's state to {folder}", folder)

    def load_state(self, folder: Path) -> None:
        """Takes up a saved state."""
        self._call("load_state", f"loading the learner's state from {folder}", folder)

    def close(self) -> None:
        """Ends the actors."""
        for worker in self._workers:
            ray.kill(worker)

    def _call(self, method: str, what: str, *args: Any) -> Any:
        """The result of rank 0 once every rank is done."""
        if not self._workers:
            raise LearnerLost(f"{what} has no learner: a rank of it was lost")
        shared = [ray.put(arg) for arg in args]
        refs = [getattr(worker, method).remote(*shared) for worker in self._workers]
        try:
            return _results(refs, timeout_s=self._timeout_s, what=what)[0]
        except RlkitError as e:
            if len(self._workers) > 1:
                self.close()
                self._workers = []
            if isinstance(e, ActorLost):
                raise LearnerLost(str(e)) from e
            raise


def _results(refs: Sequence[Any], *, timeout_s: float, what: str) -> list[Any]:
    """Every rank's result, in order.

    Raises:
        RlkitError: the most telling of the ranks' failures: a rank that waits for a dead one fails too, of the silence.
    """
    if len(refs) == 1:
        return [get(refs[0], timeout_s=timeout_s, what=what)]
    deadline = time.monotonic() + timeout_s
    waiting, failures = list(refs), list[RlkitError]()
    while waiting:
        left = min(deadline - time.monotonic(), GRACE_S) if failures else deadline - time.monotonic()
        done = wait(waiting, num_returns=1, timeout_s=max(0.0, left), what=what)
        if not done:
            break
        waiting = [ref for ref in waiting if ref not in done]
        failures += filter(None, (_failure(ref, refs.index(ref), what) for ref in done))
    if failures:
        raise min(failures, key=_vagueness)
    if waiting:
        late = ", ".join(str(refs.index(ref)) for ref in waiting)
        raise ActorLost(f"{what} took more than {timeout_s:g} s on rank {late} (a deadline that the recipe sets)")
    return [get(ref, timeout_s=timeout_s, what=what) for ref in refs]


def _failure(ref: Any, rank: int, what: str) -> RlkitError | None:
    """Why a rank's finished call failed; None: it did not."""
    try:
        get(ref, timeout_s=GRACE_S, what=f"{what} on rank {rank}")
    except RlkitError as e:
        return e
    return None


def _vagueness(error: RlkitError) -> int:
    """Our own errors say most, a death says more than the failed exchange that it caused."""
    if not isinstance(error, ClusterError):
        return 0
    return 1 if isinstance(error, ActorLost) else 2
