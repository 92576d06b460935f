"""Scoring on Ray actors: the pool of a run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from rlkit.cluster.ray_cluster import get, let_children_hear
from rlkit.errors import PluginError
from rlkit.recipe.schema.reward_section import RewardKeys
from rlkit.records import Group
from rlkit.scoring.processes.place import Place, WorkerLost
from rlkit.scoring.processes.schedule import Dispatcher
from rlkit.scoring.processes.scoring_worker import Ready, WorkerReply, environment

_GET_TIMEOUT_S = 60.0
_GUARD = """
import os, signal, sys, time
actor = int(sys.argv[1])
while os.getppid() == actor:
    time.sleep(1)
try:
    os.killpg(actor, signal.SIGKILL)
except ProcessLookupError:
    pass
"""
"""Ends a process group once its first process, which started this program, is gone."""


class _Actor:
    """A `Scorer`, or the sentence that says why there is none: raised, it would come as a page of Ray's traceback."""

    def __init__(self, reward: RewardKeys, base_dir: str, parts: Sequence[str]) -> None:
        from rlkit.scoring.processes.scoring_worker import Scorer

        let_children_hear()
        _guard_children()
        self._failure = ""
        try:
            self._scorer = Scorer(reward, base_dir, parts)
        except PluginError as e:
            self._failure = str(e)

    def ready(self) -> Ready:
        """The parts, or why they could not be built."""
        return Ready(self._failure) if self._failure else self._scorer.ready

    def score(self, groups: Sequence[Group], parts: Sequence[str]) -> WorkerReply:
        """The scores of some parts."""
        return self._scorer.score(groups, parts)


def _guard_children() -> None:
    """From here on whatever this process's plugins start ends with it, however it ends (Ray would leave it behind)."""
    os.setpgid(0, 0)
    nowhere = subprocess.DEVNULL
    subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid())],
        stdin=nowhere,
        stdout=nowhere,
        stderr=nowhere,
        start_new_session=True,
    )


@dataclass
class RayWorkers:
    """The scoring actors of a place."""

    reward: RewardKeys
    base_dir: str
    place: Place
    num_cpus: float
    start_timeout_s: float
    depth: int = 4

    def start(self, count: int) -> list[tuple[Any, Ready]]:
        """See `Workers`."""
        handles = [self._spawn() for _ in range(count)]
        try:
            return [(handle, self._await_ready(handle)) for handle in handles]
        except BaseException:
            for handle in handles:
                self.kill(handle)
            raise

    def submit(self, handle: Any, groups: tuple[Group, ...], parts: tuple[str, ...]) -> Any:
        """See `Workers`."""
        return handle.score.remote(groups, parts)

    def wait(self, tickets: Sequence[Any], timeout_s: float) -> set[Any]:
        """See `Workers`."""
        ray.wait(list(tickets), num_returns=1, timeout=timeout_s)
        return set(ray.wait(list(tickets), num_returns=len(tickets), timeout=0)[0])

    def result(self, ticket: Any) -> WorkerReply:
        """See `Workers`."""
        try:
            reply: WorkerReply = ray.get(ticket, timeout=_GET_TIMEOUT_S)
        except RayTaskError as e:
            # Plugins raise within walls: what comes here is memory or the interpreter giving way under them.
            raise WorkerLost(f"{type(e.cause).__name__}: {e.cause}") from e
        except RayError as e:
            raise WorkerLost(str(e).strip().splitlines()[0]) from e
        return reply

    def kill(self, handle: Any) -> None:
        """See `Workers`."""
        ray.kill(handle)

    def _spawn(self) -> Any:
        options = {
            "max_restarts": 0,
            "max_concurrency": 1,
            "num_cpus": self.num_cpus,
            "num_gpus": self.place.gpus,
            "runtime_env": {"env_vars": environment(self.place.gpus)},
        }
        return ray.remote(_Actor).options(**options).remote(self.reward, self.base_dir, self.place.parts)

    def _await_ready(self, handle: Any) -> Ready:
        what = f"starting a scoring actor ({', '.join(self.place.parts)})"
        ready: Ready = get(handle.ready.remote(), timeout_s=self.start_timeout_s, what=what)
        if ready.failure:
            raise PluginError(ready.failure)
        return ready


class ScoringPool(Dispatcher):
    """Scores groups on Ray actors: `reward.runtime.num_workers`, and those of each part that has its own.

    Args:
        reward: the recipe's section.
        base_dir: folder that `./file.py:Class` plugins are relative to.
        num_cpus: CPUs that Ray reserves for an actor.
        start_timeout_s: longest wait for one actor to start, in seconds.
        on_event: told of every actor that had to be replaced.

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
        super().__init__(lambda place: RayWorkers(reward, folder, place, num_cpus, start_timeout_s), reward, on_event)
