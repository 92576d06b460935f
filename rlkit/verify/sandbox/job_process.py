"""The forked process of one job: gives up its rights, then runs the harness."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import NoReturn

from rlkit.verify.sandbox import harness
from rlkit.verify.sandbox.mailbox import JobChannel, Mailbox

MAX_DESCRIPTORS = 64
"""Descriptors that a job may have open."""
_MAX_ZYGOTE_DESCRIPTORS = 256
_MAX_PENDING_SIGNALS = 64
_RESERVED_DESCRIPTORS = 8
"""Of the zygote's highest numbers, for moving a job's own descriptors."""


def limit_descriptors() -> None:
    """Limits the zygote's descriptors, so that a job can close them all with a bounded loop."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MAX_ZYGOTE_DESCRIPTORS, _MAX_ZYGOTE_DESCRIPTORS))


def run_job(
    descriptors: list[int], limits: Mapping[str, float], base: Mapping[str, int], confine: Callable[[], None]
) -> NoReturn:
    """Becomes the job, in a freshly forked process; never returns.

    Args:
        descriptors: Standard input, standard output and the mailbox.
        limits: The fields of `Limits`.
        base: What the warm process already uses and the program is not charged for: "memory" in bytes, "threads".
        confine: Enters the folder of the job and gives up the last rights.
    """
    status = 1
    # Whatever goes wrong here, this fork must never return into the zygote's loop.
    with contextlib.suppress(BaseException):
        os.setsid()
        # Mapped before the limit on memory is set, which then includes its size.
        mailbox = Mailbox(descriptors.pop())
        _place(descriptors)
        os.umask(0o077)
        _limit(limits, {**base, "memory": base["memory"] + mailbox.size})
        confine()
        # The same program with the same arguments gives the same result: the hash seed of sets is fixed, too.
        random.seed(0)
        # Our modules are no secret, but a program should find the standard library only.
        for name in [name for name in sys.modules if name.split(".")[0] == "rlkit"]:
            del sys.modules[name]
        harness.main(JobChannel(mailbox))
        status = 0
    os._exit(status)


def _place(descriptors: list[int]) -> None:
    """Makes standard input and output the descriptors 0 and 1, and /dev/null 2."""
    # High numbers first, so that no dup2 closes what a later one needs.
    top = _MAX_ZYGOTE_DESCRIPTORS - _RESERVED_DESCRIPTORS
    null = os.open(os.devnull, os.O_RDWR)
    for i, descriptor in enumerate((*descriptors, null)):
        os.dup2(descriptor, top + i)
    for i, target in enumerate((0, 1, 2)):
        os.dup2(top + i, target)


def close_the_rest(kept: Iterable[int] = ()) -> None:
    """Closes every other descriptor that the zygote had open, just before the job gives up its rights.

    Args:
        kept: descriptors of folders that stay open; they are O_PATH, so they allow no reading and no writing.
    """
    first = 3
    for descriptor in (*sorted(kept), _MAX_ZYGOTE_DESCRIPTORS):
        os.closerange(first, descriptor)
        first = descriptor + 1


def _limit(limits: Mapping[str, float], base: Mapping[str, int]) -> None:
    """Sets the kernel's limits on this process."""
    cpu = max(1, -(-limits["cpu_s"] // 1))
    disk = int(limits["disk_mb"] * 2**20)
    threads = int(limits["processes"]) + base["threads"]
    stack = int(limits["memory_mb"] * 2**20)
    memory = stack + base["memory"]
    # The soft limit of CPU time sends SIGXCPU, which a program may ignore; the hard one cannot be ignored.
    for which, soft, hard in (
        (resource.RLIMIT_CPU, cpu, cpu + 1),
        (resource.RLIMIT_FSIZE, disk, disk),
        (resource.RLIMIT_NOFILE, MAX_DESCRIPTORS, MAX_DESCRIPTORS),
        # One byte: where core dumps are piped to a program, the kernel pipes none at this limit, but does at 0.
        (resource.RLIMIT_CORE, 1, 1),
        (resource.RLIMIT_NPROC, threads, threads),
        (resource.RLIMIT_STACK, stack, stack),
        (resource.RLIMIT_MEMLOCK, 0, 0),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
        (resource.RLIMIT_SIGPENDING, _MAX_PENDING_SIGNALS, _MAX_PENDING_SIGNALS),
        (resource.RLIMIT_AS, memory, memory),
    ):
        resource.setrlimit(which, (int(soft), int(hard)))
