"""Which parts share scoring processes, and what a kind of processes (Ray actors, child processes) has to offer."""

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
    """The workers of one pool: for which parts, how many, and what each gets."""

    parts: tuple[str, ...]
    """In the recipe's order."""
    num_workers: int
    gpus: float = 0.0
    """Of each process; 0: it sees none."""
    groups_per_call: int = 1
    """Groups that go to a process together, where the plugin takes several."""


def worker_specs(reward: RewardKeys) -> list[WorkerSpec]:
    """One for the parts that share workers, if there are any, then one for each part with workers of its own."""
    own = reward.own_actors
    shared = tuple(name for name in reward.parts if name not in own)
    found = [WorkerSpec(shared, reward.runtime.num_workers)] if shared else []
    return found + [WorkerSpec((name,), a.num_workers, a.gpus, a.groups_per_call) for name, a in own.items()]


class WorkerLost(Exception):
    """A scoring process died; the message says how."""


class WorkerProcesses(Protocol):
    """Starts, calls and ends processes that hold a `ScoringWorker` each. A handle stands for a process."""

    calls_per_worker: int
    """Calls that one process may have at a time: one at work, the others queued, so that it need not wait for us."""

    def start(self, count: int) -> list[tuple[Any, StartReply]]:
        """New processes, ready: the handle of each, and what it answered.

        Raises:
            PluginError: a plugin cannot be built.
            ClusterError: a process does not start in time.
        """

    def submit(self, handle: Any, groups: tuple[Group, ...], parts: tuple[str, ...]) -> Any:
        """Sends a call, without waiting; returns what `wait` and `result` know it by."""

    def wait(self, calls: Sequence[Any], timeout_s: float) -> set[Any]:
        """The calls that have ended or whose process has, waiting at most so long for the first."""

    def result(self, call: Any) -> list[PartScores]:
        """The scores of each group of a call that has ended.

        Raises:
            WorkerLost: the process died.
        """

    def kill(self, handle: Any) -> None:
        """Ends a process, whatever it does."""
