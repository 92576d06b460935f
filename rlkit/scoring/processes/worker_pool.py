"""A pool of workers that run the same parts. Each call has a deadline; a worker that misses it is killed and replaced.

If a worker hangs, dies or runs out of memory, its running call returns a `FailedCall`, and the calls queued behind it
are sent again. If the worker was running several calls in one batch, each of them is sent again alone, to find the one
that fails.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from rlkit.cluster.restarts import Backoff
from rlkit.errors import ActorDied, ClusterError, PluginError, ScoringError
from rlkit.recipe.schema.reward_section import RuntimeKeys
from rlkit.scoring.combine import PartScores
from rlkit.scoring.processes.scoring_call import FailedCall, ScoringCall
from rlkit.scoring.processes.scoring_worker import StartReply
from rlkit.scoring.processes.worker_processes import WorkerLost, WorkerProcesses, WorkerSpec

CallResult = tuple[ScoringCall, PartScores | FailedCall]


@dataclass(eq=False)
class _Batch:
    """Calls that were sent to a worker in one message."""

    calls: list[ScoringCall]
    pending: Any
    """Identifier that `WorkerProcesses.submit` returned."""

    def limit_s(self, timeout_s: float) -> float:
        return timeout_s * sum(call.share for call in self.calls)


@dataclass
class _Worker:
    handle: Any
    """Handle of its process; None: the process was killed, and the next call starts a new one."""
    batches: deque[_Batch] = field(default_factory=deque)
    """The first is running, the others are queued in the process."""
    began_at: float = 0.0
    """When the first batch started, on the monotonic clock."""

    def seconds_left(self, timeout_s: float) -> float:
        """Time until the deadline of the running batch."""
        return self.began_at + self.batches[0].limit_s(timeout_s) - time.monotonic()


class WorkerPool:
    """The workers of one `WorkerSpec`.

    Args:
        processes: starts, calls and kills their processes.
        spec: their number and their parts.
        runtime: the recipe's `reward.runtime`.
        on_event: called with ("scorer_replaced", reason) for each process that is replaced.

    Raises:
        PluginError: a plugin cannot be built.
        ClusterError: a process does not start in time.
    """

    def __init__(
        self,
        processes: WorkerProcesses,
        spec: WorkerSpec,
        runtime: RuntimeKeys,
        on_event: Callable[[str, str], None],
    ) -> None:
        self._processes = processes
        self._runtime = runtime
        self._on_event = on_event
        self._backoff = Backoff(first_s=0.25, longest_s=5.0)
        self._waiting: deque[ScoringCall] = deque()
        started = self._first_start(spec.num_workers)
        reply = started[0][1]
        self.needs = reply.needs
        self._calls_per_batch = spec.groups_per_call if reply.takes_several else 1
        self._workers = [_Worker(handle) for handle, _ in started]
        # If batches hold several calls, the next batch can fill up here while the workers are busy.
        batches_per_worker = processes.calls_per_worker + (self._calls_per_batch > 1)
        self.capacity = batches_per_worker * spec.num_workers * self._calls_per_batch
        """Number of calls that the pool can hold."""

    def _first_start(self, count: int) -> list[tuple[Any, StartReply]]:
        """Starts the processes. If one dies during the start, starts all once more; it may have lacked memory."""
        try:
            return self._processes.start(count)
        except ActorDied as e:
            self._on_event("scorer_replaced", f"{e}; starting all once more")
            return self._processes.start(count)

    @property
    def handles(self) -> list[Any]:
        """Handles of the running processes."""
        return [worker.handle for worker in self._workers if worker.handle is not None]

    def add(self, call: ScoringCall) -> None:
        """Queues a call; it is sent as soon as a worker has room."""
        self._waiting.append(call)
        self._send_waiting()

    def pending(self) -> list[Any]:
        """Identifiers of the batches in flight, for `WorkerProcesses.wait`."""
        return [batch.pending for worker in self._workers for batch in worker.batches]

    def seconds_left(self) -> Iterable[float]:
        """Time until the deadline of each running batch."""
        return (worker.seconds_left(self._runtime.timeout_s) for worker in self._workers if worker.batches)

    def collect(self, ready: set[Any]) -> list[CallResult]:
        """The calls that are finished, with their results.

        Args:
            ready: what `WorkerProcesses.wait` returned.

        Raises:
            ScoringError: more than `reward.runtime.max_restarts` processes were lost in a row, with nothing scored.
        """
        results = [result for worker in self._workers for result in self._collect_from(worker, ready)]
        self._send_waiting()
        return results

    def drop_calls(self) -> None:
        """Drops every call. Kills the processes that are running one; they are replaced when needed."""
        self._waiting.clear()
        for worker in self._workers:
            if worker.batches:
                worker.batches.clear()
                self._end(worker)

    def close(self) -> None:
        """Kills the processes."""
        for worker in self._workers:
            self._end(worker)
        self._workers = []

    def _end(self, worker: _Worker) -> None:
        if worker.handle is not None:
            self._processes.kill(worker.handle)
            worker.handle = None

    def _send_waiting(self) -> None:
        """Sends waiting calls, each to the worker with the fewest batches, until none has room for the next one."""
        while self._waiting:
            worker = min(self._workers, key=self._num_batches)
            # A dying process may lose the reply of a call that it has finished, and that call would be blamed. So a
            # call that is alone shares its process with no other call.
            room = 1 if self._waiting[0].alone else self._processes.calls_per_worker
            if self._num_batches(worker) >= room:
                return
            if worker.handle is None:
                self._replace(worker)  # it had no batches, so this adds nothing to the waiting calls
            calls = self._next_batch()
            if not worker.batches:
                worker.began_at = time.monotonic()
            groups = tuple(call.group for call in calls)
            pending = self._processes.submit(worker.handle, groups, calls[0].parts)
            worker.batches.append(_Batch(calls, pending))

    def _num_batches(self, worker: _Worker) -> int:
        """Number of batches that a worker holds; the maximum if it runs a call that is alone."""
        if worker.batches and worker.batches[0].calls[0].alone:
            return self._processes.calls_per_worker
        return len(worker.batches)

    def _next_batch(self) -> list[ScoringCall]:
        """Takes the next waiting call, and those after it that fit into the same batch."""
        calls = [self._waiting.popleft()]
        while (
            not calls[0].alone and self._waiting and not self._waiting[0].alone and len(calls) < self._calls_per_batch
        ):
            calls.append(self._waiting.popleft())
        return calls

    def _collect_from(self, worker: _Worker, ready: set[Any]) -> list[CallResult]:
        """The results of one worker, in the order of its batches. Replaces it if it failed or missed a deadline."""
        results: list[CallResult] = []
        while worker.batches and worker.batches[0].pending in ready:
            batch = worker.batches.popleft()
            # The process starts the next batch at once, so that batch's time limit counts from now.
            seconds = time.monotonic() - worker.began_at
            worker.began_at += seconds
            subject = batch.calls[0].subject()
            try:
                found = self._processes.result(batch.pending)
            except WorkerLost as e:
                failed = FailedCall("crash", f"{subject} ended its process: {e}", seconds=seconds)
                return results + self._replace_failed(worker, batch, failed)
            if any(map(_ran_out_of_memory, found)):
                # The part may still hold the memory, so the process is replaced even though it is alive.
                reason = f"{subject} took more than reward.runtime.memory_mb allows"
                failed = FailedCall("memory", reason, seconds=seconds)
                return results + self._replace_failed(worker, batch, failed)
            self._backoff.reset()
            results += zip(batch.calls, found, strict=True)
        if worker.batches and self._is_late(worker):
            batch = worker.batches.popleft()
            reason = f"{batch.calls[0].subject()} took longer than {batch.limit_s(self._runtime.timeout_s):g} s"
            seconds = time.monotonic() - worker.began_at
            results += self._replace_failed(worker, batch, FailedCall("timeout", reason, seconds=seconds))
        return results

    def _is_late(self, worker: _Worker) -> bool:
        """Whether the running batch is late. One that finished while another worker was being replaced is not."""
        late = worker.seconds_left(self._runtime.timeout_s) < 0
        return late and not self._processes.wait([worker.batches[0].pending], 0)

    def _replace_failed(self, worker: _Worker, batch: _Batch, failed: FailedCall) -> list[CallResult]:
        """Replaces a worker that failed on `batch`. Returns the failed call; sends several calls again one by one."""
        self._count_loss(failed.reason)
        self._replace(worker)
        if len(batch.calls) == 1:
            return [(batch.calls[0], failed)]
        self._waiting.extendleft(replace(call, alone=True) for call in reversed(batch.calls))
        return []

    def _count_loss(self, why: str) -> None:
        self._backoff.count_loss()
        losses = self._backoff.losses_in_a_row
        self._on_event("scorer_replaced", why)
        if losses > self._runtime.max_restarts:
            raise ScoringError(
                f"{why}; {losses} scoring processes in a row were lost with nothing scored, more "
                f"than reward.runtime.max_restarts={self._runtime.max_restarts} allows"
            )

    def _replace(self, worker: _Worker) -> None:
        """Starts a new process for a worker. The calls that were queued in the old one are sent again first."""
        queued = [call for batch in worker.batches for call in batch.calls]
        worker.batches.clear()
        self._waiting.extendleft(reversed(queued))
        self._end(worker)
        while True:
            self._backoff.pause()
            try:
                ((worker.handle, _),) = self._processes.start(1)
                return
            # The plugins could be built before, so the cause (lack of memory, a lost node) may be temporary: retry.
            except (ClusterError, PluginError) as e:
                self._count_loss(f"a new scoring process did not start: {e}")


def _ran_out_of_memory(found: PartScores) -> bool:
    scores = [score for its_scores in found.scores.values() for score in its_scores]
    return any(score.value is None and score.verdict == "memory" for score in scores)
