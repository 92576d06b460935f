"""Creates Ray actors of one kind, calls them with a deadline, replaces lost ones, and ends them.

The caller prepares a new actor: loads weights, sends its requests again, or loads a checkpoint.
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
    """How to create an actor of one kind."""

    actor_class: type
    """A plain class; its methods can be called remotely."""
    env: Mapping[str, str]
    """Environment variables of its process (`thread_env` and more)."""
    gpus: float = 0.0
    """GPUs that Ray reserves for each."""
    args: tuple[Any, ...] = ()
    """Arguments of the class."""
    options: Callable[[int], Mapping[str, Any]] = field(default=lambda number: {"num_cpus": 0})
    """Ray's other options for the actor with a number: CPUs, placement."""

    def create(self, number: int) -> Any:
        """Creates an actor and returns its Ray handle at once; if the creation fails, the first call raises."""
        options = {"num_gpus": self.gpus, "runtime_env": {"env_vars": dict(self.env)}, **self.options(number)}
        return ray.remote(self.actor_class).options(**options).remote(*self.args)


class Supervisor:
    """Manages `count` actors of a kind, numbered from 0.

    Args:
        kind: How to create them.
        count: Number of actors.
        restarts: Limits their replacement; None: they are never replaced.
        on_replace: Called with a text before each replacement.
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
        """Ray handles by number; empty after `close`."""

    def call(
        self, method: str, *args: Any, timeout_s: float, what: str, numbers: Collection[int] | None = None
    ) -> dict[int, Any | RlkitError]:
        """Calls several actors at once, with one common deadline.

        Args:
            method: Name of a method of the actors' class.
            args: Its arguments, or Ray references to them.
            timeout_s: Longest wait, in seconds.
            what: The work, for messages.
            numbers: Numbers of the actors; None: all.

        Returns:
            For each number the result or the error: ActorDied if the actor is gone, ActorLost if it is late, or another
            error of `rlkit.cluster.calls.get`.
        """
        refs = self.submit(method, *args, numbers=numbers)
        return dict(zip(refs, get_each(list(refs.values()), timeout_s=timeout_s, what=what), strict=True))

    def submit(self, method: str, *args: Any, numbers: Collection[int] | None = None) -> dict[int, Any]:
        """Like `call`, but does not wait; returns a Ray reference to each result, by number."""
        shared = [arg if isinstance(arg, ray.ObjectRef) else ray.put(arg) for arg in args]
        chosen = sorted(self.actors) if numbers is None else numbers
        return {number: getattr(self.actors[number], method).remote(*shared) for number in chosen}

    def check_restarts(self, lost: Sequence[str]) -> None:
        """Checks that enough replacements are left.

        Raises:
            ClusterError: there are more losses than replacements left.
        """
        self._restarts.check(lost)

    def replace(self, lost: Mapping[int, str], then: str) -> None:
        """Replaces lost actors by new ones.

        Args:
            lost: For each number, the reason with the actor's name: "rollout-0 died".
            then: The next action, for the event's text.

        Raises:
            ClusterError: there are more losses than replacements left.
        """
        self._replace(lost, list(lost.values()), then)

    def replace_all(self, why: str, then: str) -> None:
        """Replaces all actors for one reason; counts as one replacement. See `replace`."""
        self._replace(range(self._count), [why], then)

    def _replace(self, numbers: Collection[int], reasons: Sequence[str], then: str) -> None:
        for reason in reasons:
            self._on_replace(f"{reason}; {then}")
        for number in numbers:
            self._kill(number)
        self._restarts.consume(reasons)
        for number in numbers:
            self.actors[number] = self._kind.create(number)

    def reset_backoff(self) -> None:
        """Call this when the actors have done some work: the next replacement has no pause."""
        self._restarts.reset_backoff()

    def close(self) -> None:
        """Ends the actors."""
        for number in list(self.actors):
            self._kill(number)

    def _kill(self, number: int) -> None:
        actor = self.actors.pop(number, None)
        if actor is not None:
            ray.kill(actor)
