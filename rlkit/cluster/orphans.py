"""A program beside a run: when the driver is gone, however it went, it ends what is left of the run on this machine.

Ray ends its processes when their driver is killed, but its agents try for a minute to reach what died with it, a
stopped actor never looks, and what a plugin started is nobody's. They are found by an environment variable that they
inherit, and by their parents. Standard library only: it is started by its path.
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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

MARK = "RLKIT_RUN_PROCESSES"
"""The environment variable."""
GRACE_S = 3.0
"""How long Ray has to end its processes itself, in seconds, where the driver was killed."""
GOODBYE = b"goodbye"
"""What a driver that ends in order writes to the program: Ray's processes have been ended."""
GIVE_UP_S = 20.0
LOOK_S, TICK_S = 1.0, 0.2


@contextmanager
def watched() -> Iterator[subprocess.Popen[bytes]]:
    """Starts the program, which acts when its standard input closes, on what is started in the block."""
    mark = uuid.uuid4().hex
    os.environ[MARK] = mark
    try:
        yield _start(mark)
    finally:
        del os.environ[MARK]


def _start(mark: str) -> subprocess.Popen[bytes]:
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, mark],
        stdin=subprocess.PIPE,
        stdout=nowhere,
        stderr=nowhere,
        # Ctrl-C is for the driver.
        start_new_session=True,
        env={},
    )


def main(mark: str) -> None:
    """Waits for the end of the driver, and then of everything that bears the mark or came from what does."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # Slurm sends SIGTERM to every process; the driver's end is what counts
    known: dict[int, int] = {}
    while not select.select([sys.stdin], [], [], LOOK_S)[0]:
        known = find(mark, known)
    grace_s = 0.0 if sys.stdin.read() else GRACE_S  # a driver that still lives has said goodbye
    began = time.monotonic()
    while (known := find(mark, known)) and time.monotonic() - began < GIVE_UP_S:
        for pid in known if time.monotonic() - began >= grace_s else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(TICK_S)


def find(mark: str, known: Mapping[int, int]) -> dict[int, int]:
    """The living processes that were started with the mark, their descendants, and those known before: {number: start}.

    Ray's agents write their titles over the environment that they were started with, so that only their parent tells
    whose they are, while it lives. The time of the start tells a process from a later one with its number.
    """
    table = dict(_living())
    found = {pid: start for pid, (_, start) in table.items() if known.get(pid) == start or _bears(pid, mark)}
    while more := {pid: start for pid, (parent, start) in table.items() if parent in found and pid not in found}:
        found |= more
    return found


def _living() -> Iterator[tuple[int, tuple[int, int]]]:
    """(number, (its parent's, when it started)) of every process."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent, *rest = (path / "stat").read_text().rpartition(")")[2].split()
            if state not in "ZX":
                yield int(path.name), (int(parent), int(rest[17]))


def _bears(pid: int, mark: str) -> bool:
    """Whether the mark is in its environment; other users' cannot be looked at."""
    with contextlib.suppress(OSError):
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    return False


if __name__ == "__main__":
    main(sys.argv[1])
