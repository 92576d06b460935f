"""The judge's side of the sandbox: a pool of zygotes, one request each at a time, with a deadline over everything."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[3]
_START = "import sys; sys.path.insert(0, sys.argv.pop()); from rlkit.verify.sandbox.zygote import main; main()"
_START_TIMEOUT_S = 60.0
_GRACE_S = 10.0
_MAX_ANSWER = 64 << 20


class SandboxError(Exception):
    """The sandbox itself did not run."""


class _Zygote:
    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                # -s -P -S and an environment of one: what -I would do, with the hash seed fixed.
                [sys.executable, "-s", "-P", "-S", "-B", "-X", "utf8", "-c", _START, str(_ROOT)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PYTHONHASHSEED": "0"},
                start_new_session=True,
                cwd="/",
            )
        self._socket = ours
        try:
            self._receive(time.monotonic() + _START_TIMEOUT_S)
        except (OSError, SandboxError) as e:
            self.kill()
            raise SandboxError(f"the sandbox could not start: {e}") from e

    def run(self, request: dict[str, Any]) -> dict[str, Any]:
        """Raises SandboxError or OSError when the zygote does not answer; it must be killed then."""
        deadline = time.monotonic() + request["limits"]["wall_s"] + _GRACE_S
        data = json.dumps(request).encode()
        self._socket.settimeout(_GRACE_S)
        self._socket.sendall(len(data).to_bytes(4, "big") + data)
        return self._receive(deadline)

    def _receive(self, deadline: float) -> dict[str, Any]:
        size = int.from_bytes(self._read(4, deadline), "big")
        if size > _MAX_ANSWER:
            raise SandboxError("an answer that is too large")
        message: dict[str, Any] = json.loads(self._read(size, deadline))
        return message

    def _read(self, size: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < size:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            chunk = self._socket.recv(min(size - len(data), 1 << 20))
            if not chunk:
                raise SandboxError("its process ended")
            data += chunk
        return bytes(data)

    def kill(self) -> None:
        self._socket.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


_idle: dict[int, list[_Zygote]] = {}
_lock = threading.Lock()


def run_in_sandbox(request: dict[str, Any]) -> dict[str, Any]:
    """Runs one test in a zygote of its own for the time: {"status", "code", "cpu", "stdout", "frame", "seconds"}.

    A zygote that does not answer is killed: status "killed" (its candidate did it).

    Raises:
        SandboxError: no zygote starts here.
    """
    with _lock:
        # By process: a forked child must not share its parent's sockets.
        idle = _idle.setdefault(os.getpid(), [])
        zygote = idle.pop() if idle else None
    if zygote is None:
        try:
            zygote = _Zygote()
        except OSError as e:
            raise SandboxError(f"the sandbox could not start: {e}") from e
    try:
        answer = zygote.run(request)
    except (OSError, SandboxError, ValueError):
        zygote.kill()
        return {"status": "killed", "code": 0, "cpu": 0.0, "stdout": "", "frame": "", "seconds": 0.0}
    except BaseException:
        zygote.kill()
        raise
    with _lock:
        idle.append(zygote)
    return answer
