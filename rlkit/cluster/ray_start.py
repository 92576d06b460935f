"""Connects to a Ray cluster or starts a local one, and stops it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import ray

from rlkit.cluster.calls import first_line
from rlkit.cluster.jobs import check_address
from rlkit.cluster.orphans import end_marked, mark_processes
from rlkit.cluster.ray_folder import make_folder
from rlkit.errors import ClusterError
from rlkit.recipe.schema import ClusterKeys

_local_ray: list[tuple[IO[str], subprocess.Popen[bytes]]] = []
"""While a local Ray runs: the lock on its folder, and the program that kills its processes (see `orphans`)."""


def start_ray(keys: ClusterKeys, address: str | None, restore_handlers: Callable[[], None] = lambda: None) -> None:
    """Connects to a Ray cluster, or starts a local one that ends with this process.

    Args:
        keys: The recipe's `cluster` section.
        address: Address to use instead of the recipe's; None: the recipe's.
        restore_handlers: Restores the caller's signal handlers, since Ray sets its own. SIGTERM is blocked until then.

    Raises:
        ClusterError: Ray does not start, or there is no cluster at the address.
    """
    address = address or keys.address
    if address:
        check_address(address)
    # Keep Ray's own lines out of the driver's terminal.
    os.environ.setdefault("RAY_DEDUP_LOGS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Turns off Ray's record of every call, which its servers keep in memory and rlkit does not use.
    os.environ.setdefault("RAY_task_events_report_interval_ms", "0")
    # Ray's default, 15, would give the actors, the main work of the machine, the lowest priority.
    os.environ.setdefault("RAY_worker_niceness", "0")
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    try:
        with _sigterm_blocked(restore_handlers):
            if address:
                ray.init(address=address, **common)
            else:
                _start_local_ray(keys, common)
    except Exception as e:  # Ray raises its own errors, Python's, and bare Exceptions
        where, check = "a local Ray", "check whether the machine is overloaded, or its memory or /tmp is full"
        if address:
            where, check = f"the Ray cluster at {address}", "check cluster.address"
        raise ClusterError(f"{where} cannot be used: {first_line(e)}; {check}, and try again") from e


def _start_local_ray(keys: ClusterKeys, common: dict[str, Any]) -> None:
    folder, lock = make_folder()
    with mark_processes() as killer:
        _local_ray.append((lock, killer))
        ray.init(
            address="local",
            include_dashboard=False,
            num_cpus=os.cpu_count(),
            object_store_memory=keys.store_mb * 2**20,
            _temp_dir=str(folder),
            **common,
        )


@contextmanager
def _sigterm_blocked(restore_handlers: Callable[[], None]) -> Iterator[None]:
    """Blocks SIGTERM inside the block, in this process and in the processes that it starts there.

    Slurm and systemd send SIGTERM to every process of a job. Only the driver must handle it: Ray and the actors must
    keep running while it saves, so they inherit the blocked signal (see `unblock_sigterm_in_children`). A SIGTERM
    during the block is delivered to the driver at its end, after `restore_handlers`.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    received = False
    try:
        yield
    except SystemExit:  # from Ray's handler: another thread of this process received the signal
        received = True
    finally:
        restore_handlers()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if received:
        signal.raise_signal(signal.SIGTERM)


def unblock_sigterm_in_children() -> None:
    """For actors, where SIGTERM is blocked: the actor still ignores it, but processes that it starts receive it.

    Child processes inherit the set of blocked signals but no handlers. So this sets a SIGTERM handler that does nothing
    and unblocks the signal. Call it in the main thread.
    """
    if signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ()):
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def stop_ray() -> None:
    """Stops the local Ray, or disconnects from the cluster."""
    locks = []
    while _local_ray:
        lock, killer = _local_ray.pop()
        # Before `ray.shutdown`, which would wait a second for each process to handle SIGTERM, which is blocked there.
        end_marked(killer)
        locks.append(lock)
    if ray.is_initialized():
        ray.shutdown()
    for lock in locks:
        lock.close()
