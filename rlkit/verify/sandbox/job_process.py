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
_MAX_ZYGOTE_DESCRIPTORS = 256
_FEW_SIGNALS = 64


def limit_descriptors() -> None:
    """Of the zygote; so a job closes them all with a bounded loop."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MAX_ZYGOTE_DESCRIPTORS, _MAX_ZYGOTE_DESCRIPTORS))


def run_job(
    descriptors: list[int], limits: Mapping[str, float], base: Mapping[str, int], confine: Callable[[], None]
) -> NoReturn:
    """Becomes the job, in a freshly forked process; never returns.

    Args:
        descriptors: Standard input, standard output and the mailbox.
        limits: The fields of `Limits`.
        base: What the warm process already takes of a limit, which is not the program's: "memory" in bytes, "threads".
        confine: Enters the folder of the job and gives up the last rights.
    """
    status = 1
    # Whatever goes wrong here, this copy of the zygote must not go on as a zygote.
    with contextlib.suppress(BaseException):
        os.setsid()
        # Before its size is counted in the limit on memory.
        mailbox = Mailbox(descriptors.pop())
        _place(descriptors)
        os.umask(0o077)
        _limit(limits, {**base, "memory": base["memory"] + mailbox.size})
        confine()
        # Same program, same arguments, same result: sets are ordered by a fixed hash seed, `random` by this.
        random.seed(0)
        # Ours are no secret, but a program that imports what it finds should find the standard library only.
        for name in [name for name in sys.modules if name.split(".")[0] == "rlkit"]:
            del sys.modules[name]
        harness.main(JobChannel(mailbox))
        status = 0
    os._exit(status)


def _place(descriptors: list[int]) -> None:
    """Standard input and output to 0 and 1, nothing to 2."""
    # High numbers first, so that no dup2 closes what a later one needs.
    top = _MAX_ZYGOTE_DESCRIPTORS - 8
    null = os.open(os.devnull, os.O_RDWR)
    for i, descriptor in enumerate((*descriptors, null)):
        os.dup2(descriptor, top + i)
    for i, target in enumerate((0, 1, 2)):
        os.dup2(top + i, target)


def close_the_rest(kept: Iterable[int] = ()) -> None:
    """Closes whatever else the zygote has open: the last thing before a job's rights go.

    Args:
        kept: descriptors of folders that can be neither read nor written (O_PATH), only passed.
    """
    first = 3
    for descriptor in (*sorted(kept), _MAX_ZYGOTE_DESCRIPTORS):
        os.closerange(first, descriptor)
        first = descriptor + 1


def _limit(limits: Mapping[str, float], base: Mapping[str, int]) -> None:
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
        # One byte: where cores go to a program, the kernel passes none on at exactly this limit, and at 0 it would.
        (resource.RLIMIT_CORE, 1, 1),
        (resource.RLIMIT_NPROC, threads, threads),
        (resource.RLIMIT_STACK, stack, stack),
        (resource.RLIMIT_MEMLOCK, 0, 0),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
        (resource.RLIMIT_SIGPENDING, _FEW_SIGNALS, _FEW_SIGNALS),
        (resource.RLIMIT_AS, memory, memory),
    ):
        resource.setrlimit(which, (int(soft), int(hard)))
