"""A pool of Ray actors with one engine each: distributes prompts, streams finished groups, replaces lost engines."""

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
    """The actor: one engine."""

    engine: Engine

    def start(self, spec: EngineSpec) -> None:
        """Builds the engine. Not in __init__: Ray hides the cause of an error there."""
        import torch

        from rlkit.rollout.engine import Engine

        unblock_sigterm_in_children()
        if not spec.on_gpu:
            torch.set_num_threads(spec.keys.num_threads)
        self.engine = Engine(spec)

    def draw(self, requests: Sequence[DrawRequest]) -> Iterator[tuple[int, Group]]:
        """Yields (index, group) as groups finish."""
        yield from self.engine.draw(requests)

    def draw_all(self, requests: Sequence[DrawRequest]) -> list[Group]:
        """Draws all groups and returns them in the order of the requests."""
        return [group for _, group in sorted(self.engine.draw(requests), key=lambda pair: pair[0])]

    def load(self, weights: PublishedWeights, version: int) -> int:
        """Loads new weights; returns their policy version."""
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
class _WorkerDraw:
    """The requests of one worker in a draw."""

    todo: dict[int, DrawRequest]
    """For each index, the request of a group that is not finished."""
    stream: Any = None
    """Ray's stream of (index, group)."""
    deadline: float = 0.0
    """When the worker counts as hung if no group has arrived, on the monotonic clock."""


class RolloutPool:
    """Distributes requests over the rollout workers; used by the driver.

    A worker that dies, or returns nothing for rollout.timeout_s, is replaced. The new worker gets the current weights
    and draws the unfinished groups again with the same seeds, so the samples do not change.
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
        """`options`: Ray's options for each worker, except its GPUs."""
        self._spec = spec
        self._timeout_s = spec.keys.deadline_s
        self._start_timeout_s = start_timeout_s
        self._weights: tuple[Any, int] | None = None
        self._warmed_up: set[int] = set()
        self._workers = Supervisor(
            ActorKind(RolloutWorker, env=engine_env(spec.keys), gpus=spec.keys.gpus, options=options),
            spec.keys.num_engines,
            restarts=Restarts(max_restarts, "cluster.max_restarts"),
            on_replace=lambda text: on_event("rollout_worker_replaced", text),
        )
        self._start()

    def _start(self) -> None:
        """Starts all workers. One that dies during the start is started once more, and then an error is raised."""
        what = f"starting {len(self._workers.actors)} rollout worker(s) on {self._spec.model_path}"
        limit_s = self._start_timeout_s
        _, died = self._call(None, "start", what, self._spec, limit_s=limit_s, loss=ActorDied)
        if died:
            self._replace_actors(died, "starting it once more")
            _, died = self._call(died, "start", what, self._spec, limit_s=limit_s, loss=())

    def draw(self, requests: Sequence[DrawRequest]) -> Iterator[tuple[int, Group]]:
        """Yields (request.index, group) as groups finish; each request exactly once.

        Raises:
            ClusterError: cluster.max_restarts is used up.
            LearnerLost: a new worker cannot get the weights because the node that held them died.
        """
        count = len(self._workers.actors)
        draws = {w: _WorkerDraw({r.index: r for r in requests[w::count]}) for w in range(min(count, len(requests)))}
        for worker, draw in draws.items():
            self._begin(worker, draw)
        while draws:
            yield from self._collect(draws)

    def _collect(self, draws: dict[int, _WorkerDraw]) -> Iterator[tuple[int, Group]]:
        """Waits for a group, then yields at most one from each worker. Replaces lost workers."""
        streams = [draw.stream for draw in draws.values()]
        left = min(draw.deadline for draw in draws.values()) - time.monotonic()
        what = f"the next group ({sum(len(draw.todo) for draw in draws.values())} to come)"
        ready = {id(stream) for stream in wait_for_any(streams, timeout_s=max(0.0, left), what=what)}
        # Compare deadlines with the time of this poll: the caller may take long with the groups that are yielded.
        now = time.monotonic()
        lost: dict[int, str] = {}
        for worker, draw in list(draws.items()):
            if id(draw.stream) not in ready:
                lost |= {worker: f"returned no group for {self._timeout_s:g} s"} if now > draw.deadline else {}
                continue
            try:
                found = self._next_group(worker, draw)
            except ActorDied:
                lost[worker] = "died"
                continue
            yield found
        for worker in [worker for worker, draw in draws.items() if not draw.todo]:
            del draws[worker]
            lost.pop(worker, None)
        self._replace(lost)
        for worker in lost:
            self._begin(worker, draws[worker])

    def _next_group(self, worker: int, draw: _WorkerDraw) -> tuple[int, Group]:
        """The next group of a stream that is ready.

        Raises:
            ActorDied: the worker died.
        """
        index, group = get_next(draw.stream, timeout_s=self._timeout_s, what=f"sampling on rollout-{worker}")
        self._mark_warmed_up([worker])
        del draw.todo[index]
        draw.deadline = time.monotonic() + self._timeout_s
        return index, group

    def _begin(self, worker: int, draw: _WorkerDraw) -> None:
        """Sends a worker its requests. The first group after its start may take as long as the start."""
        draw.stream = (
            self._workers.actors[worker].draw.options(num_returns="streaming").remote(list(draw.todo.values()))
        )
        draw.deadline = time.monotonic() + self._limit_s([worker])

    def _limit_s(self, workers: Collection[int]) -> float:
        """Longest wait for a result of each of these workers."""
        return self._timeout_s + (0.0 if self._warmed_up.issuperset(workers) else self._start_timeout_s)

    def _mark_warmed_up(self, workers: Collection[int]) -> None:
        """Records that these workers have drawn something since their start."""
        if not self._warmed_up.issuperset(workers):
            self._warmed_up |= set(workers)
            self._workers.reset_backoff()

    def draw_on_each(self, requests: Sequence[DrawRequest]) -> list[list[Group]]:
        """Every worker draws all requests (the parity canary). Returns each worker's groups, in the requests' order."""
        found: list[list[Group]] = self._on_each("draw_all", "the canary of the parity gate", requests)
        self._mark_warmed_up(self._workers.actors)
        return found

    def load(self, weights: Any, version: int) -> None:
        """Loads weights (a Ray reference) into every worker, and keeps the reference for replacement workers.

        Raises:
            LearnerLost: the node that held the weights died.
        """
        self._weights = (weights, version)
        self._on_each("load", f"loading policy version {version} into the engines", weights, version)

    def _on_each(self, method: str, what: str, *args: Any) -> list[Any]:
        """Calls every worker at once; replaces lost workers and calls those again."""
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
        """Calls some workers (None: all). Returns (result of each worker, reason for each lost worker).

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
        """Frees the engines' GPU memory until the next `load`, if they share GPUs with the learner."""
        if self._spec.sleeps:
            self._on_each("sleep", "putting the engines to sleep")

    def close(self) -> None:
        """Ends the workers."""
        self._workers.close()

    def _replace(self, lost: Mapping[int, str]) -> None:
        """Replaces workers and loads the current weights, all at once; repeats for new workers that are lost."""
        while lost:
            self._replace_actors(lost, "drawing its unfinished groups again")
            what, limit_s = "starting new rollout workers", self._start_timeout_s
            # A start can fail because the lost worker's GPU memory is not free yet: count it as lost and retry.
            started, lost = self._call(lost, "start", what, self._spec, limit_s=limit_s, loss=ClusterError)
            if self._weights is not None and started:
                weights, version = self._weights
                what = f"loading policy version {version} into new rollout workers"
                _, unloaded = self._call(started, "load", what, weights, version, limit_s=limit_s)
                lost = {**lost, **unloaded}

    def _replace_actors(self, lost: Mapping[int, str], then: str) -> None:
        """Creates new actors for lost ones; `start` is not called yet."""
        self._warmed_up.difference_update(lost)
        self._workers.replace({worker: f"rollout-{worker} {why}" for worker, why in lost.items()}, then)
