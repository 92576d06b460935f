"""Sends groups to scoring workers as they arrive and yields them as they finish. Every call has a deadline.

Parts that have their own workers run there; all other parts share workers. A group visits the pools of workers in an
order in which every part runs after the parts that it needs. When a call fails (`worker_pool`), its parts run one by
one (`isolate`), so that only the samples on which a part fails are unscored, with that part named as the reason.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rlkit.recipe.schema.reward_section import RewardKeys
from rlkit.records import Group, ScoredGroup
from rlkit.scoring.combine import PartScores, last_traceback, make_scored_group
from rlkit.scoring.plugins.plugin import sort_by_needs
from rlkit.scoring.processes.isolate import isolate_group
from rlkit.scoring.processes.scoring_call import FailedCall, Needs, Scores, ScoringCall
from rlkit.scoring.processes.worker_pool import CallResult, WorkerPool
from rlkit.scoring.processes.worker_processes import WorkerProcesses, WorkerSpec, worker_specs

_TICK_S = 1.0
_HEARTBEAT_S = 30.0
_HEARTBEAT = logging.getLogger("rlkit.waiting")

_Scored = tuple[int, ScoredGroup]
_Retries = Generator[ScoringCall, Scores | FailedCall, dict[str, Scores]]


@dataclass(frozen=True)
class PlannedCall:
    """One of the calls that are made for every group."""

    pool: int
    """Index of the pool that runs it."""
    parts: tuple[str, ...]
    """The parts that it runs, in order."""


def plan_calls(needs: Needs, pool_of: Mapping[str, int]) -> list[PlannedCall]:
    """The shortest sequence of calls in which every part runs after the parts that it needs.

    a and c in pool 0, b in pool 1, b needs a, c needs b -> a in 0, b in 1, c in 0

    Args:
        needs: every part, in an order in which all could run in one process.
        pool_of: for each part, the index of its pool.
    """
    calls: list[PlannedCall] = []
    done: set[str] = set()
    while len(done) < len(needs):
        pool = pool_of[next(name for name, needed in needs.items() if name not in done and done.issuperset(needed))]
        taken: list[str] = []
        for name, needed in needs.items():
            if pool_of[name] == pool and name not in done and (done | set(taken)).issuperset(needed):
                taken.append(name)
        calls.append(PlannedCall(pool, tuple(taken)))
        done.update(taken)
    return calls


@dataclass
class _GroupProgress:
    """A group that is being scored."""

    index: int
    group: Group
    sent: Group
    """The group without log-probabilities: the processes get this, since no part reads them."""
    num_done: int = 0
    """Number of planned calls that are done."""
    scores: dict[str, Scores] = field(default_factory=dict)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """For each part, the time of its calls so far, including calls that were killed."""
    retries: _Retries | None = None
    """After a planned call failed: the generator of the calls that find the samples at fault."""


class GroupScheduler:
    """Scores groups on `reward.runtime.num_workers` shared workers and on the workers of parts that have their own.

    Args:
        make_processes: makes the object that starts, calls and kills the processes of one pool.
        reward: the recipe's section.
        on_event: called with ("scorer_replaced", reason) for each process that is replaced and, at the end of `score`,
            with ("plugin_error", last traceback) for each part that raised.

    Raises:
        PluginError: a plugin cannot be built.
        ClusterError: a process does not start in time.
    """

    def __init__(
        self,
        make_processes: Callable[[WorkerSpec], WorkerProcesses],
        reward: RewardKeys,
        on_event: Callable[[str, str], None] = lambda kind, text: None,
    ) -> None:
        self._reward = reward
        self._on_event = on_event
        self._weights = reward.weights
        self._tracebacks: dict[str, str] = {}
        self._num_out = 0
        self._quiet_since = self._logged_at = 0.0
        self._pools: list[WorkerPool] = []
        specs = worker_specs(reward)
        try:
            for spec in specs:
                self._processes = make_processes(spec)
                self._pools.append(WorkerPool(self._processes, spec, reward.runtime, on_event))
        except BaseException:
            self.close()
            raise
        needs = {name: needed for pool in self._pools for name, needed in pool.needs.items()}
        self._needs: Needs = {name: needs[name] for name in sort_by_needs({n: needs[n] for n in reward.parts})}
        pool_of = {name: i for i, spec in enumerate(specs) for name in spec.parts}
        self._plan = plan_calls(self._needs, pool_of)

    def score(self, groups: Iterable[tuple[int, Group]], step: int | None = None) -> Iterator[_Scored]:
        """Yields (index, scored group) in the order in which they finish. Each group is sent as soon as it arrives.

        The number of groups in flight is bounded: at the limit, the next group is read when one is finished.

        Args:
            groups: (index, group) pairs.
            step: the stage's step, for weights that change over steps (`reward.combine.ramps`); None: final weights.

        Raises:
            ScoringError: `reward.runtime.max_restarts` processes were lost with nothing scored in between.
        """
        self._weights = self._reward.weights_at(step)
        most = sum(pool.capacity for pool in self._pools)
        try:
            for index, group in groups:
                while self._num_out >= most:
                    yield from self._collect(_TICK_S)
                self._num_out += 1
                self._quiet_since = self._logged_at = time.monotonic()
                self._send_next(_GroupProgress(index, group, group.without_logprobs()))
                yield from self._collect(0)
            while self._num_out:
                yield from self._collect(_TICK_S)
        finally:
            self._report_tracebacks()
            # If the caller stopped early, nobody will collect the groups that are in flight.
            self._num_out = 0
            for pool in self._pools:
                pool.drop_calls()

    def close(self) -> None:
        """Ends the processes."""
        for pool in self._pools:
            pool.close()
        self._pools = []

    @property
    def handles(self) -> list[Any]:
        """Handles of the running processes."""
        return [handle for pool in self._pools for handle in pool.handles]

    def _collect(self, wait_s: float) -> list[_Scored]:
        """Waits for results, at most `wait_s` and at most until the next deadline; returns the finished groups."""
        pending = [call for pool in self._pools for call in pool.pending()]
        if not pending:
            return []
        left = [seconds for pool in self._pools for seconds in pool.seconds_left()]
        # All pools use the same kind of processes, so any of them can wait for the calls of all.
        ready = self._processes.wait(pending, max(0.0, min(wait_s, *left)))
        results = [result for pool in self._pools for result in pool.collect(ready)]
        self._log_waiting(has_results=bool(results))
        return [scored for result in results for scored in self._process_result(result)]

    def _log_waiting(self, *, has_results: bool) -> None:
        """Logs a message every `_HEARTBEAT_S` seconds without a result."""
        now = time.monotonic()
        if has_results:
            self._quiet_since = self._logged_at = now
        elif now - self._logged_at >= _HEARTBEAT_S:
            self._logged_at = now
            quiet_s, limit_s = now - self._quiet_since, self._reward.runtime.timeout_s
            _HEARTBEAT.info("waiting for the scores of %d groups: %.0f s (limit %g s)", self._num_out, quiet_s, limit_s)

    def _process_result(self, result: CallResult) -> list[_Scored]:
        """Sends the next call for the group of a finished call; returns the group if that was its last call."""
        call, found = result
        progress: _GroupProgress = call.owner
        if isinstance(found, PartScores):
            for name, seconds in found.seconds.items():
                progress.seconds[name] += seconds
        elif len(call.parts) == 1:
            progress.seconds[call.parts[0]] += found.seconds
        if progress.retries is not None:
            return self._retry(progress, found if isinstance(found, FailedCall) else found.scores[call.parts[0]])
        if isinstance(found, FailedCall):
            needs = {name: self._needs[name] for name in call.parts}
            progress.retries = isolate_group(self._with_needed_scores(progress), needs, found)
            return self._retry(progress, None)
        return self._call_done(progress, found.scores)

    def _retry(self, progress: _GroupProgress, outcome: Scores | FailedCall | None) -> list[_Scored]:
        """Passes the outcome of the last call to `retries` (None: there was no call yet) and sends its next call."""
        assert progress.retries is not None
        try:
            call = next(progress.retries) if outcome is None else progress.retries.send(outcome)
        except StopIteration as end:
            progress.retries = None
            return self._call_done(progress, end.value)
        self._pools[self._plan[progress.num_done].pool].add(replace(call, owner=progress))
        return []

    def _call_done(self, progress: _GroupProgress, scores: Mapping[str, Scores]) -> list[_Scored]:
        progress.scores |= scores
        progress.num_done += 1
        return self._send_next(progress)

    def _send_next(self, progress: _GroupProgress) -> list[_Scored]:
        """Sends the group's next planned call; returns the scored group if there is none left."""
        if progress.num_done == len(self._plan):
            return [self._finished(progress)]
        planned = self._plan[progress.num_done]
        group = self._with_needed_scores(progress)
        self._pools[planned.pool].add(ScoringCall(planned.parts, group, owner=progress))
        return []

    def _with_needed_scores(self, progress: _GroupProgress) -> Group:
        """The group with the earlier scores that the parts of the next planned call need."""
        scores, parts = progress.scores, self._plan[progress.num_done].parts
        needed = {need: scores[need] for name in parts for need in self._needs[name] if need in scores}
        return replace(progress.sent, scores=needed)

    def _finished(self, progress: _GroupProgress) -> _Scored:
        self._num_out -= 1
        parts = {name: progress.scores[name] for name in self._weights}
        for name, scores in parts.items():
            self._tracebacks.update({name: text} if (text := last_traceback(scores)) else {})
        seconds = {name: progress.seconds[name] for name in parts}
        scored = make_scored_group(progress.group, parts, self._weights, self._reward.combine, seconds)
        return progress.index, scored

    def _report_tracebacks(self) -> None:
        for name, text in self._tracebacks.items():
            self._on_event("plugin_error", f"reward part {name!r} failed; its last traceback:\n{text}")
        self._tracebacks = {}
