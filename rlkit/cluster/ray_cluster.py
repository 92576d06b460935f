"""Ray at the edge: starting it, and waiting for it with a deadline and a sentence.

Every wait in rlkit goes through `get` or has a deadline of its own, so nothing waits for ever.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any

import ray
from ray.exceptions import GetTimeoutError, ObjectLostError, RayError, RayTaskError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rlkit.cluster.jobs import check_address
from rlkit.cluster.layout import lack
from rlkit.cluster.orphans import GOODBYE, watched
from rlkit.cluster.ray_folder import make_folder
from rlkit.errors import ActorDied, ActorLost, ClusterError, RlkitError, ValueLost
from rlkit.recipe.schema import ClusterKeys

HEARTBEAT_S = 30.0
"""Seconds of waiting between two lines about it."""
HEARTBEAT = logging.getLogger("rlkit.waiting")
FETCH_S = 600.0
"""Longest time for a finished call's result to get here, in seconds."""
LONGEST_PAUSE_S = 60.0
"""Before a lost actor is replaced, in seconds."""
_held: list[tuple[IO[str], subprocess.Popen[bytes]]] = []
"""While a local Ray runs: the lock on its folder, and the program that ends what this process leaves of it."""


def start_ray(keys: ClusterKeys, address: str | None, hear: Callable[[], None] = lambda: None) -> None:
    """Connects to a Ray cluster, or starts a local one that ends with this process.

    Args:
        keys: The recipe's section.
        address: Instead of the recipe's.
        hear: Puts the caller's signal handlers back: Ray sets one of its own. SIGTERM waits until then.

    Raises:
        ClusterError: Ray does not start or the address does not answer.
    """
    address = address or keys.address
    if address:
        check_address(address)
    # Ray fills the driver's terminal with its own lines; rlkit says what matters.
    os.environ.setdefault("RAY_DEDUP_LOGS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A record of every call that ever was, kept in memory by Ray's servers; nobody here reads it.
    os.environ.setdefault("RAY_task_events_report_interval_ms", "0")
    # Ray's 15 lets anything on the machine go before the actors, which are what the machine is here for.
    os.environ.setdefault("RAY_worker_niceness", "0")
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    try:
        with _deaf(hear):
            if address:
                ray.init(address=address, **common)
            else:
                _start_local_ray(keys, common)
    except Exception as e:  # Ray raises its own errors, Python's, and bare Exceptions
        where, check = "a local Ray", "look whether the machine is overloaded or its memory or /tmp is full"
        if address:
            where, check = f"the Ray cluster at {address}", "check cluster.address"
        raise ClusterError(f"{where} cannot be used: {_first_line(e)}; {check}, and try again") from e


def _start_local_ray(keys: ClusterKeys, common: dict[str, Any]) -> None:
    folder, lock = make_folder()
    with watched() as watch:
        _held.append((lock, watch))
        ray.init(
            address="local",
            include_dashboard=False,
            num_cpus=os.cpu_count(),
            object_store_memory=keys.store_mb * 2**20,
            _temp_dir=str(folder),
            **common,
        )


@contextmanager
def _deaf(hear: Callable[[], None]) -> Iterator[None]:
    """This process hears SIGTERM after the block only, once `hear` was called.

    What is started inside, and what that starts, does not hear it at all (see `let_children_hear`).

    Slurm and systemd send it to every process of a job: Ray and the actors have to be there while the driver, which
    does hear it, saves.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    heard = False
    try:
        yield
    except SystemExit:  # of Ray's handler: another thread of this process heard it
        heard = True
    finally:
        hear()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if heard:
        signal.raise_signal(signal.SIGTERM)


def let_children_hear() -> None:
    """In an actor that was started deaf to SIGTERM: it stays so, but what it starts from here on hears it again.

    A signal mask is inherited by whatever is started, a handler is not. Has to be called in the main thread.
    """
    if signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ()):
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def stop_ray() -> None:
    """Ends the local cluster, or leaves the one that was joined."""
    if ray.is_initialized():
        if _held:  # what it starts does not hear the SIGTERM that its shutdown would give each process a second for
            for entry in chain(*ray._private.worker._global_node.all_processes.values()):
                entry.process.terminate = entry.process.kill
        ray.shutdown()
    while _held:
        lock, watch = _held.pop()
        lock.close()
        watch.communicate(GOODBYE)


def node_address() -> str:
    """The address of the node that this process runs on."""
    return str(ray.util.get_node_ip_address())


def check_sees(file: Path, content: bytes, who: str) -> None:
    """In an actor: whether its node has the driver's folders. What is saved elsewhere would be missing from the run.

    Raises:
        ClusterError: the file is not there, or another one.
    """
    if not file.exists() or file.read_bytes() != content:
        raise ClusterError(
            f"{who} on node {node_address()} does not see the run folder {file.parent}: "
            "on several nodes run.dir has to be a folder that all of them share"
        )


def get(ref: Any, *, timeout_s: float, what: str) -> Any:
    """The value of one Ray reference or a list of them.

    Args:
        ref: What to wait for.
        timeout_s: Longest wait, in seconds.
        what: The work, for the message: "the update of step 3".

    Raises:
        ActorLost: the deadline passed, or (ActorDied) the actor or its node died.
        ValueLost: what the work was given in the object store is gone.
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
        raise ActorDied(f"{what} was lost: its process or node died ({_first_line(e)})") from e


def get_each(refs: Sequence[Any], *, timeout_s: float, what: str) -> list[Any | ClusterError]:
    """As `get` of calls to several actors, under one deadline: of each its value, or what it would raise."""
    ready = wait(refs, num_returns=len(refs), timeout_s=timeout_s, what=what)
    late = ActorLost(f"{what} took more than {timeout_s:g} s (a deadline that the recipe sets)")
    return [_outcome(ref, what) if ref in ready else late for ref in refs]


def _outcome(ref: Any, what: str) -> Any | ClusterError:
    try:
        return get(ref, timeout_s=FETCH_S, what=what)
    except ClusterError as e:
        return e


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
        HEARTBEAT.info("still waiting, %.0f s of at most %g: %s", time.monotonic() - began, timeout_s, what)


def reserve(bundles: Sequence[Mapping[str, float]], strategy: str, *, timeout_s: float) -> Any:
    """A Ray placement group with these bundles, once all of them are there.

    Raises:
        ClusterError: they are not within `timeout_s`; it says what was asked for and what there is.
    """
    wanted = [dict(bundle) for bundle in bundles]
    group = placement_group(wanted, strategy=strategy)
    began, told = time.monotonic(), 0.0
    # In short waits, between which Ctrl-C is heard.
    while not group.wait(1):
        waited = time.monotonic() - began
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        why = lack(wanted, strategy, nodes, ray.available_resources())
        if waited > timeout_s:
            release(group)
            raise ClusterError(
                f"the cluster had no room for the actors within cluster.start_timeout_s={timeout_s:g}: {why}; lower "
                "num_workers or gpus_per_worker (of rollout or learner) or cluster.cpus_per_actor, or choose another "
                "cluster.strategy"
            )
        if waited - told >= HEARTBEAT_S:
            told = waited
            HEARTBEAT.info("waiting for room in the cluster: %.0f s of at most %g: %s", waited, timeout_s, why)
    return group


def bundle_options(group: Any, index: int) -> dict[str, Any]:
    """Options of an actor that is to run in one bundle of a placement group."""
    strategy = PlacementGroupSchedulingStrategy(
        placement_group=group,
        placement_group_bundle_index=index,
        placement_group_capture_child_tasks=False,
    )
    return {"scheduling_strategy": strategy}


def release(group: Any) -> None:
    """Gives a placement group's resources back."""
    remove_placement_group(group)


class Restarts:
    """How many lost actors of a kind may still be replaced, and how long to wait before it.

    The first is replaced at once; where nothing worked since, the next after 1 s, 2 s, 4 s ... and at most a minute.

    Args:
        most: Replacements in all.
        key: The recipe key that says so.
    """

    def __init__(self, most: int, key: str) -> None:
        self._left = most
        self._key = key
        self._in_a_row = 0

    def take(self, lost: Sequence[str]) -> None:
        """One replacement for each loss ("rollout-0 died"), all after one wait.

        Raises:
            ClusterError: that is more than may still be replaced.
        """
        if len(lost) > self._left:
            raise ClusterError(f"{'; '.join(lost)}, and {self._key} replacements are used up")
        self._left -= len(lost)
        if self._in_a_row:
            pause_s = min(LONGEST_PAUSE_S, 2.0 ** (self._in_a_row - 1))
            HEARTBEAT.info("%s: starting anew in %g s", "; ".join(lost), pause_s)
            time.sleep(pause_s)
        self._in_a_row += 1

    def worked(self) -> None:
        """Something was done since the last replacement: the next one is made at once."""
        self._in_a_row = 0


def remote_error(error: RayTaskError, what: str) -> RlkitError:
    """What an actor raised, as one of ours: its own RlkitError, or a ClusterError that names the first cause."""
    cause = error.cause
    if isinstance(cause, RlkitError):
        return type(cause)(*cause.args)
    if isinstance(cause, ObjectLostError):
        return ValueLost(f"{what} lacks what it was given: the node that held it died ({_first_line(cause)})")
    return ClusterError(f"{what} failed: {type(cause).__name__}: {_first_line(cause)}")


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
