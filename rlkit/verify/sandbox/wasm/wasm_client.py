"""The judge's side of the wasm tier: one worker process for each sandbox, killed if it does not answer."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import asdict
from pathlib import Path

from rlkit.verify.sandbox.job import End, Job, Outcome, SandboxError, Tier
from rlkit.verify.sandbox.wasm.wasm_messages import FRAME, JOB, NO_MORE, READY, REFUSED, Messages

_ROOT = Path(__file__).resolve().parents[4]
_START = (
    "import sys, runpy; sys.path.insert(0, sys.argv.pop(1)); "
    "runpy.run_module('rlkit.verify.sandbox.wasm.wasm_worker', run_name='__main__')"
)
_ENVIRONMENT = ("HOME", "XDG_CACHE_HOME", "TMPDIR", "PATH", "LD_LIBRARY_PATH", "PYTHONPATH")
"""Variables that the worker needs for the component's cache and the runtime; a guest sees none of them."""
_START_TIMEOUT_S = 700.0
"""Longest start: the first one on a machine builds the component."""
_SEND_TIMEOUT_S = 10.0
_GRACE_S = 0.5
"""Seconds beyond a job's limit before its worker is killed."""


class WasmSandbox:
    """Runs jobs in WebAssembly, one at a time; not for several threads at once."""

    tier: Tier = "wasm"

    def __init__(self) -> None:
        """Raises SandboxError where the component cannot be built or loaded."""
        self._worker = _WorkerProcess()

    def start(self, job: Job) -> WasmRunning:
        """Starts a job.

        Raises:
            SandboxError: the worker does not start, or the job needs packages.
        """
        if job.packages:
            raise SandboxError(f"the wasm tier runs pure Python only, without {', '.join(job.packages)}")
        if not self._worker.alive:
            self._worker = _WorkerProcess()
        return WasmRunning(self._worker, job)

    def close(self) -> None:
        """Ends the worker."""
        self._worker.kill()


class WasmRunning:
    """A job that a worker has been given."""

    def __init__(self, worker: _WorkerProcess, job: Job) -> None:
        self._worker = worker
        self._start = time.monotonic()
        # The worker interrupts guests at their limit; this deadline is for a guest that sleeps in the host.
        self._deadline = self._start + job.limits.wall_s + _GRACE_S
        self._outcome: Outcome | None = None
        self._frames: deque[bytes] = deque()
        head = {"limits": asdict(job.limits), "stdin": base64.b64encode(job.stdin).decode("ascii")}
        worker.send(JOB, json.dumps(head).encode() + b"\n" + json.dumps(dict(job.request)).encode())

    def send(self, frame: bytes) -> None:
        """Sends one frame; a job that has ended loses it."""
        if self._outcome is None:
            self._worker.send(FRAME, frame)

    def receive(self) -> bytes | None:
        """The next frame of the job; None if the job ended first."""
        return self._frames.popleft() if self._frames else self._receive()

    def _receive(self) -> bytes | None:
        """The next frame from the worker; None where the job has ended."""
        if self._outcome is not None:
            return None
        message = self._worker.receive(self._deadline)
        if message is None:
            # A guest that cannot be interrupted, or a worker that is gone.
            self._worker.kill()
            self._end("timeout" if time.monotonic() >= self._deadline else "killed")
            return None
        kind, body = message
        if kind == FRAME:
            return body
        head, _, output = body.partition(b"\n")
        self._end(stdout=output, **json.loads(head))
        return None

    def wait(self) -> None:
        """Waits until the job ends; its frames can still be received."""
        while (frame := self._receive()) is not None:
            self._frames.append(frame)

    def finish(self) -> Outcome:
        """Ends the job, if necessary with its worker, and returns its outcome."""
        if self._outcome is None:
            self._worker.send(NO_MORE, b"")
            self._deadline = time.monotonic() + _GRACE_S
            self.wait()
        assert self._outcome is not None
        return self._outcome

    def _end(
        self, end: End, status: int | None = None, detail: str = "", cpu_s: float = 0.0, stdout: bytes = b""
    ) -> None:
        seconds = time.monotonic() - self._start
        self._outcome = Outcome(end, status, None, stdout, seconds, cpu_s, "wasm", detail)


class _WorkerProcess:
    """The worker's process and the socket to it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-s", "-P", "-B", "-X", "utf8", "-c", _START, str(_ROOT)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
                start_new_session=True,
                cwd="/",
            )
        self._socket = ours
        self._messages = Messages(ours)
        self.alive = True
        answer = self.receive(time.monotonic() + _START_TIMEOUT_S)
        kind, why = answer or (REFUSED, b"the wasm tier's worker does not start")
        if kind != READY:
            self.kill()
            raise SandboxError(why.decode(errors="replace"))

    def send(self, kind: bytes, body: bytes) -> None:
        """Sends a message; a worker that is gone is noticed when it does not answer."""
        with contextlib.suppress(OSError):
            self._socket.settimeout(_SEND_TIMEOUT_S)
            self._messages.send(kind, body)

    def receive(self, deadline: float) -> tuple[bytes, bytes] | None:
        """(kind, body) of the next message; None at the deadline, or where the worker is gone."""
        try:
            return self._messages.receive(deadline)
        except (OSError, EOFError):
            return None

    def kill(self) -> None:
        """Ends the process."""
        self.alive = False
        self._messages.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
