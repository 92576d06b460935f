"""Decides which parts share scoring processes, and defines the interface to them (Ray actors or child processes)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rlkit.recipe.schema.reward_section import RewardKeys
from rlkit.records import Group
from rlkit.scoring.combine import PartScores
from rlkit.scoring.processes.scoring_worker import StartReply


@dataclass(frozen=True)
class WorkerSpec:
    """The workers of one pool: their parts, number and resources."""

    parts: tuple[str, ...]
    """In the recipe's order."""
    num_workers: int
    gpus: float = 0.0
    """GPUs of each process; 0: no GPU is visible to it."""
    groups_per_call: int = 1
    """Groups sent in one call, if the plugin can score several."""


def worker_specs(reward: RewardKeys) -> list[WorkerSpec]:
    """One spec for the parts that share workers, if any, then one for each part that has its own workers."""
    own = reward.own_actors
    shared = tuple(name for name in reward.parts if name not in own)
    found = [WorkerSpec(shared, reward.runtime.num_workers)] if shared else []
    return found + [WorkerSpec((name,), a.num_workers, a.gpus, a.groups_per_call) for name, a in own.items()]


class WorkerLost(Exception):
    """A scoring process died; the message is the reason."""


class WorkerProcesses(Protocol):
    """Starts, calls and kills processes that each run a `ScoringWorker`. A handle identifies a process."""

    calls_per_worker: int
    """Calls that one process may hold: one running and the others queued, so that the process is never idle."""

    def start(self, count: int) -> list[tuple[Any, StartReply]]:
        """Starts processes and waits until they are ready. Returns (handle, reply) of each.

        Raises:
            PluginError: a plugin cannot be built.
            ClusterError: a process does not start in time.
        """

    def submit(self, handle: Any, groups: tuple[Group, ...], parts: tuple[str, ...]) -> Any:
        """Sends a call without waiting. Returns an identifier of the call for `wait` and `result`."""

    def wait(self, calls: Sequence[Any], timeout_s: float) -> set[Any]:
        """The calls that are finished or whose process has died; waits at most `timeout_s` for the first."""

    def result(self, call: Any) -> list[PartScores]:
        """The scores of each group of a finished call.

        Raises:
            WorkerLost: the process died.
        """

    def kill(self, handle: Any) -> None:
        """Kills a process, even if it hangs."""
