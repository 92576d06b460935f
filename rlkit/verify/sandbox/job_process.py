"""The forked process of one job: gives up its rights, then reads its request and runs the harness."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from rlkit.verify.sandbox import harness

CHANNEL = 3
MAX_DESCRIPTORS = 64
_MAX_ZYGOTE_DESCRIPTORS = 256
_STACK = 64 << 20
_FEW_SIGNALS = 64


def limit_descriptors() -> None:
    """Of the zygote; so a job closes them all with a bounded loop."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MAX_ZYGOTE_DESCRIPTORS, _MAX_ZYGOTE_DESCRIPTORS))


def run_job(
    descriptors: list[int], limits: Mapping[str, float], base: Mapping[str, int], confine: Callable[[], None]
) -> NoReturn:
    """Becomes the job, in a freshly forked process; never returns.

    Args:
        descriptors: Standard input, standard output and the channel.
        limits: The fields of `Limits`.
        base: What the warm process already takes of a limit, which is not the program's: "memory" in bytes, "threads".
        confine: Enters the folder of the job and gives up the last rights.
    """
    status = 1
    # Whatever goes wrong here, this copy of the zygote must not go on as a zygote.
    with contextlib.suppress(BaseException):
        os.setsid()
        _place(descriptors)
        os.umask(0o077)
        _limit(limits, base)
        confine()
        request = _read_request()
        # Same program, same arguments, same result: sets are ordered by a fixed hash seed, `random` by this.
        random.seed(0)
        # Ours are no secret, but a program that imports what it finds should find the standard library only.
        for name in [name for name in sys.modules if name.split(".")[0] == "rlkit"]:
            del sys.modules[name]
        harness.main(request, CHANNEL)
        status = 0
    os._exit(status)


def _place(descriptors: list[int]) -> None:
    """Standard input, output and channel to 0, 1 and 3, nothing to 2; all others are closed."""
    # High numbers first, so that no dup2 closes what a later one needs.
    top = _MAX_ZYGOTE_DESCRIPTORS - 8
    null = os.open(os.devnull, os.O_RDWR)
    for i, descriptor in enumerate((*descriptors, null)):
        os.dup2(descriptor, top + i)
    for i, target in enumerate((0, 1, CHANNEL, 2)):
        os.dup2(top + i, target)


def close_the_rest(kept: Iterable[int] = ()) -> None:
    """Closes whatever else the zygote has open: the last thing before a job's rights go."""
    first = CHANNEL + 1
    for descriptor in (*sorted(kept), _MAX_ZYGOTE_DESCRIPTORS):
        os.closerange(first, descriptor)
        first = descriptor + 1


def _limit(limits: Mapping[str, float], base: Mapping[str, int]) -> None:
    cpu = max(1, -(-limits["cpu_s"] // 1))
    disk = int(limits["disk_mb"] * 2**20)
    threads = int(limits["processes"]) + base["threads"]
    memory = int(limits["memory_mb"] * 2**20) + base["memory"]
    # The soft limit of CPU time sends SIGXCPU, which a program may ignore; the hard one cannot be ignored.
    for which, soft, hard in (
        (resource.RLIMIT_CPU, cpu, cpu + 1),
        (resource.RLIMIT_FSIZE, disk, disk),
        (resource.RLIMIT_NOFILE, MAX_DESCRIPTORS, MAX_DESCRIPTORS),
        # One byte: where cores go to a program, the kernel passes none on at exactly this limit, and at 0 it would.
        (resource.RLIMIT_CORE, 1, 1),
        (resource.RLIMIT_NPROC, threads, threads),
        (resource.RLIMIT_STACK, _STACK, _STACK),
        (resource.RLIMIT_MEMLOCK, 0, 0),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
        (resource.RLIMIT_SIGPENDING, _FEW_SIGNALS, _FEW_SIGNALS),
        (resource.RLIMIT_AS, memory, memory),
    ):
        resource.setrlimit(which, (int(soft), int(hard)))


def _read_request() -> dict[str, Any]:
    """The first frame on the channel. It never was in the zygote, so no later job finds traces of it in memory."""
    size = int.from_bytes(_read(4), "big")
    request: dict[str, Any] = json.loads(_read(size))
    return request


def _read(size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = os.read(CHANNEL, min(size - len(data), 1 << 20))
        if not chunk:
            os._exit(0)  # the judge is gone
        data += chunk
    return bytes(data)
