"""What a tier does round a job: enter once, then a folder, a seal and a clean-up for each job."""

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
_SLACK_THREADS = 64
_END_OF_IDS = 2**31


class Boundary(Protocol):
    """One tier, in the zygote."""

    def enter(self) -> None:
        """In the keeper, still with the rights that the judge has: leaves them behind. Raises OSError."""

    def settle(self) -> None:
        """In the zygote, before its first job."""

    def base_threads(self) -> int:
        """Threads besides the job's own that RLIMIT_NPROC counts against it."""

    def open_folder(self, limits: Mapping[str, float]) -> None:
        """In the zygote: an empty folder for the next job."""

    def seal(self) -> None:
        """In the job's process: enters the folder, closes what is not its own, gives up the last rights."""

    def check_every_s(self) -> float | None:
        """How often `exceeded` wants to be asked; None: never, the kernel holds every bound."""

    def exceeded(self, pid: int, limits: Mapping[str, float]) -> str:
        """In the zygote, while the job runs: the bound that it broke, or ""."""

    def clean(self, limits: Mapping[str, float]) -> str:
        """In the zygote, with the job's own process dead: ends all others, removes its files; as `exceeded` of those.

        So a verdict on what a job leaves does not depend on when it was looked at.
        """

    def address_space(self) -> int:
        """In the zygote: bytes of address space that it has mapped, which RLIMIT_AS counts against each job."""

    def leave(self) -> None:
        """In the keeper, after the zygote: removes what is left outside."""


def job_uid() -> int | None:
    """A user id that no one else has, for a sandbox that is started by root; None where this is not root.

    One for each sandbox at a time, as the kernel counts processes by user: process ids, which are unique, give it.
    Counted down from the end of the range that this user namespace maps, where no accounts are; None where it maps
    one id only, which then is not root outside of it.
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
    # The change of user made this process's files in /proc root's own; its id maps are among them.
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)


def end_children() -> None:
    """Kills and reaps every descendant: this process is their subreaper, so who loses its parent becomes ours."""
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
    os._exit(3)  # a fork bomb faster than we are: the judge ends our session and starts anew


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
