"""Groups over scoring workers: they are sent as they come, come back as they finish, and every call has a deadline.

A group is sent to the workers that hold the parts without workers of their own, and to the workers of each other part,
in such an order that every part comes after those that it needs. Where a call fails (`worker_pool`), its parts run one
by one (`isolate`), so that only the samples on which a part fails stay unscored, under the name of that part.
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
from rlkit.scoring.plugins.plugin import in_order
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
    """A call that every group makes."""

    pool: int
    """Index of the pool whose workers it goes to."""
    parts: tuple[str, ...]
    """What runs there, in order."""


def plan_calls(needs: Needs, pool_of: Mapping[str, int]) -> list[PlannedCall]:
    """The fewest calls, one after another, in which every part follows those that it needs.

    a and c in pool 0, b in pool 1, b needs a, c needs b -> a in 0, b in 1, c in 0

    Args:
        needs: every part in an order in which they could all run in one process.
        pool_of: by part.
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
    """What goes to the processes: the group without log-probs, which nothing there reads."""
    num_done: int = 0
    """How many of the planned calls are done."""
    scores: dict[str, Scores] = field(default_factory=dict)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """By part, what its calls have taken so far, those included in which it was ended."""
    retries: _Retries | None = None
    """Where the planned call failed: what makes the calls that find out on which samples."""


class GroupScheduler:
    """Scores groups on workers: `reward.runtime.num_workers` shared ones, and those of each part that has its own.

    Args:
        make_processes: gives what starts, calls and ends the processes of a pool.
        reward: the recipe's section.
        on_event: told of every process that had to be replaced, ("scorer_replaced", why), and once a call of `score`
            for each part that raised, ("plugin_error", its last traceback).

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
        self._quiet_since = self._told_at = 0.0
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
        self._needs: Needs = {name: needs[name] for name in in_order({n: needs[n] for n in reward.parts})}
        pool_of = {name: i for i, spec in enumerate(specs) for name in spec.parts}
        self._plan = plan_calls(self._needs, pool_of)

    def score(self, groups: Iterable[tuple[int, Group]], step: int | None = None) -> Iterator[_Scored]:
        """(index, scored group) in the order in which they finish; each group is dispatched as soon as it comes.

        A bounded number of groups is out at a time; then the next one is only taken when one is back.

        Args:
            step: of the stage, where weights move over steps (`reward.combine.ramps`); None: after every ramp.

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
                self._quiet_since = self._told_at = time.monotonic()
                self._send_next(_GroupProgress(index, group, group.without_logprobs()))
                yield from self._collect(0)
            while self._num_out:
                yield from self._collect(_TICK_S)
        finally:
            self._tell_tracebacks()
            # Left early: what is still out belongs to nobody.
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
        """The processes that are up."""
        return [handle for pool in self._pools for handle in pool.handles]

    def _collect(self, wait_s: float) -> list[_Scored]:
        """The groups that are scored; waits at most `wait_s`, and no longer than to the next deadline, for a result."""
        pending = [call for pool in self._pools for call in pool.pending()]
        if not pending:
            return []
        left = [seconds for pool in self._pools for seconds in pool.seconds_left()]
        # The processes of all pools are of one kind: any of them can wait for all calls.
        ready = self._processes.wait(pending, max(0.0, min(wait_s, *left)))
        results = [result for pool in self._pools for result in pool.collect(ready)]
        self._tell_waiting(came=bool(results))
        return [scored for result in results for scored in self._take(result)]

    def _tell_waiting(self, *, came: bool) -> None:
        """Says now and then that nothing has come."""
        now = time.monotonic()
        if came:
            self._quiet_since = self._told_at = now
        elif now - self._told_at >= _HEARTBEAT_S:
            self._told_at = now
            quiet_s, limit_s = now - self._quiet_since, self._reward.runtime.timeout_s
            _HEARTBEAT.info("waiting for %d groups' scores: %.0f s; a group has %g", self._num_out, quiet_s, limit_s)

    def _take(self, result: CallResult) -> list[_Scored]:
        """Goes on with the group of a call that is done: gives it where that was its last one."""
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
        """Tells `retries` what came of its last call (None: there is none yet), and sends the next one."""
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
        """Sends the next planned call; gives the group where there is none."""
        if progress.num_done == len(self._plan):
            return [self._finished(progress)]
        planned = self._plan[progress.num_done]
        group = self._with_needed_scores(progress)
        self._pools[planned.pool].add(ScoringCall(planned.parts, group, owner=progress))
        return []

    def _with_needed_scores(self, progress: _GroupProgress) -> Group:
        """The group with the scores that the next planned call's parts need of earlier ones."""
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

    def _tell_tracebacks(self) -> None:
        for name, text in self._tracebacks.items():
            self._on_event("plugin_error", f"reward part {name!r} failed, last with\n{text}")
        self._tracebacks = {}
