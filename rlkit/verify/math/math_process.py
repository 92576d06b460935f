"""One math judging process seen from outside: started, asked with a deadline, killed. It runs `math_worker`."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rlkit.verify.math.math_worker import MAX_MESSAGE, send

START_TIMEOUT_S = 120.0
"""Longest start of a process: on a busy machine importing sympy takes that long."""
UNREAD = "the gold cannot be read: "
"""How the detail of an unscored row begins."""
_KILLED_FOR_CPU_TIME = -signal.SIGXCPU
"""Exit status of a process that used more CPU time than it may."""
_START = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from rlkit.verify.math.math_worker import main; main(int(sys.argv[1]))"
)


class JudgeLost(Exception):
    """The worker gave no verdict: "timeout", "memory" or "crash"."""


class Worker:
    """One judging process; ready when the constructor returns."""

    def __init__(self, memory_mb: int) -> None:
        root = str(Path(__file__).resolve().parents[3])
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _START, root, str(memory_mb)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            start_new_session=True,
        )
        try:
            self._receive(time.monotonic() + START_TIMEOUT_S)
        except JudgeLost:
            self.kill()
            raise

    def judge(self, row: Mapping[str, Any], timeout_s: float, slow: Callable[[], None] | None) -> tuple[str, str]:
        """(verdict, detail); after "timeout", "memory" or "crash" as detail this worker is dead.

        Args:
            row: "gold", "answer", "options".
            timeout_s: Seconds from now to its end.
            slow: Called when half of that is gone: this worker may soon need a replacement.
        """
        start = time.monotonic()
        gold_is_read = False
        try:
            send(self._stdin, {**row, "cpu_s": timeout_s})
            while True:
                if slow is not None and not self._answers(start + timeout_s / 2):
                    slow()
                    slow = None
                message = self._receive(start + timeout_s)
                if "verdict" in message:
                    return message["verdict"], message["detail"]
                if "memory" in message:
                    raise JudgeLost("memory")
                gold_is_read = True
        except (JudgeLost, OSError) as e:
            self.kill()
            detail = str(e) if isinstance(e, JudgeLost) else "crash"
            return ("wrong", detail) if gold_is_read else ("unscored", UNREAD + detail)

    @property
    def alive(self) -> bool:
        """Whether it can judge another row."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Ends the process at once and waits for its end."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]

    @property
    def _stdin(self) -> int:
        assert self._process.stdin is not None
        return self._process.stdin.fileno()

    def _answers(self, deadline: float) -> bool:
        """Whether anything comes before the deadline."""
        assert self._process.stdout is not None
        poll = select.poll()
        poll.register(self._process.stdout.fileno(), select.POLLIN)
        return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))

    def _receive(self, deadline: float) -> dict[str, Any]:
        (size,) = struct.unpack("!I", self._read(4, deadline))
        if size > MAX_MESSAGE:
            raise JudgeLost("crash")
        message: dict[str, Any] = json.loads(self._read(size, deadline))
        return message

    def _read(self, size: int, deadline: float) -> bytes:
        """That many bytes of the worker's output; JudgeLost where they do not come in time."""
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        data = b""
        while len(data) < size:
            if not self._answers(deadline):
                raise JudgeLost("timeout")
            chunk = os.read(fd, size - len(data))
            if not chunk:
                raise JudgeLost("timeout" if self._process.wait() == _KILLED_FOR_CPU_TIME else "crash")
            data += chunk
        return data
