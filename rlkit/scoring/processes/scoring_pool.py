"""Scores on Ray actors, for a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from rlkit.cluster.calls import first_line, wait_for_any
from rlkit.cluster.orphans import end_children_with_this_process
from rlkit.cluster.ray_start import unblock_sigterm_in_children
from rlkit.cluster.supervisor import ActorKind, Supervisor
from rlkit.cluster.thread_env import thread_env
from rlkit.errors import PluginError, RlkitError
from rlkit.recipe.schema.reward_section import RewardKeys
from rlkit.records import Group
from rlkit.scoring.combine import PartScores
from rlkit.scoring.processes.schedule import GroupScheduler
from rlkit.scoring.processes.scoring_worker import StartReply
from rlkit.scoring.processes.worker_processes import WorkerLost, WorkerSpec

_GET_TIMEOUT_S = 60.0


class ScoringActor:
    """A `ScoringWorker` as a Ray actor. A plugin's failure is returned by `ready`: raised here, Ray would wrap it."""

    def __init__(self, reward: RewardKeys, base_dir: str, parts: Sequence[str]) -> None:
        from rlkit.scoring.processes.scoring_worker import ScoringWorker

        unblock_sigterm_in_children()
        # Ray does not end processes that plugins start.
        self._killer = end_children_with_this_process()
        try:
            self._worker = ScoringWorker(reward, base_dir, parts)
            self._start_reply = self._worker.start_reply
        except PluginError as e:
            self._start_reply = StartReply(str(e))

    def ready(self) -> StartReply:
        """The parts, or the reason why they could not be built."""
        return self._start_reply

    def score(self, groups: Sequence[Group], parts: Sequence[str]) -> list[PartScores]:
        """See ScoringWorker.score."""
        return self._worker.score(groups, parts)


@dataclass
class RayActors:
    """`WorkerProcesses` as Ray actors."""

    reward: RewardKeys
    base_dir: str
    spec: WorkerSpec
    num_cpus: float
    start_timeout_s: float
    calls_per_worker: int = 4

    def start(self, count: int) -> list[tuple[Any, StartReply]]:
        """See `WorkerProcesses`."""
        args = (self.reward, self.base_dir, self.spec.parts)
        gpus, options = self.spec.gpus, {"num_cpus": self.num_cpus}
        kind = ActorKind(ScoringActor, env=thread_env(1, gpus), gpus=gpus, args=args, options=lambda number: options)
        supervisor = Supervisor(kind, count)
        what = f"starting a scoring actor ({', '.join(self.spec.parts)})"
        try:
            replies = supervisor.call("ready", timeout_s=self.start_timeout_s, what=what)
            return [(supervisor.actors[number], _started(reply)) for number, reply in replies.items()]
        except BaseException:
            supervisor.close()
            raise

    def submit(self, handle: Any, groups: tuple[Group, ...], parts: tuple[str, ...]) -> Any:
        """See `WorkerProcesses`; a call is a Ray reference."""
        return handle.score.remote(groups, parts)

    def wait(self, calls: Sequence[Any], timeout_s: float) -> set[Any]:
        """See `WorkerProcesses`."""
        return set(wait_for_any(calls, timeout_s=timeout_s, what="scores"))

    def result(self, call: Any) -> list[PartScores]:
        """See `WorkerProcesses`."""
        try:
            scores: list[PartScores] = ray.get(call, timeout=_GET_TIMEOUT_S)
        except RayTaskError as e:
            # `GuardedPlugin` catches what plugins raise; this is a failure of the process, such as lack of memory.
            raise WorkerLost(f"{type(e.cause).__name__}: {e.cause}") from e
        except RayError as e:
            raise WorkerLost(first_line(e)) from e
        return scores

    def kill(self, handle: Any) -> None:
        """See `WorkerProcesses`."""
        ray.kill(handle)


def _started(reply: StartReply | RlkitError) -> StartReply:
    if isinstance(reply, RlkitError):
        raise reply
    if reply.failure:
        raise PluginError(reply.failure)
    return reply


class ScoringPool(GroupScheduler):
    """Scores groups on Ray actors: `reward.runtime.num_workers`, and those of each part that has its own.

    Args:
        reward: the recipe's section.
        base_dir: folder that `./file.py:Class` plugins are relative to.
        num_cpus: CPUs that Ray reserves for an actor.
        start_timeout_s: longest wait for one actor to start, in seconds.
        on_event: called with (kind, text) for each actor that is replaced.

    Raises:
        PluginError: a plugin cannot be built.
        ClusterError: an actor does not start in time.
    """

    def __init__(
        self,
        reward: RewardKeys,
        base_dir: Path,
        *,
        num_cpus: float = 0,
        start_timeout_s: float = 300,
        on_event: Callable[[str, str], None] = lambda kind, text: None,
    ) -> None:
        folder = str(Path(base_dir).resolve())
        super().__init__(lambda spec: RayActors(reward, folder, spec, num_cpus, start_timeout_s), reward, on_event)
