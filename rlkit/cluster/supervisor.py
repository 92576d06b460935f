"""Ray actors of one kind: created, called with a deadline, replaced where they are lost, ended.

What an actor does after it was replaced (load weights, draw again, take up a checkpoint) is the caller's business.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray

from rlkit.cluster.calls import get_each
from rlkit.cluster.restarts import Restarts
from rlkit.errors import RlkitError


@dataclass(frozen=True)
class ActorKind:
    """How an actor of one kind is created."""

    actor_class: type
    """A plain class; its methods are the calls."""
    env: Mapping[str, str]
    """Environment variables of its process (`thread_env` and more)."""
    gpus: float = 0.0
    """GPUs that Ray reserves for each."""
    args: tuple[Any, ...] = ()
    """Of the class."""
    options: Callable[[int], Mapping[str, Any]] = field(default=lambda number: {"num_cpus": 0})
    """Ray's further options, of each number: CPUs, placement."""

    def create(self, number: int) -> Any:
        """The Ray handle of a new actor. Returns at once; whether it could be created, its first call tells."""
        options = {"num_gpus": self.gpus, "runtime_env": {"env_vars": dict(self.env)}, **self.options(number)}
        return ray.remote(self.actor_class).options(**options).remote(*self.args)


class Supervisor:
    """`count` actors of a kind, numbered from 0.

    Args:
        kind: How they are created.
        count: How many.
        restarts: How many may be replaced.
        on_replace: Told of every replacement, before it is made.
    """

    def __init__(
        self,
        kind: ActorKind,
        count: int,
        *,
        restarts: Restarts | None = None,
        on_replace: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._kind = kind
        self._count = count
        self._restarts = restarts or Restarts(0, "")
        self._on_replace = on_replace
        self.actors: dict[int, Any] = {number: kind.create(number) for number in range(count)}
        """Ray's handles, by number; none after `close`."""

    def call(
        self, method: str, *args: Any, timeout_s: float, what: str, numbers: Collection[int] | None = None
    ) -> dict[int, Any | RlkitError]:
        """One call of several actors at once, under one deadline.

        Args:
            method: Of the actors' class.
            args: Its arguments, or references to them.
            timeout_s: Longest wait, in seconds.
            what: The work, for messages.
            numbers: Of the actors; None: all of them.

        Returns:
            By number what came back, or the error: ActorDied where the actor is gone, ActorLost where it is late, what
            else `rlkit.cluster.calls.get` raises.
        """
        refs = self.submit(method, *args, numbers=numbers)
        return dict(zip(refs, get_each(list(refs.values()), timeout_s=timeout_s, what=what), strict=True))

    def submit(self, method: str, *args: Any, numbers: Collection[int] | None = None) -> dict[int, Any]:
        """As `call`, without waiting: a reference to each result, by number."""
        shared = [arg if isinstance(arg, ray.ObjectRef) else ray.put(arg) for arg in args]
        chosen = sorted(self.actors) if numbers is None else numbers
        return {number: getattr(self.actors[number], method).remote(*shared) for number in chosen}

    def check_restarts(self, lost: Sequence[str]) -> None:
        """Whether so many may still be replaced.

        Raises:
            ClusterError: they may not.
        """
        self._restarts.check(lost)

    def replace(self, lost: Mapping[int, str], then: str) -> None:
        """New actors in place of lost ones.

        Args:
            lost: By number how it was lost, with its name: "rollout-0 died".
            then: What is done next, for the event.

        Raises:
            ClusterError: that is more than may still be replaced.
        """
        self._replace(lost, list(lost.values()), then)

    def replace_all(self, why: str, then: str) -> None:
        """New actors in place of all, for one reason; counts as one replacement. See `replace`."""
        self._replace(range(self._count), [why], then)

    def _replace(self, numbers: Collection[int], reasons: Sequence[str], then: str) -> None:
        for reason in reasons:
            self._on_replace(f"{reason}; {then}")
        for number in numbers:
            self._kill(number)
        self._restarts.take(reasons)
        for number in numbers:
            self.actors[number] = self._kind.create(number)

    def worked(self) -> None:
        """The actors did something since the last replacement: the next one is made at once."""
        self._restarts.worked()

    def close(self) -> None:
        """Ends the actors."""
        for number in list(self.actors):
            self._kill(number)

    def _kill(self, number: int) -> None:
        actor = self.actors.pop(number, None)
        if actor is not None:
            ray.kill(actor)
