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
"""While a local Ray runs: the lock on its folder, and the program that ends its processes (see `orphans`)."""


def start_ray(keys: ClusterKeys, address: str | None, restore_handlers: Callable[[], None] = lambda: None) -> None:
    """Connects to a Ray cluster, or starts a local one that ends with this process.

    Args:
        keys: The recipe's section.
        address: Instead of the recipe's.
        restore_handlers: Puts the caller's signal handlers back: Ray sets one of its own. SIGTERM waits until then.

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
        with _sigterm_blocked(restore_handlers):
            if address:
                ray.init(address=address, **common)
            else:
                _start_local_ray(keys, common)
    except Exception as e:  # Ray raises its own errors, Python's, and bare Exceptions
        where, check = "a local Ray", "look whether the machine is overloaded or its memory or /tmp is full"
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
    """Blocks SIGTERM inside the block, in this process and in all that it starts there.

    Slurm and systemd send SIGTERM to every process of a job. Only the driver handles it, and while it saves, Ray and
    the actors have to run: they inherit the blocked signal (see `unblock_sigterm_in_children`). Where one came during
    the block, the driver gets it at the end, after `restore_handlers`.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    received = False
    try:
        yield
    except SystemExit:  # of Ray's handler: the signal went to another thread of this process
        received = True
    finally:
        restore_handlers()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if received:
        signal.raise_signal(signal.SIGTERM)


def unblock_sigterm_in_children() -> None:
    """In an actor, which has SIGTERM blocked: it goes on without SIGTERM, and what it starts gets it as usual.

    A child inherits which signals are blocked, but no handler: here SIGTERM gets a handler that does nothing, and is
    unblocked. Has to be called in the main thread.
    """
    if signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ()):
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def stop_ray() -> None:
    """Ends the local cluster, or leaves the one that was joined."""
    locks = []
    while _local_ray:
        lock, killer = _local_ray.pop()
        # Before `ray.shutdown`, which sends each of its processes a SIGTERM, blocked there, and waits a second for it.
        end_marked(killer)
        locks.append(lock)
    if ray.is_initialized():
        ray.shutdown()
    for lock in locks:
        lock.close()
