"""Ray actors, one engine each: prompts are spread, groups come back as they finish, a dead engine is replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError, RayTaskError

from rlkit.cluster import get, remote_error, wait
from rlkit.errors import ActorLost, ClusterError
from rlkit.records import Group
from rlkit.rollout.engine import EngineSpec, engine_env
from rlkit.rollout.request import DrawRequest

if TYPE_CHECKING:
    from rlkit.rollout.engine import Engine


class RolloutWorker:
    """The actor's side: one engine."""

    engine: Engine

    def start(self, spec: EngineSpec) -> None:
        """Builds the engine. Not in __init__: Ray hides the cause of what fails there."""
        import torch

        from rlkit.rollout.engine import Engine

        if not spec.on_gpu:
            torch.set_num_threads(spec.keys.threads)
        self.engine = Engine(spec)

    def draw(self, requests: Sequence[DrawRequest]) -> Iterator[tuple[int, Group]]:
        """Streams (index, group) as groups finish."""
        yield from self.engine.draw(requests)

    def draw_all(self, requests: Sequence[DrawRequest]) -> list[Group]:
        """All groups at once, in the requests' order."""
        return [group for _, group in sorted(self.engine.draw(requests), key=lambda pair: pair[0])]

    def load(self, weights: Any, version: int) -> int:
        """Takes new weights; answers with the version it now holds."""
        from rlkit.weight_sync import load_into_engine

        self.engine.abort()
        load_into_engine(self.engine.llm, weights)
        self.engine.policy_version = version
        return version


class RolloutPool:
    """The driver's side: spreads requests over the workers."""

    def __init__(
        self,
        spec: EngineSpec,
        *,
        start_timeout_s: float,
        max_restarts: int,
        on_event: Callable[[str, str], None],
    ) -> None:
        self._spec = spec
        self._start_timeout_s = start_timeout_s
        self._restarts_left = max_restarts
        self._on_event = on_event
        self._weights: tuple[Any, int] | None = None
        self._workers = [self._spawn() for _ in range(spec.keys.num_workers)]
        self._await_start(self._workers)

    def draw(self, requests: Sequence[DrawRequest]) -> Iterator[tuple[int, Group]]:
        """Yields (request.index, group) in the order of finishing; every request exactly once.

        A worker that dies or gives nothing for rollout.timeout_s is replaced, gets the current weights, and its
        unfinished groups are drawn again from the same seeds, so that the samples do not change.

        Raises:
            ClusterError: cluster.max_restarts is used up.
        """
        count = len(self._workers)
        waiting = {w: {r.index: r for r in requests[w::count]} for w in range(count)}
        streams = {w: self._stream(w, todo) for w, todo in waiting.items() if todo}
        while streams:
            what = f"the next group ({sum(map(len, waiting.values()))} to come)"
            ready = wait(list(streams.values()), num_returns=1, timeout_s=self._spec.keys.timeout_s, what=what)
            if not ready:
                for w in list(streams):
                    self._replace(w, f"gave no group for {self._spec.keys.timeout_s:g} s")
                    streams[w] = self._stream(w, waiting[w])
                continue
            worker = next(w for w, stream in streams.items() if stream is ready[0])
            try:
                index, group = ray.get(next(ready[0]), timeout=self._spec.keys.timeout_s)
            except StopIteration:
                del streams[worker]
                continue
            except RayTaskError as e:
                raise remote_error(e, f"sampling on rollout-{worker}") from e
            except RayError:
                self._replace(worker, "died")
                streams[worker] = self._stream(worker, waiting[worker])
                continue
            del waiting[worker][index]
            yield index, group

    def draw_on_each(self, requests: Sequence[DrawRequest]) -> list[list[Group]]:
        """Every worker draws all requests (the parity canary); one list a worker, in the requests' order."""
        found: list[list[Group]] = self._on_each("draw_all", "the canary of the parity gate", requests)
        return found

    def load(self, weights: Any, version: int) -> None:
        """Gives every worker the weights (a Ray reference) and keeps them for replacements."""
        self._weights = (weights, version)
        self._on_each("load", f"loading policy version {version} into the engines", weights, version)

    def _on_each(self, method: str, what: str, *args: Any) -> list[Any]:
        """One call on every worker, all at once; a worker that is lost is replaced and asked again."""
        refs = [getattr(worker, method).remote(*args) for worker in self._workers]
        results = []
        for worker, ref in enumerate(refs):
            while True:
                try:
                    results.append(get(ref, timeout_s=self._spec.keys.timeout_s, what=what))
                    break
                except ActorLost as e:
                    self._replace(worker, f"was lost ({e})")
                    ref = getattr(self._workers[worker], method).remote(*args)
        return results

    def close(self) -> None:
        """Ends the workers."""
        for worker in self._workers:
            ray.kill(worker)
        self._workers = []

    def _stream(self, worker: int, todo: dict[int, DrawRequest]) -> Any:
        return self._workers[worker].draw.options(num_returns="streaming").remote(list(todo.values()))

    def _spawn(self) -> Any:
        actor = ray.remote(RolloutWorker).options(
            num_cpus=0,
            num_gpus=self._spec.keys.gpus,
            runtime_env={"env_vars": engine_env(self._spec.keys)},
        )
        return actor.remote()

    def _await_start(self, workers: Sequence[Any]) -> None:
        what = f"starting {len(workers)} rollout worker(s) on {self._spec.model_path}"
        get([w.start.remote(self._spec) for w in workers], timeout_s=self._start_timeout_s, what=what)

    def _replace(self, worker: int, why: str) -> None:
        if self._restarts_left == 0:
            raise ClusterError(f"rollout-{worker} {why}, and cluster.max_restarts replacements are used up")
        self._restarts_left -= 1
        self._on_event("rollout_worker_replaced", f"rollout-{worker} {why}; its unfinished groups are drawn again")
        ray.kill(self._workers[worker])
        self._workers[worker] = self._spawn()
        self._await_start([self._workers[worker]])
        if self._weights is not None:
            weights, version = self._weights
            what = f"loading policy version {version} into the new rollout-{worker}"
            get(self._workers[worker].load.remote(weights, version), timeout_s=self._start_timeout_s, what=what)
