"""The processes that score: which parts share some, and what a kind of processes has to offer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rlkit.recipe.schema.reward_section import RewardKeys
from rlkit.records import Group
from rlkit.scoring.processes.scoring_worker import Ready, WorkerReply


@dataclass(frozen=True)
class Place:
    """Which parts share processes, and how many processes of what kind."""

    parts: tuple[str, ...]
    """In the recipe's order."""
    num_workers: int
    gpus: float = 0.0
    """Of each process; 0: it sees none."""
    groups_per_call: int = 1
    """Groups that one call may hold, where the plugin takes several."""


def places(reward: RewardKeys) -> list[Place]:
    """One place for the parts that share the scorers, if there are any, then one for each part with its own actors."""
    own = reward.own_actors
    shared = tuple(name for name in reward.parts if name not in own)
    found = [Place(shared, reward.runtime.num_workers)] if shared else []
    return found + [Place((name,), a.num_workers, a.gpus, a.groups_per_call) for name, a in own.items()]


class WorkerLost(Exception):
    """A scoring process died; the message says how."""


class Workers(Protocol):
    """How processes that hold a `Scorer` each are started, asked and ended, by handles of their own kind."""

    depth: int
    """Calls queued on one process, so that it works on while the driver does something else."""

    def start(self, count: int) -> list[tuple[Any, Ready]]:
        """New processes, ready.

        Raises:
            PluginError: a plugin cannot be built.
            ClusterError: a process does not start in time.
        """

    def submit(self, handle: Any, groups: tuple[Group, ...], parts: tuple[str, ...]) -> Any:
        """Hands over groups, for some parts; returns a ticket."""

    def wait(self, tickets: Sequence[Any], timeout_s: float) -> set[Any]:
        """The tickets that have a result or a dead process, waiting at most so long for the first."""

    def result(self, ticket: Any) -> WorkerReply:
        """What came back.

        Raises:
            WorkerLost: the process died.
        """

    def kill(self, handle: Any) -> None:
        """Ends a process, whatever it does."""
