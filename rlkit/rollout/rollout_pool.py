"""Ray actors, one engine each: prompts are spread, groups come back as they finish, a dead engine is replaced."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlkit.cluster.calls import get_next, wait_for_any
from rlkit.cluster.ray_start import unblock_sigterm_in_children
from rlkit.cluster.restarts import Restarts
from rlkit.cluster.supervisor import ActorKind, Supervisor
from rlkit.errors import ActorDied, ActorLost, ClusterError, LearnerLost, RlkitError, ValueLost
from rlkit.records import Group
from rlkit.rollout.engine import EngineSpec, engine_env
from rlkit.rollout.request import DrawRequest

if TYPE_CHECKING:
    from rlkit.models.weight_block import PublishedWeights
    from rlkit.rollout.engine import Engine


class RolloutWorker:
    """The actor's side: one engine."""

    engine: Engine

    def start(self, spec: EngineSpec) -> None:
        """Builds the engine. Not in __init__: Ray hides the cause of what fails there."""
        import torch

        from rlkit.rollout.engine import Engine

        unblock_sigterm_in_children()
        if not spec.on_gpu:
            torch.set_num_threads(spec.keys.num_threads)
        self.engine = Engine(spec)

    def draw(self, requests: Sequence[DrawRequest]) -> Iterator[tuple[int, Group]]:
        """Streams (index, group) as groups finish."""
        yield from self.engine.draw(requests)

    def draw_all(self, requests: Sequence[DrawRequest]) -> list[Group]:
        """All groups at once, in the requests' order."""
        return [group for _, group in sorted(self.engine.draw(requests), key=lambda pair: pair[0])]

    def load(self, weights: PublishedWeights, version: int) -> int:
        """Takes new weights; answers with the version it now holds."""
        from rlkit.rollout.weights import load_into_engine

        self.engine.abort()
        with self.engine.waking():
            load_into_engine(self.engine.llm, weights.tensors())
        self.engine.policy_version = version
        return version

    def sleep(self) -> None:
        """See Engine.sleep."""
        self.engine.sleep()


@dataclass
class _Share:
    """One worker's share of a draw."""

    todo: dict[int, DrawRequest]
    """By index: the groups that have not come yet."""
    stream: Any = None
    """Of (index, group)."""
    deadline: float = 0.0
    """When the worker counts as hung unless a group has come, on the monotonic clock."""


class RolloutPool:
    """The driver's side: spreads requests over the workers.

    A worker that dies, or gives nothing for rollout.timeout_s, is replaced, gets the current weights, and its
    unfinished groups are drawn again from the same seeds, so that the samples do not change.
    """

    def __init__(
        self,
        spec: EngineSpec,
        *,
        start_timeout_s: float,
        max_restarts: int,
        on_event: Callable[[str, str], None],
        options: Callable[[int], Mapping[str, Any]] = lambda worker: {"num_cpus": 0},
    ) -> None:
        """`options`: Ray's, of each worker, beside its GPUs."""
        self._spec = spec
        self._timeout_s = spec.keys.deadline_s
        self._start_timeout_s = start_timeout_s
        self._weights: tuple[Any, int] | None = None
        self._warm: set[int] = set()
        self._workers = Supervisor(
            ActorKind(RolloutWorker, env=engine_env(spec.keys), gpus=spec.keys.gpus, options=options),
            spec.keys.num_engines,
            restarts=Restarts(max_restarts, "cluster.max_restarts"),
            on_replace=lambda text: on_event("rollout_worker_replaced", text),
        )
        self._start()

    def _start(self) -> None:
        """All workers. One that dies on the way has one more try: where there is too little memory, none starts."""
        what = f"starting {len(self._workers.actors)} rollout worker(s) on {self._spec.model_path}"
        limit_s = self._start_timeout_s
        _, died = self._call(None, "start", what, self._spec, limit_s=limit_s, loss=ActorDied)
        if died:
            self._replace_actors(died, "it is started once more")
            _, died = self._call(died, "start", what, self._spec, limit_s=limit_s, loss=())

    def draw(self, requests: Sequence[DrawRequest]) -> Iterator[tuple[int, Group]]:
        """Yields (request.index, group) in the order of finishing; every request exactly once.

        Raises:
            ClusterError: cluster.max_restarts is used up.
            LearnerLost: a replacement cannot get the weights: the node that held them died.
        """
        count = len(self._workers.actors)
        shares = {w: _Share({r.index: r for r in requests[w::count]}) for w in range(min(count, len(requests)))}
        for worker, share in shares.items():
            self._begin(worker, share)
        while shares:
            yield from self._collect(shares)

    def _collect(self, shares: dict[int, _Share]) -> Iterator[tuple[int, Group]]:
        """What is there by now, at most one group a worker, waiting for the first; lost workers are replaced."""
        streams = [share.stream for share in shares.values()]
        left = min(share.deadline for share in shares.values()) - time.monotonic()
        what = f"the next group ({sum(len(share.todo) for share in shares.values())} to come)"
        ready = {id(stream) for stream in wait_for_any(streams, timeout_s=max(0.0, left), what=what)}
        # The caller may keep what is yielded for long: who is late is judged by now, when it was last looked.
        now = time.monotonic()
        lost: dict[int, str] = {}
        for worker, share in list(shares.items()):
            if id(share.stream) not in ready:
                lost |= {worker: f"gave no group for {self._timeout_s:g} s"} if now > share.deadline else {}
                continue
            try:
                found = self._take(worker, share)
            except ActorDied:
                lost[worker] = "died"
                continue
            yield found
        for worker in [worker for worker, share in shares.items() if not share.todo]:
            del shares[worker]
            lost.pop(worker, None)
        self._replace(lost)
        for worker in lost:
            self._begin(worker, shares[worker])

    def _take(self, worker: int, share: _Share) -> tuple[int, Group]:
        """The next group of a stream that has one.

        Raises:
            ActorDied: there is none because the worker died.
        """
        index, group = get_next(share.stream, timeout_s=self._timeout_s, what=f"sampling on rollout-{worker}")
        self._note_warm([worker])
        del share.todo[index]
        share.deadline = time.monotonic() + self._timeout_s
        return index, group

    def _begin(self, worker: int, share: _Share) -> None:
        """Sets a worker to its share. What an engine draws first after its start may take as long as the start."""
        share.stream = (
            self._workers.actors[worker].draw.options(num_returns="streaming").remote(list(share.todo.values()))
        )
        share.deadline = time.monotonic() + self._limit_s([worker])

    def _limit_s(self, workers: Collection[int]) -> float:
        """How long each of them may take for its next sign."""
        return self._timeout_s + (0.0 if self._warm.issuperset(workers) else self._start_timeout_s)

    def _note_warm(self, workers: Collection[int]) -> None:
        """They have drawn something since their start."""
        if not self._warm.issuperset(workers):
            self._warm |= set(workers)
            self._workers.worked()

    def draw_on_each(self, requests: Sequence[DrawRequest]) -> list[list[Group]]:
        """Every worker draws all requests (the parity canary); one list a worker, in the requests' order."""
        found: list[list[Group]] = self._on_each("draw_all", "the canary of the parity gate", requests)
        self._note_warm(self._workers.actors)
        return found

    def load(self, weights: Any, version: int) -> None:
        """Gives every worker the weights (a Ray reference) and keeps them for replacements.

        Raises:
            LearnerLost: the node that held them died.
        """
        self._weights = (weights, version)
        self._on_each("load", f"loading policy version {version} into the engines", weights, version)

    def _on_each(self, method: str, what: str, *args: Any) -> list[Any]:
        """One call on every worker, all at once; workers that are lost are replaced and asked again."""
        results: dict[int, Any] = {}
        while missing := [w for w in sorted(self._workers.actors) if w not in results]:
            found, lost = self._call(missing, method, what, *args, limit_s=self._limit_s(missing))
            results |= found
            self._replace(lost)
        return [results[worker] for worker in sorted(results)]

    def _call(
        self,
        workers: Collection[int] | None,
        method: str,
        what: str,
        *args: Any,
        limit_s: float,
        loss: type[ClusterError] | tuple[()] = ActorLost,
    ) -> tuple[dict[int, Any], dict[int, str]]:
        """One call on some workers, or all: by worker what came back, or how the worker was lost.

        `loss`: the errors that count as a lost worker; any other error is raised.
        """
        found: dict[int, Any] = {}
        lost: dict[int, str] = {}
        outcomes = self._workers.call(method, *args, timeout_s=limit_s, what=what, numbers=workers)
        for worker, outcome in outcomes.items():
            if isinstance(outcome, ValueLost):
                raise LearnerLost(str(outcome)) from outcome
            if isinstance(outcome, loss):
                lost[worker] = f"was lost ({outcome})"
            elif isinstance(outcome, RlkitError):
                raise outcome
            else:
                found[worker] = outcome
        return found, lost

    def sleep(self) -> None:
        """Frees the engines' memory until the next `load`, where they share GPUs with the learner."""
        if self._spec.sleeps:
            self._on_each("sleep", "putting the engines to sleep")

    def close(self) -> None:
        """Ends the workers."""
        self._workers.close()

    def _replace(self, lost: Mapping[int, str]) -> None:
        """New workers with the current weights, all at once; where one is lost on the way there, another one."""
        while lost:
            self._replace_actors(lost, "its unfinished groups are drawn again")
            what, limit_s = "starting new rollout workers", self._start_timeout_s
            # Where an engine does not start, what the lost one held (a GPU's memory) may not be free yet.
            started, lost = self._call(lost, "start", what, self._spec, limit_s=limit_s, loss=ClusterError)
            if self._weights is not None and started:
                weights, version = self._weights
                what = f"loading policy version {version} into new rollout workers"
                _, unloaded = self._call(started, "load", what, weights, version, limit_s=limit_s)
                lost = {**lost, **unloaded}

    def _replace_actors(self, lost: Mapping[int, str], then: str) -> None:
        """New actors in place of lost ones, not started yet."""
        self._warm.difference_update(lost)
        self._workers.replace({worker: f"rollout-{worker} {why}" for worker, why in lost.items()}, then)
