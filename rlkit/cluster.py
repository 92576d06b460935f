"""Ray at the edge: starting it, and waiting for it with a deadline and a sentence.

Every wait in rlkit goes through `get` or has a deadline of its own, so nothing waits for ever.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from rlkit.errors import ActorLost, ClusterError, RlkitError, UsageError
from rlkit.recipe.schema import Cluster

HEARTBEAT_S = 30.0
"""Seconds of waiting between two lines about it."""
HEARTBEAT = logging.getLogger("rlkit.waiting")
FETCH_S = 600.0
"""Longest time for a finished call's result to get here, in seconds."""


def start_ray(keys: Cluster, address: str | None) -> None:
    """Connects to a Ray cluster, or starts a local one that ends with this process.

    Raises:
        ClusterError: Ray does not start or the address does not answer.
    """
    address = address or keys.address
    if address and address.startswith("ray://"):
        raise UsageError(
            f"cluster.address = {address}: Ray Client cannot stream samples; start rlkit on a node of the cluster with "
            "--address auto, or submit it there with `ray job submit`"
        )
    # Ray fills the driver's terminal with its own lines; rlkit says what matters.
    os.environ.setdefault("RAY_DEDUP_LOGS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    try:
        if address:
            ray.init(address=address, **common)
        else:
            ray.init(
                address="local",
                include_dashboard=False,
                num_cpus=os.cpu_count(),
                object_store_memory=keys.object_store_mb * 2**20,
                **common,
            )
    except (RayError, ConnectionError, RuntimeError, ValueError, OSError) as e:
        where = f"the Ray cluster at {address}" if address else "a local Ray"
        raise ClusterError(f"{where} cannot be used: {_first_line(e)}; check cluster.address, memory and /tmp") from e


def stop_ray() -> None:
    """Ends the local cluster, or leaves the one that was joined."""
    if ray.is_initialized():
        ray.shutdown()


def get(ref: Any, *, timeout_s: float, what: str) -> Any:
    """The value of one Ray reference or a list of them.

    Args:
        ref: What to wait for.
        timeout_s: Longest wait, in seconds.
        what: The work, for the message: "the update of step 3".

    Raises:
        ActorLost: the deadline passed, or the actor or its node died.
        ClusterError: the work failed by something unforeseen.
        RlkitError: whatever the actor itself raised for the user.
    """
    refs = ref if isinstance(ref, list) else [ref]
    if len(wait(refs, num_returns=len(refs), timeout_s=timeout_s, what=what)) < len(refs):
        raise ActorLost(f"{what} took more than {timeout_s:g} s (a deadline that the recipe sets)")
    try:
        return ray.get(ref, timeout=FETCH_S)
    except GetTimeoutError:
        raise ActorLost(f"{what} is done, but its result did not arrive within {FETCH_S:g} s") from None
    except RayTaskError as e:
        raise remote_error(e, what) from e
    except RayError as e:
        raise ActorLost(f"{what} was lost: its process or node died ({_first_line(e)})") from e


def wait(refs: Sequence[Any], *, num_returns: int, timeout_s: float, what: str) -> list[Any]:
    """`ray.wait` that says now and then what it waits for.

    Returns:
        The references that are ready, once `num_returns` of them are or the time is over.
    """
    began = time.monotonic()
    while True:
        left = timeout_s - (time.monotonic() - began)
        ready, _ = ray.wait(list(refs), num_returns=num_returns, timeout=max(0.0, min(HEARTBEAT_S, left)))
        if len(ready) >= num_returns or left <= HEARTBEAT_S:
            return list(ready)
        HEARTBEAT.info("waiting for %s: %.0f s of at most %g", what, time.monotonic() - began, timeout_s)


def remote_error(error: RayTaskError, what: str) -> RlkitError:
    """What an actor raised, as one of ours: its own RlkitError, or a ClusterError that names the first cause."""
    cause = error.cause
    if isinstance(cause, RlkitError):
        return type(cause)(*cause.args)
    return ClusterError(f"{what} failed: {type(cause).__name__}: {_first_line(cause)}")


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
