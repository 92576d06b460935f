"""What a kernel tier does around a job: it isolates the zygote once, then gives each job a folder and cleans up."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from typing import Protocol

from rlkit.verify.sandbox import kernel

MAX_FILES = 10_000
"""Files and folders that a job may have at once."""
_GRACE_S = 5.0
"""Seconds in which all processes of a job must be gone."""
_SLACK_THREADS = 64
"""Threads that the same user may start while a job runs, on top of those that it had at its start."""
_END_OF_IDS = 2**31
"""The first number that is no user id."""


class Boundary(Protocol):
    """One tier, as the keeper and the zygote use it."""

    def enter(self) -> None:
        """In the keeper, which still has the judge's rights: gives them up. Raises OSError."""

    def prepare(self) -> None:
        """In the zygote, before its first job: takes the steps that each tier needs there."""

    def base_threads(self) -> int:
        """Threads besides the job's own that RLIMIT_NPROC counts towards the job's limit."""

    def open_folder(self, limits: Mapping[str, float]) -> None:
        """In the zygote: makes an empty folder for the next job."""

    def confine(self) -> None:
        """In the job's process: enters the folder, closes other descriptors, gives up the last rights."""

    def check_every_s(self) -> float | None:
        """Seconds between calls of `exceeded`; None: it need not be called, the kernel holds every bound."""

    def exceeded(self, pid: int, limits: Mapping[str, float]) -> str:
        """In the zygote, while the job runs: the bound that the job broke, or ""."""

    def clean(self, limits: Mapping[str, float]) -> str:
        """In the zygote, after the job's process ended: ends its other processes and removes its files.

        Returns the bound that those files broke, or "", so that the verdict does not depend on when `exceeded` ran.
        """

    def address_space(self) -> int:
        """In the zygote: bytes of address space that it has mapped, which RLIMIT_AS counts in each of its forks."""

    def remove(self) -> None:
        """In the keeper, after the zygote ended: removes what the tier made outside of the sandbox."""


def job_uid() -> int | None:
    """A user id that no one else has, for a sandbox that root starts; None where this process is not root.

    Each sandbox has an id of its own, because the kernel counts processes by user. The id comes from the process id,
    counted down from the end of the range that this user namespace maps, where there are no accounts. None also where
    the namespace maps one id only, because root inside is then an ordinary user outside.
    """
    if os.getuid() != 0:
        return None
    with open("/proc/self/uid_map") as f:
        first, _, length = max((tuple(map(int, line.split())) for line in f), key=lambda row: row[0])
    end = min(first + length, _END_OF_IDS)
    return None if length == 1 else end - 1 - os.getpid() % max(1, (end - first) // 2)


def give_up_root(uid: int) -> None:
    """Becomes `uid` for good, with every capability gone."""
    try:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    except OSError as e:
        raise OSError(e.errno, f"root cannot be given up: {e.strerror}") from e
    # The change of user gave this process's files in /proc to root; its id maps, which it must write, are among them.
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)


def end_children() -> None:
    """Kills and reaps every descendant: this process is their subreaper, so orphans become its children."""
    deadline = time.monotonic() + _GRACE_S
    while time.monotonic() < deadline:
        for orphan in _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(orphan, 9)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.001)
    # A fork bomb is faster than this loop: the judge ends the session and starts a new sandbox.
    os._exit(3)


def _children() -> list[int]:
    """Process ids whose parent is this process; by a scan of /proc where the kernel keeps no list."""
    try:
        with open("/proc/thread-self/children") as f:
            return [int(pid) for pid in f.read().split()]
    except OSError:
        pass
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as f:
            if int(f.read().rsplit(")", 1)[1].split()[1]) == os.getpid():
                found.append(int(pid))
    return found


def threads_of(uid: int, proc: int) -> int:
    """Threads that a user runs now, and room for those it starts meanwhile; `proc` is a descriptor of /proc."""
    total = _SLACK_THREADS
    for pid in filter(str.isdigit, os.listdir(proc)):
        with contextlib.suppress(OSError):
            if os.stat(pid, dir_fd=proc).st_uid == uid:
                # "." and ".." and a folder for each thread.
                total += os.stat(f"{pid}/task", dir_fd=proc).st_nlink - 2
    return total


def address_space(proc: int) -> int:
    """Bytes of address space of this process; `proc` is a descriptor of /proc."""
    with open(os.open("self/statm", os.O_RDONLY, dir_fd=proc)) as f:
        return int(f.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
