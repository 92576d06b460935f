"""Processes of one kind and the calls to them: each call has a deadline, and a process that breaks it is replaced.

A group whose process hangs, dies or runs out of memory comes back as a `Fault`, and what was queued behind it goes out
again. Where several groups went out in one call, each goes out once more alone first, so that the fault is its own.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from rlkit.errors import ActorDied, ClusterError, PluginError, ScoringError
from rlkit.recipe.schema.reward_section import RuntimeKeys
from rlkit.records import Group
from rlkit.scoring.combine import PartScores
from rlkit.scoring.processes.isolate import Fault
from rlkit.scoring.processes.place import Place, WorkerLost, Workers
from rlkit.scoring.processes.scoring_worker import Ready

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0
"""Before the second process in a row is replaced, and before any; the first is replaced at once, each next one after
twice the time."""


@dataclass(frozen=True, eq=False)
class Errand:
    """Some parts over one group, for whoever `owner` is."""

    owner: Any
    group: Group
    """With the scores that the parts need of others."""
    parts: tuple[str, ...]
    share: float = 1.0
    """Of a group's deadline."""
    alone: bool = False
    """In a call of its own, and no other one out to its process."""

    def subject(self) -> str:
        """Whom a sentence about it blames."""
        return f"reward part {self.parts[0]!r}" if len(self.parts) == 1 else "scoring"


@dataclass(frozen=True)
class CallOutcome:
    """What became of an errand."""

    errand: Errand
    found: PartScores | Fault
    seconds: float
    """From when its process took it up."""


@dataclass(eq=False)
class _Load:
    """The errands of one call."""

    errands: list[Errand]
    ticket: Any

    def limit_s(self, timeout_s: float) -> float:
        return timeout_s * sum(errand.share for errand in self.errands)


@dataclass
class _Worker:
    handle: Any
    """None: it has been ended."""
    loads: deque[_Load] = field(default_factory=deque)
    """In the order in which the process works; the first is the one at work."""
    head_since: float = 0.0

    def num_calls(self, depth: int) -> int:
        """Calls that it has in hand; as many as it may have, where the one is alone."""
        return depth if self.loads and self.loads[0].errands[0].alone else len(self.loads)


class Crew:
    """The processes of one place.

    Args:
        workers: how they are started, asked and ended.
        place: how many, and for which parts.
        runtime: the recipe's limits.
        on_event: told of every process that had to be replaced: ("scorer_replaced", why).

    Raises:
        PluginError: a plugin cannot be built.
        ClusterError: a process does not start in time.
    """

    def __init__(
        self, workers: Workers, place: Place, runtime: RuntimeKeys, on_event: Callable[[str, str], None]
    ) -> None:
        self._workers = workers
        self._runtime = runtime
        self._on_event = on_event
        self._lost_in_a_row = 0
        self._waiting: deque[Errand] = deque()
        started = self._first_start(place.num_workers)
        ready = started[0][1]
        self.needs = ready.needs
        self._most = place.groups_per_call if ready.takes_several else 1
        self._pool = [_Worker(handle) for handle, _ in started]
        # Where a call holds several, a full one waits while the others are at work.
        calls = workers.depth + (self._most > 1)
        self.capacity = calls * place.num_workers * self._most
        """Errands that it can have in hand."""

    def _first_start(self, count: int) -> list[tuple[Any, Ready]]:
        """Where one dies on the way all have one more try: where there is too little memory, none starts."""
        try:
            return self._workers.start(count)
        except ActorDied as e:
            self._on_event("scorer_replaced", f"{e}; it is started once more")
            return self._workers.start(count)

    def add(self, errand: Errand) -> None:
        """Takes an errand, and hands it to a process as soon as one has room."""
        self._waiting.append(errand)
        self._fill()

    def tickets(self) -> list[Any]:
        """Of every call that is out."""
        return [load.ticket for worker in self._pool for load in worker.loads]

    def seconds_left(self) -> Iterable[float]:
        """Of every call at work, until its deadline."""
        now = time.monotonic()
        for worker in self._pool:
            if worker.loads:
                yield worker.head_since + worker.loads[0].limit_s(self._runtime.timeout_s) - now

    def collect(self, ready: set[Any]) -> list[CallOutcome]:
        """What has finished or failed, given the tickets that are ready.

        Raises:
            ScoringError: `reward.runtime.max_restarts` processes were lost with nothing scored in between.
        """
        outcomes = [outcome for worker in self._pool for outcome in self._collect_from(worker, ready)]
        self._fill()
        return outcomes

    def drop(self) -> None:
        """Forgets every errand; processes that are at work on one end, and others take their place when needed."""
        self._waiting.clear()
        for worker in self._pool:
            if worker.loads:
                worker.loads.clear()
                self._end(worker)

    def close(self) -> None:
        """Ends the processes."""
        for worker in self._pool:
            self._end(worker)
        self._pool = []

    def _end(self, worker: _Worker) -> None:
        if worker.handle is not None:
            self._workers.kill(worker.handle)
            worker.handle = None

    @property
    def handles(self) -> list[Any]:
        """The processes that are up, as `workers` knows them."""
        return [worker.handle for worker in self._pool if worker.handle is not None]

    def _fill(self) -> None:
        while self._waiting:
            worker = min(self._pool, key=lambda w: w.num_calls(self._workers.depth))
            # Nothing is queued behind a call that is alone, nor that behind another: a process that dies may take a
            # finished call's reply along, and then it would be blamed for what came after it.
            if worker.num_calls(self._workers.depth) >= (1 if self._waiting[0].alone else self._workers.depth):
                return
            if worker.handle is None:
                self._replace(worker)
            errands = self._next_load()
            if not worker.loads:
                worker.head_since = time.monotonic()
            groups = tuple(errand.group for errand in errands)
            ticket = self._workers.submit(worker.handle, groups, errands[0].parts)
            worker.loads.append(_Load(errands, ticket))

    def _next_load(self) -> list[Errand]:
        """The next errand, with what follows it where a call may hold several."""
        errands = [self._waiting.popleft()]
        while not errands[0].alone and self._waiting and not self._waiting[0].alone and len(errands) < self._most:
            errands.append(self._waiting.popleft())
        return errands

    def _collect_from(self, worker: _Worker, ready: set[Any]) -> list[CallOutcome]:
        outcomes: list[CallOutcome] = []
        while worker.loads and worker.loads[0].ticket in ready:
            load = worker.loads.popleft()
            seconds = time.monotonic() - worker.head_since
            worker.head_since += seconds
            subject = load.errands[0].subject()
            try:
                reply = self._workers.result(load.ticket)
            except WorkerLost as e:
                return outcomes + self._lost(worker, load, Fault("crash", f"{subject} ended its process: {e}"), seconds)
            if reply.spent:
                fault = Fault("memory", f"{subject} took more than reward.runtime.memory_mb allows")
                return outcomes + self._lost(worker, load, fault, seconds)
            self._lost_in_a_row = 0
            pairs = zip(load.errands, reply.groups, strict=True)
            outcomes += [CallOutcome(errand, found, seconds) for errand, found in pairs]
        if worker.loads and self._is_late(worker):
            load = worker.loads.popleft()
            limit_s = load.limit_s(self._runtime.timeout_s)
            fault = Fault("timeout", f"{load.errands[0].subject()} took longer than {limit_s:g} s")
            outcomes += self._lost(worker, load, fault, time.monotonic() - worker.head_since)
        return outcomes

    def _is_late(self, worker: _Worker) -> bool:
        """Whether the call at work is past its deadline; one that ended while another process was replaced is not."""
        load = worker.loads[0]
        late = time.monotonic() - worker.head_since > load.limit_s(self._runtime.timeout_s)
        return late and not self._workers.wait([load.ticket], 0)

    def _lost(self, worker: _Worker, load: _Load, fault: Fault, seconds: float) -> list[CallOutcome]:
        """The process hung, died or is full after work on `load`: a new one, and the load's errands one by one."""
        self._count_loss(fault.reason)
        self._replace(worker)
        if len(load.errands) == 1:
            return [CallOutcome(load.errands[0], fault, seconds)]
        self._waiting.extendleft(replace(errand, alone=True) for errand in reversed(load.errands))
        return []

    def _count_loss(self, why: str) -> None:
        self._lost_in_a_row += 1
        self._on_event("scorer_replaced", why)
        if self._lost_in_a_row > self._runtime.max_restarts:
            raise ScoringError(
                f"{why}; {self._lost_in_a_row} scoring processes in a row were lost with nothing scored, more "
                f"than reward.runtime.max_restarts={self._runtime.max_restarts} allows"
            )

    def _replace(self, worker: _Worker) -> None:
        """A fresh process; what was queued behind the lost call goes out again."""
        queued = [errand for load in worker.loads for errand in load.errands]
        worker.loads.clear()
        self._waiting.extendleft(reversed(queued))
        self._end(worker)
        while True:
            if self._lost_in_a_row > 1:
                time.sleep(min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (self._lost_in_a_row - 2)))
            try:
                ((worker.handle, _),) = self._workers.start(1)
                return
            # Its plugins were built once: what keeps them from it now (memory, a node that went) may pass.
            except (ClusterError, PluginError) as e:
                self._count_loss(f"a new scoring process did not start: {e}")
