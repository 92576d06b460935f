"""Scores in child processes of this process, for the command line. No Ray."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any

from rlkit.cluster.thread_env import thread_env
from rlkit.errors import ClusterError, PluginError
from rlkit.recipe.schema.reward_section import RewardKeys
from rlkit.records import Group
from rlkit.scoring.combine import PartScores
from rlkit.scoring.processes.schedule import GroupScheduler
from rlkit.scoring.processes.scoring_worker import ScoringWorker, StartReply
from rlkit.scoring.processes.worker_processes import WorkerLost, WorkerSpec

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, eq=False)
class ChildProcess:
    """A scoring process and our end of its pipe. It runs one call at a time, so it also identifies the pending call."""

    process: subprocess.Popen[bytes]
    connection: Connection[Any, Any]


@dataclass
class ChildProcesses:
    """`WorkerProcesses` as child processes. Each has its own session, so killing it also kills what plugins started."""

    reward: RewardKeys
    base_dir: str
    spec: WorkerSpec
    start_timeout_s: float
    calls_per_worker: int = 1
    """A pipe's buffer is small: sending a second call would block this process until the first is done."""

    def start(self, count: int) -> list[tuple[Any, StartReply]]:
        """See `WorkerProcesses`."""
        children = [_spawn(self.spec.gpus) for _ in range(count)]
        try:
            for child in children:
                child.connection.send((self.reward, self.base_dir, self.spec.parts))
            return [(child, self._await_ready(child)) for child in children]
        except BaseException:
            for child in children:
                self.kill(child)
            raise

    def submit(self, handle: ChildProcess, groups: tuple[Group, ...], parts: tuple[str, ...]) -> ChildProcess:
        """See `WorkerProcesses`."""
        with contextlib.suppress(BrokenPipeError):  # the process died; `result` raises WorkerLost
            handle.connection.send((groups, parts))
        return handle

    def wait(self, calls: Sequence[ChildProcess], timeout_s: float) -> set[ChildProcess]:
        """See `WorkerProcesses`."""
        ready = wait([child.connection for child in calls], timeout_s)
        return {child for child in calls if child.connection in ready}

    def result(self, call: ChildProcess) -> list[PartScores]:
        """See `WorkerProcesses`."""
        try:
            scores: list[PartScores] = call.connection.recv()
        # A process that dies while it sends its reply leaves half a message.
        except (EOFError, ConnectionError, pickle.UnpicklingError) as e:
            raise WorkerLost(_how_it_ended(call.process)) from e
        return scores

    def kill(self, handle: ChildProcess) -> None:
        """See `WorkerProcesses`."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(handle.process.pid, signal.SIGKILL)
        handle.process.wait(timeout=60)
        handle.connection.close()

    def _await_ready(self, child: ChildProcess) -> StartReply:
        deadline = time.monotonic() + self.start_timeout_s
        if not child.connection.poll(max(0.0, deadline - time.monotonic())):
            raise ClusterError(f"a scoring process did not start within {self.start_timeout_s:g} s")
        try:
            reply: StartReply = child.connection.recv()
        except (EOFError, ConnectionError, pickle.UnpicklingError) as e:
            how = _how_it_ended(child.process)
            raise ClusterError(f"a scoring process ended while its plugins were built: {how}") from e
        if reply.failure:
            raise PluginError(reply.failure)
        return reply


class LocalPool(GroupScheduler):
    """Scores groups on child processes: `reward.runtime.num_workers`, and those of each part that has its own.

    Args:
        reward: the recipe's section.
        base_dir: folder that `./file.py:Class` plugins are relative to.
        start_timeout_s: longest wait for one process to start, in seconds.
        on_event: called with (kind, text) for each process that is replaced.

    Raises:
        PluginError: a plugin cannot be built.
        ClusterError: a process does not start in time.
    """

    def __init__(
        self,
        reward: RewardKeys,
        base_dir: Path,
        *,
        start_timeout_s: float = 300,
        on_event: Callable[[str, str], None] = lambda kind, text: None,
    ) -> None:
        folder = str(Path(base_dir).resolve())
        super().__init__(lambda spec: ChildProcesses(reward, folder, spec, start_timeout_s), reward, on_event)

    def resident_kb(self) -> int:
        """Resident memory of all the processes, in KiB."""
        return sum(_resident_kb(handle.process.pid) for handle in self.handles)


def _spawn(gpus: float) -> ChildProcess:
    ours, theirs = Pipe()
    with theirs:
        process = subprocess.Popen(
            # -P and PYTHONPATH: the child imports the same modules as this process, not files of the working directory.
            [
                sys.executable,
                "-P",
                "-m",
                "rlkit.scoring.processes.child_processes",
                str(theirs.fileno()),
                str(os.getpid()),
            ],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=os.environ | thread_env(1, gpus) | {"PYTHONPATH": os.pathsep.join(sys.path)},
            start_new_session=True,
        )
    return ChildProcess(process, ours)


def _resident_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


def _how_it_ended(process: subprocess.Popen[bytes]) -> str:
    try:
        code = process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        return "it closed its pipe"
    return f"exit code {code}" if code >= 0 else f"signal {-code} ({signal.Signals(-code).name})"


def main(fd: int, parent: int) -> None:
    """Entry point of a scoring process: scores groups until the pipe closes."""
    # The kernel kills this process when its parent dies: a plugin that hangs in C code could not notice.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    with Connection(fd) as connection:
        reward, base_dir, parts = connection.recv()
        try:
            worker = ScoringWorker(reward, base_dir, parts)
        except PluginError as e:
            connection.send(StartReply(str(e)))
            return
        connection.send(worker.start_reply)
        while True:
            try:
                groups, names = connection.recv()
            except (EOFError, ConnectionError):
                return
            connection.send(worker.score(groups, names))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
