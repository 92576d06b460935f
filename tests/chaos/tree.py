"""A command with all its processes: started with a mark, looked at, frozen as a whole, killed as a whole."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

MARK = "RLKIT_CHAOS_TREE"
"""Environment variable that every process of a tree inherits; it finds those that have left the tree."""


class Tree:
    """A command in a session of its own, its output in files beside `log`."""

    def __init__(self, words: Sequence[str], log: Path) -> None:
        self._mark = uuid.uuid4().hex
        self._known: list[int] = []
        self.began = time.monotonic()
        self.log = log
        with log.open("w") as out:
            self.root = subprocess.Popen(
                words,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=os.environ | {MARK: self._mark},
                start_new_session=True,
            )

    def ended(self) -> int | None:
        """The exit code, None while the command runs."""
        return self.root.poll()

    def pids(self) -> list[int]:
        """Every living process below the command, itself included."""
        if self.ended() is not None:
            return []
        children: dict[int, list[int]] = {}
        for pid in _all_pids():
            children.setdefault(_parent(pid), []).append(pid)
        found = [self.root.pid]
        for pid in found:
            found += children.get(pid, ())
        self._known = [pid for pid in found if _alive(pid)]
        return self._known

    def strays(self) -> list[int]:
        """Processes of this tree that are not below the command any more."""
        below = set(self.pids())
        return [pid for pid in _all_pids() if pid not in below and self._marked(pid)]

    def freeze(self) -> list[int]:
        """Stops every process where it is, the command itself first and at once; returns them.

        Nothing of the tree can start, end or write after this, so that it can be looked at and killed as it was. Those
        that were seen last are stopped before any are looked for: what some are at is over in a millisecond.
        """
        self.freeze_root()
        for pid in self._known:
            if _parent(pid) in self._known:
                _send(pid, signal.SIGSTOP)
        frozen: list[int] = []
        while True:
            new = [pid for pid in (*self.pids(), *self.strays()) if pid not in frozen]
            if not new:
                return frozen
            for pid in new:
                _send(pid, signal.SIGSTOP)
            frozen += new

    def freeze_root(self) -> None:
        """Stops the command itself."""
        if self.ended() is None:
            _send(self.root.pid, signal.SIGSTOP)

    def kill_root(self) -> None:
        """Ends the command itself by SIGKILL; its children see for themselves."""
        self.root.kill()
        self.root.wait()

    def kill(self, pids: Sequence[int], timeout_s: float = 30.0) -> None:
        """Ends the processes by SIGKILL, and sees that they and all of the tree are gone.

        Raises:
            AssertionError: one of them lives on.
        """
        for pid in pids:
            _send(pid, signal.SIGKILL)
        self.root.wait(timeout=timeout_s)
        self.await_end(pids, timeout_s)

    def await_end(self, pids: Sequence[int], timeout_s: float = 30.0) -> None:
        """Waits until none of the processes, and nothing of the tree, is alive.

        Raises:
            AssertionError: one of them lives on.
        """
        deadline = time.monotonic() + timeout_s
        while left := [pid for pid in pids if _alive(pid)] or self.strays():
            assert time.monotonic() < deadline, [title(pid) for pid in left]
            time.sleep(0.005)

    def _marked(self, pid: int) -> bool:
        with contextlib.suppress(OSError):
            return f"{MARK}={self._mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
        return False


class Titles:
    """What Ray's actors of a tree are at, as Ray writes it into their titles: ray::LearnerWorker.train_step."""

    REFRESH_S = 0.3

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._pids: list[int] = []
        self._looked = 0.0

    def now(self) -> set[str]:
        """The titles, without the `ray::`."""
        if time.monotonic() - self._looked > self.REFRESH_S:
            self._pids, self._looked = self._tree.pids()[1:], time.monotonic()
        return titles_of(self._pids)


def titles_of(pids: Sequence[int]) -> set[str]:
    """Ray's titles among the processes."""
    return {text.removeprefix("ray::") for text in map(title, pids) if text.startswith("ray::")}


def title(pid: int) -> str:
    """What a process calls itself."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0].decode(errors="replace")
    return ""


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid: int) -> list[str]:
    """State, parent and so on; nothing of a process that is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


def _parent(pid: int) -> int:
    stat = _stat(pid)
    return int(stat[1]) if stat else 0


def _alive(pid: int) -> bool:
    """A zombie is dead: it waits for whoever started it to look."""
    stat = _stat(pid)
    return bool(stat) and stat[0] not in "ZX"


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
