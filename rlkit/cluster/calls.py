"""Waits for calls of Ray actors, with a deadline and regular log lines; errors name the work that was lost."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, ObjectLostError, RayError, RayTaskError

from rlkit.errors import ActorDied, ActorLost, ClusterError, RlkitError, ValueLost

HEARTBEAT_S = 30.0
"""Seconds between two log lines during a wait."""
HEARTBEAT = logging.getLogger("rlkit.waiting")
FETCH_S = 600.0
"""Longest time to transfer the result of a finished call, in seconds."""


def get(ref: Any, *, timeout_s: float, what: str) -> Any:
    """The value of one Ray reference or a list of them.

    Args:
        ref: What to wait for.
        timeout_s: Longest wait, in seconds.
        what: The work, for the message: "the update of step 3".

    Raises:
        ActorLost: the deadline passed; as ActorDied: the actor or its node died.
        ValueLost: an argument of the call in Ray's object store is gone.
        ClusterError: the actor raised an unexpected exception.
        RlkitError: the actor raised this error for the user.
    """
    refs = ref if isinstance(ref, list) else [ref]
    if len(wait(refs, num_returns=len(refs), timeout_s=timeout_s, what=what)) < len(refs):
        raise _late(what, timeout_s)
    try:
        return ray.get(ref, timeout=FETCH_S)
    except GetTimeoutError:
        raise ActorLost(f"{what} is done, but its result did not arrive within {FETCH_S:g} s") from None
    except RayTaskError as e:
        raise remote_error(e, what) from e
    except RayError as e:
        raise ActorDied(f"{what} was lost: its process or node died ({first_line(e)})") from e


def get_each(refs: Sequence[Any], *, timeout_s: float, what: str) -> list[Any | RlkitError]:
    """Like `get` for several calls with a common deadline; returns for each its value or the error of `get`."""
    done = wait(refs, num_returns=len(refs), timeout_s=timeout_s, what=what)
    return [get_outcome(ref, timeout_s=FETCH_S, what=what) if ref in done else _late(what, timeout_s) for ref in refs]


def get_outcome(ref: Any, *, timeout_s: float, what: str) -> Any | RlkitError:
    """Like `get`, but returns the error instead of raising it."""
    try:
        return get(ref, timeout_s=timeout_s, what=what)
    except RlkitError as e:
        return e


def get_next(stream: Any, *, timeout_s: float, what: str) -> Any:
    """The next item of a streaming call whose next item is ready.

    Raises:
        ActorDied: the actor or its node died.
        RlkitError: see `get`.
    """
    try:
        return ray.get(next(stream), timeout=timeout_s)
    except RayTaskError as e:
        raise remote_error(e, what) from e
    except (RayError, StopIteration) as e:
        raise ActorDied(f"{what} was lost: its process or node died") from e


def wait(refs: Sequence[Any], *, num_returns: int, timeout_s: float, what: str) -> list[Any]:
    """`ray.wait` that logs every `HEARTBEAT_S` seconds what it waits for.

    Returns:
        The references that are ready, as soon as `num_returns` of them are or the time is over.
    """
    began = time.monotonic()
    while True:
        left = timeout_s - (time.monotonic() - began)
        ready, _ = ray.wait(list(refs), num_returns=num_returns, timeout=max(0.0, min(HEARTBEAT_S, left)))
        if len(ready) >= num_returns or left <= HEARTBEAT_S:
            return list(ready)
        HEARTBEAT.info("still waiting, %.0f s of at most %g: %s", time.monotonic() - began, timeout_s, what)


def wait_for_any(refs: Sequence[Any], *, timeout_s: float, what: str) -> list[Any]:
    """All references that are ready, as soon as one of them is or the time is over."""
    wait(refs, num_returns=1, timeout_s=timeout_s, what=what)
    return wait(refs, num_returns=len(refs), timeout_s=0, what=what)


def remote_error(error: RayTaskError, what: str) -> RlkitError:
    """Converts an actor's exception: returns its RlkitError, or a ClusterError that names the cause."""
    cause = error.cause
    if isinstance(cause, RlkitError):
        return type(cause)(*cause.args)
    if isinstance(cause, ObjectLostError):
        return ValueLost(f"{what} lost its input: the node that held it died ({first_line(cause)})")
    return ClusterError(f"{what} failed: {type(cause).__name__}: {first_line(cause)}")


def first_line(error: BaseException) -> str:
    """The first line of an error's message; its type if the message is empty."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _late(what: str, timeout_s: float) -> ActorLost:
    return ActorLost(f"{what} took more than {timeout_s:g} s (a deadline set in the recipe)")
