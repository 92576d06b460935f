"""Groups over scoring processes: they go out as they come, come back as they finish, and nothing waits for ever.

A group visits the scorers, which hold the parts that share processes, and the actors of each part that has its own, so
that every part comes after those that it needs. Where a visit ends in a fault (`crew`), its parts run one by one
(`isolate`), so that only the samples at fault stay unscored, under the name of the part.
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
from rlkit.scoring.processes.crew import CallOutcome, Crew, Errand
from rlkit.scoring.processes.isolate import Call, Fault, Needs, Scores, isolate_group
from rlkit.scoring.processes.place import Place, Workers, places

_TICK_S = 1.0
_HEARTBEAT_S = 30.0
_HEARTBEAT = logging.getLogger("rlkit.waiting")

_Scored = tuple[int, ScoredGroup]
_Steps = Generator[Call, Scores | Fault, dict[str, Scores]]


@dataclass(frozen=True)
class Visit:
    """A group's call at one place."""

    place: int
    """Index of the place."""
    parts: tuple[str, ...]
    """What runs there, in order."""


def make_visits(needs: Needs, place_of: Mapping[str, int]) -> list[Visit]:
    """The fewest visits, one after another, in which every part follows those that it needs.

    a and c at place 0, b at place 1, b needs a, c needs b -> a at 0, b at 1, c at 0

    Args:
        needs: every part in an order in which they could all run at one place.
        place_of: by part.
    """
    visits: list[Visit] = []
    done: set[str] = set()
    while len(done) < len(needs):
        place = place_of[next(name for name, needed in needs.items() if name not in done and done.issuperset(needed))]
        taken: list[str] = []
        for name, needed in needs.items():
            if place_of[name] == place and name not in done and (done | set(taken)).issuperset(needed):
                taken.append(name)
        visits.append(Visit(place, tuple(taken)))
        done.update(taken)
    return visits


@dataclass
class _Job:
    """A group on its way."""

    index: int
    group: Group
    shown: Group
    """What goes to the processes: the group without log-probs, which nothing there reads."""
    visit: int = 0
    """How many visits are behind it."""
    scores: dict[str, Scores] = field(default_factory=dict)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """By part, what its calls have taken so far, those included in which it was ended."""
    steps: _Steps | None = None
    """What is to be told how the last call went, where the visit ended in a fault."""


class Dispatcher:
    """Scores groups in processes: `reward.runtime.num_workers` scorers, and each part's own actors where it has some.

    Args:
        hire: how the processes of a place are started, asked and ended.
        reward: the recipe's section.
        on_event: told of every process that had to be replaced, ("scorer_replaced", why), and once a call of `score`
            for each part that raised, ("plugin_error", its last traceback).

    Raises:
        PluginError: a plugin cannot be built.
        ClusterError: a process does not start in time.
    """

    def __init__(
        self,
        hire: Callable[[Place], Workers],
        reward: RewardKeys,
        on_event: Callable[[str, str], None] = lambda kind, text: None,
    ) -> None:
        self._reward = reward
        self._on_event = on_event
        self._weights = reward.weights
        self._tracebacks: dict[str, str] = {}
        self._num_out = 0
        self._quiet_since = self._told_at = 0.0
        self._crews: list[Crew] = []
        found = places(reward)
        try:
            for place in found:
                self._workers = hire(place)
                self._crews.append(Crew(self._workers, place, reward.runtime, on_event))
        except BaseException:
            self.close()
            raise
        needs = {name: needed for crew in self._crews for name, needed in crew.needs.items()}
        self._needs: Needs = {name: needs[name] for name in in_order({n: needs[n] for n in reward.parts})}
        place_of = {name: i for i, place in enumerate(found) for name in place.parts}
        self._visits = make_visits(self._needs, place_of)

    def score(self, groups: Iterable[tuple[int, Group]], step: int | None = None) -> Iterator[_Scored]:
        """(index, scored group) in the order in which they finish; each group is dispatched as soon as it comes.

        A bounded number of groups is out at a time; then the next one is only taken when one is back.

        Args:
            step: of the stage, where weights move over steps (`reward.combine.ramps`); None: after every ramp.

        Raises:
            ScoringError: `reward.runtime.max_restarts` processes were lost with nothing scored in between.
        """
        self._weights = self._reward.weights_at(step)
        most = sum(crew.capacity for crew in self._crews)
        try:
            for index, group in groups:
                while self._num_out >= most:
                    yield from self._collect(_TICK_S)
                self._num_out += 1
                self._quiet_since = self._told_at = time.monotonic()
                self._go_on(_Job(index, group, group.without_logprobs()))
                yield from self._collect(0)
            while self._num_out:
                yield from self._collect(_TICK_S)
        finally:
            self._tell_tracebacks()
            # Left early: what is still out belongs to nobody.
            self._num_out = 0
            for crew in self._crews:
                crew.drop()

    def close(self) -> None:
        """Ends the processes."""
        for crew in self._crews:
            crew.close()
        self._crews = []

    @property
    def handles(self) -> list[Any]:
        """The processes that are up."""
        return [handle for crew in self._crews for handle in crew.handles]

    def _collect(self, wait_s: float) -> list[_Scored]:
        """The groups that have come to their end; waits at most `wait_s` for the first sign of any."""
        tickets = [ticket for crew in self._crews for ticket in crew.tickets()]
        if not tickets:
            return []
        left = [seconds for crew in self._crews for seconds in crew.seconds_left()]
        # Every crew's tickets are of one kind.
        ready = self._workers.wait(tickets, max(0.0, min(wait_s, *left)))
        outcomes = [outcome for crew in self._crews for outcome in crew.collect(ready)]
        self._tell_waiting(came=bool(outcomes))
        return [scored for outcome in outcomes for scored in self._take(outcome)]

    def _tell_waiting(self, *, came: bool) -> None:
        """Says now and then that nothing has come."""
        now = time.monotonic()
        if came:
            self._quiet_since = self._told_at = now
        elif now - self._told_at >= _HEARTBEAT_S:
            self._told_at = now
            quiet_s, limit_s = now - self._quiet_since, self._reward.runtime.timeout_s
            _HEARTBEAT.info("waiting for %d groups' scores: %.0f s; a group has %g", self._num_out, quiet_s, limit_s)

    def _take(self, outcome: CallOutcome) -> list[_Scored]:
        job: _Job = outcome.errand.owner
        found, parts = outcome.found, outcome.errand.parts
        if isinstance(found, PartScores):
            for name, seconds in found.seconds.items():
                job.seconds[name] += seconds
        elif len(parts) == 1:
            job.seconds[parts[0]] += outcome.seconds
        if job.steps is not None:
            return self._step(job, found if isinstance(found, Fault) else found.scores[parts[0]])
        if isinstance(found, Fault):
            job.steps = isolate_group(self._given(job), {name: self._needs[name] for name in parts}, found)
            return self._step(job, None)
        job.scores |= found.scores
        job.visit += 1
        return self._go_on(job)

    def _given(self, job: _Job) -> Group:
        """The group as the job's next visit gets it: with the scores that its parts need of earlier ones."""
        parts = self._visits[job.visit].parts
        needed = {need: job.scores[need] for name in parts for need in self._needs[name] if need in job.scores}
        return replace(job.shown, scores=needed)

    def _go_on(self, job: _Job) -> list[_Scored]:
        if job.visit == len(self._visits):
            return [self._finished(job)]
        visit = self._visits[job.visit]
        self._crews[visit.place].add(Errand(job, self._given(job), visit.parts))
        return []

    def _step(self, job: _Job, outcome: Scores | Fault | None) -> list[_Scored]:
        """Tells the job's steps how the last call went, and sends out the next or goes on to the next visit."""
        assert job.steps is not None
        try:
            call = next(job.steps) if outcome is None else job.steps.send(outcome)
        except StopIteration as end:
            job.steps = None
            job.scores |= end.value
            job.visit += 1
            return self._go_on(job)
        crew = self._crews[self._visits[job.visit].place]
        crew.add(Errand(job, call.group, (call.part,), call.share, alone=True))
        return []

    def _finished(self, job: _Job) -> _Scored:
        self._num_out -= 1
        parts = {name: job.scores[name] for name in self._weights}
        for name, scores in parts.items():
            self._tracebacks.update({name: text} if (text := last_traceback(scores)) else {})
        seconds = {name: job.seconds[name] for name in parts}
        return job.index, make_scored_group(job.group, parts, self._weights, self._reward.combine, seconds)

    def _tell_tracebacks(self) -> None:
        for name, text in self._tracebacks.items():
            self._on_event("plugin_error", f"reward part {name!r} failed, last with\n{text}")
        self._tracebacks = {}
