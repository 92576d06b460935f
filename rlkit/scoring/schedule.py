"""Groups over scoring processes: they go out as they come, come back as they finish, and nothing waits for ever.

A group that takes longer than `reward.runtime.timeout_s`, or whose process dies or runs out of memory, costs that
process, which is killed and replaced. Then its parts run one by one (`isolate`), so that only the samples at fault stay
unscored, under the name of the part. Groups queued behind it go out again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from rlkit.errors import ScoringError
from rlkit.recipe.schema.reward import Reward
from rlkit.records import Group, ScoredGroup
from rlkit.scoring.combine import make_scored_group
from rlkit.scoring.isolate import Call, Fault, Needs, Scores, isolate_group
from rlkit.scoring.worker import Reply

_TICK_S = 1.0

_Scored = tuple[int, ScoredGroup]


class WorkerLost(Exception):
    """A scoring process died; the message says how."""


class Workers(Protocol):
    """Processes that hold a `Scorer` each, by handles of their own kind."""

    depth: int
    """Calls queued on one process, so that it works on while the driver does something else."""

    def start(self, count: int) -> list[tuple[Any, Needs]]:
        """New processes, ready, each with its parts.

        Raises:
            PluginError: a plugin cannot be built.
            ClusterError: a process does not start in time.
        """

    def submit(self, handle: Any, group: Group, part: str | None) -> Any:
        """Hands over a group, for all parts or for one; returns a ticket."""

    def wait(self, tickets: Sequence[Any], timeout_s: float) -> set[Any]:
        """The tickets that have a result or a dead process, waiting at most so long for the first."""

    def result(self, ticket: Any) -> Reply:
        """What came back.

        Raises:
            WorkerLost: the process died.
        """

    def kill(self, handle: Any) -> None:
        """Ends a process, whatever it does."""


_Steps = Generator[Call, Scores | Fault, dict[str, Scores]]


@dataclass
class _Job:
    """A call, and the group that it is for."""

    index: int
    whole: Group
    call: Call | None = None
    """One part over some of the group's samples; None: all parts over all."""
    steps: _Steps | None = None
    """What is to be told how the call went."""
    ticket: Any = None

    def deadline_s(self, timeout_s: float) -> float:
        return timeout_s * (self.call.share if self.call else 1.0)


@dataclass
class _Worker:
    handle: Any
    jobs: deque[_Job] = field(default_factory=deque)
    """In the order in which the process works; the first is the one at work."""
    head_since: float = 0.0


class Schedule:
    """Scores groups on `reward.runtime.num_workers` processes.

    Args:
        workers: how processes are started, asked and ended.
        reward: the recipe's section.
        on_event: told of every process that had to be replaced: ("scorer_replaced", why).

    Raises:
        PluginError: a plugin cannot be built.
        ClusterError: a process does not start in time.
    """

    def __init__(
        self, workers: Workers, reward: Reward, on_event: Callable[[str, str], None] = lambda kind, text: None
    ) -> None:
        self._workers = workers
        self._reward = reward
        self._on_event = on_event
        self._lost_in_a_row = 0
        self._weights = reward.weights
        started = workers.start(reward.runtime.num_workers)
        self._needs = started[0][1]
        self._pool = [_Worker(handle) for handle, _ in started]

    def score(self, groups: Iterable[tuple[int, Group]], step: int | None = None) -> Iterator[_Scored]:
        """(index, scored group) in the order in which they finish; each group is dispatched as soon as it comes.

        A bounded number of groups is out at a time; then the next one is only taken when one is back.

        Args:
            step: of the stage, where weights move over steps (`reward.combine.ramps`); None: after every ramp.

        Raises:
            ClusterError: a process died and no new one starts.
            ScoringError: `reward.runtime.max_restarts` processes were lost with nothing scored in between.
        """
        self._weights = self._reward.weights_at(step)
        try:
            for index, group in groups:
                while self._num_out >= self._workers.depth * len(self._pool):
                    yield from self._collect(_TICK_S)
                self._dispatch(_Job(index, group))
                yield from self._collect(0)
            while self._num_out:
                yield from self._collect(_TICK_S)
        finally:
            # Left early: what is still out belongs to nobody.
            for worker in self._pool:
                if worker.jobs:
                    worker.jobs.clear()
                    self._replace(worker)

    def close(self) -> None:
        """Ends the processes."""
        for worker in self._pool:
            self._workers.kill(worker.handle)
        self._pool = []

    @property
    def handles(self) -> list[Any]:
        """The processes that are up, as `workers` knows them."""
        return [worker.handle for worker in self._pool]

    @property
    def _num_out(self) -> int:
        return sum(len(worker.jobs) for worker in self._pool)

    def _dispatch(self, job: _Job) -> None:
        worker = min(self._pool, key=lambda w: len(w.jobs))
        if not worker.jobs:
            worker.head_since = time.monotonic()
        group, part = (job.call.group, job.call.part) if job.call else (job.whole, None)
        job.ticket = self._workers.submit(worker.handle, group, part)
        worker.jobs.append(job)

    def _collect(self, wait_s: float) -> list[_Scored]:
        """What has finished, failed or run out of time; waits at most `wait_s` for the first of it."""
        tickets = [job.ticket for worker in self._pool for job in worker.jobs]
        if not tickets:
            return []
        now = time.monotonic()
        left = [w.head_since + self._limit_s(w) - now for w in self._pool if w.jobs]
        ready = self._workers.wait(tickets, max(0.0, min(wait_s, *left)))
        done: list[_Scored] = []
        for worker in self._pool:
            done.extend(self._collect_from(worker, ready))
        return done

    def _limit_s(self, worker: _Worker) -> float:
        return worker.jobs[0].deadline_s(self._reward.runtime.timeout_s)

    def _collect_from(self, worker: _Worker, ready: set[Any]) -> list[_Scored]:
        done: list[_Scored] = []
        while worker.jobs and worker.jobs[0].ticket in ready:
            job = worker.jobs.popleft()
            worker.head_since = time.monotonic()
            try:
                reply = self._workers.result(job.ticket)
            except WorkerLost as e:
                done.extend(self._lost(worker, job, Fault("crash", f"{self._who(job)} ended its process: {e}")))
                return done
            if reply.spent:
                what = "took more than reward.runtime.memory_mb allows"
                done.extend(self._lost(worker, job, Fault("memory", f"{self._who(job)} {what}")))
                return done
            self._lost_in_a_row = 0
            done.extend(self._scored(job, reply))
        if worker.jobs and time.monotonic() - worker.head_since > self._limit_s(worker):
            limit_s = self._limit_s(worker)
            job = worker.jobs.popleft()
            done.extend(self._lost(worker, job, Fault("timeout", f"{self._who(job)} took longer than {limit_s:g} s")))
        return done

    def _scored(self, job: _Job, reply: Reply) -> list[_Scored]:
        if job.steps is None or job.call is None:
            return [self._finished(job, reply.parts)]
        return self._step(job, reply.parts[job.call.part])

    def _lost(self, worker: _Worker, job: _Job, fault: Fault) -> list[_Scored]:
        """The process hung, died or is full after work on `job`: a new one, and a closer look at the group."""
        self._lost_in_a_row += 1
        self._on_event("scorer_replaced", fault.reason)
        if self._lost_in_a_row > self._reward.runtime.max_restarts:
            raise ScoringError(
                f"{fault.reason}; {self._lost_in_a_row} scoring processes in a row were lost with nothing scored, more "
                f"than reward.runtime.max_restarts={self._reward.runtime.max_restarts} allows"
            )
        self._replace(worker)
        if job.steps is not None:
            return self._step(job, fault)
        job.steps = isolate_group(job.whole, self._needs, fault)
        return self._step(job, None)

    def _step(self, job: _Job, outcome: Scores | Fault | None) -> list[_Scored]:
        """Tells the group's steps how the last call went and sends out the next, or gives the group back."""
        assert job.steps is not None
        try:
            call = next(job.steps) if outcome is None else job.steps.send(outcome)
        except StopIteration as end:
            return [self._finished(job, end.value)]
        self._dispatch(_Job(job.index, job.whole, call, job.steps))
        return []

    def _replace(self, worker: _Worker) -> None:
        """A fresh process; jobs that were queued behind the lost one go out again."""
        self._workers.kill(worker.handle)
        ((worker.handle, _),) = self._workers.start(1)
        queued = list(worker.jobs)
        worker.jobs.clear()
        for job in queued:
            self._dispatch(job)

    def _finished(self, job: _Job, parts: dict[str, Scores]) -> _Scored:
        ordered = {name: parts[name] for name in self._weights}
        return job.index, make_scored_group(job.whole, ordered, self._weights, self._reward.combine)

    def _who(self, job: _Job) -> str:
        (part, *others) = [job.call.part] if job.call else self._needs
        return "scoring" if others else f"reward part {part!r}"
