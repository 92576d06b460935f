"""Workers with the same parts and the calls to them: each call has a deadline, and a worker that breaks it is replaced.

A call during which its worker hangs, dies or runs out of memory comes back as a `FailedCall`. What was queued behind it
is sent again. Where several calls went to the worker together, each is sent once more alone, so that the one that
failed is known.
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
    """The calls that went to a worker together, in one call of its process."""

    calls: list[ScoringCall]
    pending: Any
    """What `WorkerProcesses.submit` gave."""

    def limit_s(self, timeout_s: float) -> float:
        return timeout_s * sum(call.share for call in self.calls)


@dataclass
class _Worker:
    handle: Any
    """Of its process; None: it was ended, and the next call gets a new one."""
    batches: deque[_Batch] = field(default_factory=deque)
    """The first is at work, the others are queued in the process."""
    began_at: float = 0.0
    """When it began with the first, on the monotonic clock."""

    def seconds_left(self, timeout_s: float) -> float:
        """Until the deadline of the batch at work."""
        return self.began_at + self.batches[0].limit_s(timeout_s) - time.monotonic()


class WorkerPool:
    """The workers of one `WorkerSpec`.

    Args:
        processes: starts, calls and ends their processes.
        spec: how many, and for which parts.
        runtime: the recipe's limits.
        on_event: told of every process that had to be replaced: ("scorer_replaced", why).

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
        # Where a batch holds several calls, one more may wait here and fill up while the workers are busy.
        batches_per_worker = processes.calls_per_worker + (self._calls_per_batch > 1)
        self.capacity = batches_per_worker * spec.num_workers * self._calls_per_batch
        """Calls that it can have in hand."""

    def _first_start(self, count: int) -> list[tuple[Any, StartReply]]:
        """Where one dies on the way all have one more try: where there is too little memory, none starts."""
        try:
            return self._processes.start(count)
        except ActorDied as e:
            self._on_event("scorer_replaced", f"{e}; it is started once more")
            return self._processes.start(count)

    @property
    def handles(self) -> list[Any]:
        """The processes that are up, as `processes` knows them."""
        return [worker.handle for worker in self._workers if worker.handle is not None]

    def add(self, call: ScoringCall) -> None:
        """Takes a call, and sends it as soon as a worker has room."""
        self._waiting.append(call)
        self._send_waiting()

    def pending(self) -> list[Any]:
        """What `WorkerProcesses.wait` has to wait for."""
        return [batch.pending for worker in self._workers for batch in worker.batches]

    def seconds_left(self) -> Iterable[float]:
        """Until each deadline of now."""
        return (worker.seconds_left(self._runtime.timeout_s) for worker in self._workers if worker.batches)

    def collect(self, ready: set[Any]) -> list[CallResult]:
        """The calls that are done, with their results, given what `WorkerProcesses.wait` found ready.

        Raises:
            ScoringError: `reward.runtime.max_restarts` processes were lost with nothing scored in between.
        """
        results = [result for worker in self._workers for result in self._collect_from(worker, ready)]
        self._send_waiting()
        return results

    def drop_calls(self) -> None:
        """Forgets every call. A process that is at work on one is ended, and replaced when it is needed."""
        self._waiting.clear()
        for worker in self._workers:
            if worker.batches:
                worker.batches.clear()
                self._end(worker)

    def close(self) -> None:
        """Ends the processes."""
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
            # A process that dies may take the reply of a call along that it had finished. So nothing is queued behind
            # a call that is alone, and a call that is alone is queued behind nothing: it would be blamed for it.
            room = 1 if self._waiting[0].alone else self._processes.calls_per_worker
            if self._num_batches(worker) >= room:
                return
            if worker.handle is None:
                self._replace(worker)  # puts nothing in front of the waiting calls: it had none in hand
            calls = self._next_batch()
            if not worker.batches:
                worker.began_at = time.monotonic()
            groups = tuple(call.group for call in calls)
            pending = self._processes.submit(worker.handle, groups, calls[0].parts)
            worker.batches.append(_Batch(calls, pending))

    def _num_batches(self, worker: _Worker) -> int:
        """That a worker has in hand; as many as it may have, where it works on a call that is alone."""
        if worker.batches and worker.batches[0].calls[0].alone:
            return self._processes.calls_per_worker
        return len(worker.batches)

    def _next_batch(self) -> list[ScoringCall]:
        """The next waiting call, with those that follow it where a batch may hold several."""
        calls = [self._waiting.popleft()]
        while (
            not calls[0].alone and self._waiting and not self._waiting[0].alone and len(calls) < self._calls_per_batch
        ):
            calls.append(self._waiting.popleft())
        return calls

    def _collect_from(self, worker: _Worker, ready: set[Any]) -> list[CallResult]:
        """The results of one worker, in the order in which it works; where it failed or is late, it is replaced."""
        results: list[CallResult] = []
        while worker.batches and worker.batches[0].pending in ready:
            batch = worker.batches.popleft()
            # The process goes on with the next batch at once: its time runs from here.
            seconds = time.monotonic() - worker.began_at
            worker.began_at += seconds
            subject = batch.calls[0].subject()
            try:
                found = self._processes.result(batch.pending)
            except WorkerLost as e:
                failed = FailedCall("crash", f"{subject} ended its process: {e}", seconds=seconds)
                return results + self._lost(worker, batch, failed)
            if any(map(_ran_out_of_memory, found)):
                # A part may hold on to what it took: the process is of no more use, even if it lives.
                reason = f"{subject} took more than reward.runtime.memory_mb allows"
                return results + self._lost(worker, batch, FailedCall("memory", reason, seconds=seconds))
            self._backoff.worked()
            results += zip(batch.calls, found, strict=True)
        if worker.batches and self._is_late(worker):
            batch = worker.batches.popleft()
            reason = f"{batch.calls[0].subject()} took longer than {batch.limit_s(self._runtime.timeout_s):g} s"
            seconds = time.monotonic() - worker.began_at
            results += self._lost(worker, batch, FailedCall("timeout", reason, seconds=seconds))
        return results

    def _is_late(self, worker: _Worker) -> bool:
        """Whether the batch at work is past its deadline; one that ended while another worker was replaced is not."""
        late = worker.seconds_left(self._runtime.timeout_s) < 0
        return late and not self._processes.wait([worker.batches[0].pending], 0)

    def _lost(self, worker: _Worker, batch: _Batch, failed: FailedCall) -> list[CallResult]:
        """Replaces a worker that hung, died or is full after work on `batch`, whose calls are sent again one by one."""
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
        """A new process; the calls that were queued in the lost one are sent again first."""
        queued = [call for batch in worker.batches for call in batch.calls]
        worker.batches.clear()
        self._waiting.extendleft(reversed(queued))
        self._end(worker)
        while True:
            self._backoff.pause()
            try:
                ((worker.handle, _),) = self._processes.start(1)
                return
            # Its plugins were built once: what keeps them from it now (memory, a node that went) may pass.
            except (ClusterError, PluginError) as e:
                self._count_loss(f"a new scoring process did not start: {e}")


def _ran_out_of_memory(found: PartScores) -> bool:
    scores = [score for its_scores in found.scores.values() for score in its_scores]
    return any(score.value is None and score.verdict == "memory" for score in scores)
