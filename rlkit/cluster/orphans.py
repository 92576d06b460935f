"""Kills orphan processes: a helper program that watches a parent process and, when that ends, kills what it started.

Each run and each scoring actor has one, which also works when the parent is killed by SIGKILL.

For a run, the program kills the processes with the run's mark, an inherited environment variable, and their
descendants. Ray alone is not enough: when the driver is killed, its agents linger for a minute, a stopped (SIGSTOP)
actor does not notice, and processes that a plugin started are not Ray's.

For a scoring actor, it kills the actor's process group: what its plugins started, unless that changed its group.

This file uses the standard library only, because the program is started by the file's path.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MARK = "RLKIT_RUN_PROCESSES"
"""Name of the environment variable that marks a run's processes."""
GRACE_S = 3.0
"""Seconds that Ray has to end its processes itself after the driver was killed."""
NOW = b"now"
"""Message of a living driver to the program: kill everything now."""
GIVE_UP_S = 20.0
POLL_S, KILL_S = 1.0, 0.2
"""Seconds between two polls of the processes: while the parent lives, and while they are being killed."""


@dataclass(frozen=True)
class RunningProcess:
    """A process as /proc describes it."""

    pid: int
    parent: int
    group: int
    started: int
    """Start time in clock ticks; distinguishes it from a later process with the same pid."""


@contextmanager
def mark_processes() -> Iterator[subprocess.Popen[bytes]]:
    """Marks the processes that are started in the block; yields the program that kills them when this process ends."""
    mark = uuid.uuid4().hex
    os.environ[MARK] = mark
    try:
        yield _start_killer("mark", mark)
    finally:
        del os.environ[MARK]


def end_marked(killer: subprocess.Popen[bytes]) -> None:
    """Kills all marked processes now, and waits until they are gone."""
    killer.communicate(NOW)


def end_children_with_this_process() -> subprocess.Popen[bytes]:
    """From now on, processes that this process starts are killed when it ends.

    Returns:
        The program that kills them. Keep the object: if it is deleted, its pipe closes and the program starts to kill.
    """
    os.setpgid(0, 0)
    return _start_killer("group", str(os.getpid()))


def _start_killer(*args: str) -> subprocess.Popen[bytes]:
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, str(os.getpid()), *args],
        stdin=subprocess.PIPE,
        stdout=nowhere,
        stderr=nowhere,
        # Ctrl-C must reach only the driver, and the program must not be in the group that it kills.
        start_new_session=True,
        env={},
    )


def main(parent: int, kind: str, value: str) -> None:
    """Waits for the end of the parent process, then kills the processes that it left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # Slurm sends SIGTERM to every process; act only when the parent ends
    if kind == "group":
        _await_end(parent)
        kill_all(lambda process: process.group == int(value), {}, grace_s=0.0)
        return
    known: dict[int, int] = {}

    def is_marked(process: RunningProcess) -> bool:
        return _has_mark(process.pid, value)

    def update_known() -> None:
        nonlocal known
        known = find(is_marked, known)

    message = _await_end(parent, update_known)
    kill_all(is_marked, known, grace_s=0.0 if message == NOW else GRACE_S)


def _await_end(parent: int, at_each_poll: Callable[[], None] = lambda: None) -> bytes:
    """Waits until the parent writes to or closes this program's standard input, or ends. Returns what it wrote.

    The end of the parent is polled too, because a process that it forked can keep the pipe open.
    """
    while os.getppid() == parent:
        if select.select([sys.stdin], [], [], POLL_S)[0]:
            return os.read(sys.stdin.fileno(), len(NOW))
        at_each_poll()
    return b""


def kill_all(is_ours: Callable[[RunningProcess], bool], known: Mapping[int, int], *, grace_s: float) -> None:
    """Kills processes (see `find`) until none is left. They have `grace_s` seconds to end by themselves."""
    began = time.monotonic()
    while (known := find(is_ours, known)) and time.monotonic() - began < GIVE_UP_S:
        for pid in known if time.monotonic() - began >= grace_s else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(KILL_S)


def find(is_ours: Callable[[RunningProcess], bool], known: Mapping[int, int]) -> dict[int, int]:
    """The living processes for which `is_ours` is true, their descendants, and those that are known already.

    The known ones matter: Ray's agents overwrite their environment, and so their mark, with their process title, and
    can only be found through their parent while that lives.

    Args:
        is_ours: Whether a process belongs to us.
        known: The result of an earlier call.

    Returns:
        The start time of each process, by pid.
    """
    living = list(_living())
    found = {p.pid: p.started for p in living if known.get(p.pid) == p.started or is_ours(p)}
    while more := {p.pid: p.started for p in living if p.parent in found and p.pid not in found}:
        found |= more
    return found


def _living() -> Iterator[RunningProcess]:
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent, group, *rest = (path / "stat").read_text().rpartition(")")[2].split()
            if state not in "ZX":
                yield RunningProcess(int(path.name), int(parent), int(group), int(rest[16]))


def _has_mark(pid: int, mark: str) -> bool:
    """Whether the process's environment has the mark; False for other users' processes, which cannot be read."""
    with contextlib.suppress(OSError):
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    return False


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
