"""A program that ends what a process leaves behind when it ends, even by SIGKILL; one for a run, one for each scorer.

A run: all that was started with its mark, an environment variable that is inherited, and the descendants of that. Ray
ends its processes when their driver is killed, but its agents try for a minute to reach what died with it, a stopped
actor never notices, and what a plugin started belongs to nobody.

A scorer: its process group, which is what its plugins started, unless it moved to a group of its own.

Standard library only: the program is started by its path.
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
"""The environment variable."""
GRACE_S = 3.0
"""How long Ray has to end its processes itself, in seconds, where the driver was killed."""
NOW = b"now"
"""What a driver that still lives writes to the program: end everything at once."""
GIVE_UP_S = 20.0
POLL_S, KILL_S = 1.0, 0.2
"""Seconds between two looks at the processes: while the parent lives, and while they are being ended."""


@dataclass(frozen=True)
class RunningProcess:
    """What is looked at of a process."""

    pid: int
    parent: int
    group: int
    started: int
    """Tells it from a later process with its number."""


@contextmanager
def mark_processes() -> Iterator[subprocess.Popen[bytes]]:
    """Marks what is started in the block, and gives the program that ends it when this process ends."""
    mark = uuid.uuid4().hex
    os.environ[MARK] = mark
    try:
        yield _start_killer("mark", mark)
    finally:
        del os.environ[MARK]


def end_marked(killer: subprocess.Popen[bytes]) -> None:
    """Ends all that was marked, now, and waits until it is gone."""
    killer.communicate(NOW)


def end_children_with_this_process() -> subprocess.Popen[bytes]:
    """From here on what this process starts ends with it.

    Returns:
        The program that sees to it. To be kept: when the object goes, the program takes this process for ended.
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
        # Ctrl-C is for the driver; and the program must not be in the group that it ends.
        start_new_session=True,
        env={},
    )


def main(parent: int, kind: str, value: str) -> None:
    """Waits for the end of the parent process, then ends what it left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # Slurm sends SIGTERM to every process; the parent's end is what counts
    if kind == "group":
        _await_end(parent)
        kill_all(lambda process: process.group == int(value), {}, grace_s=0.0)
        return
    known: dict[int, int] = {}

    def is_marked(process: RunningProcess) -> bool:
        return _has_mark(process.pid, value)

    def note() -> None:
        nonlocal known
        known = find(is_marked, known)

    told = _await_end(parent, note)
    kill_all(is_marked, known, grace_s=0.0 if told == NOW else GRACE_S)


def _await_end(parent: int, at_each_poll: Callable[[], None] = lambda: None) -> bytes:
    """Waits until the parent has closed this program's standard input or is gone; gives what it wrote there.

    A process that the parent forked keeps that pipe open, so that the parent's end is looked for as well.
    """
    while os.getppid() == parent:
        if select.select([sys.stdin], [], [], POLL_S)[0]:
            return os.read(sys.stdin.fileno(), len(NOW))
        at_each_poll()
    return b""


def kill_all(is_ours: Callable[[RunningProcess], bool], known: Mapping[int, int], *, grace_s: float) -> None:
    """Ends processes (see `find`) until none is left; they have `grace_s` seconds to end by themselves."""
    began = time.monotonic()
    while (known := find(is_ours, known)) and time.monotonic() - began < GIVE_UP_S:
        for pid in known if time.monotonic() - began >= grace_s else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(KILL_S)


def find(is_ours: Callable[[RunningProcess], bool], known: Mapping[int, int]) -> dict[int, int]:
    """The living processes that are ours, their descendants, and those known before.

    Ray's agents write their titles over the environment that they were started with, so that only their parent tells
    whose they are, while it lives.

    Args:
        is_ours: Whether a process is.
        known: What an earlier call gave.

    Returns:
        When each of them started, by its number.
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
    """Whether the mark is in its environment; other users' cannot be looked at."""
    with contextlib.suppress(OSError):
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    return False


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
