"""The judge's side of the kernel tiers: starts a zygote, hands it jobs, reads what comes back within bounds.

The judge holds the other ends of a job's pipes. It never waits for an end of file: a job has ended when its zygote
reports that no process of it is left.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from rlkit.verify.sandbox import kernel, seccomp
from rlkit.verify.sandbox.job import Job, Running, SandboxError, Tier
from rlkit.verify.sandbox.running_job import RunningJob

_ROOT = Path(__file__).resolve().parents[3]
_STACK = 4 << 30
"""Bytes of stack that the zygote starts with: the kernel reserves the room for a stack when a process starts."""
_START = (
    "import os, resource, socket, sys; stack = resource.RLIMIT_STACK; most = resource.getrlimit(stack)[1];"
    f"size = {_STACK} if most == resource.RLIM_INFINITY else min({_STACK}, most);"
    "resource.getrlimit(stack)[0] == size or"
    " (resource.setrlimit(stack, (size, most)), os.execv(sys.orig_argv[0], sys.orig_argv));"
    "control = socket.socket(fileno=0); sys.path.insert(0, control.recv(4096).decode());"
    "from rlkit.verify.sandbox.zygote import main; main(control)"
)
"""The zygote's first program: starts itself again with a larger stack if need be, then imports `zygote`."""
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 10.0
_MAX_ANSWER = 65536
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Settings for numpy's libraries: threads of theirs would not survive the fork."""


class ZygoteSandbox:
    """A `Sandbox` of one of the kernel tiers. Its zygote starts with the first job."""

    def __init__(self, tier: Tier) -> None:
        self.tier = tier
        self._packages: tuple[str, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._last: RunningJob | None = None

    def start(self, job: Job) -> Running:
        """Starts a job; with other packages than the last, in a new zygote.

        Raises:
            SandboxError: the sandbox did not start; it must be closed then.
        """
        if self._last is not None:
            # Ends it, if its caller has not.
            with contextlib.suppress(SandboxError):
                self._last.finish()
        is_warm = self._control is not None and job.packages == self._packages and not (self._last and self._last.lost)
        if is_warm:
            # The kernel may have ended the zygote meanwhile, to save memory; then a new one is started below.
            with contextlib.suppress(OSError):
                return self._hand_over(job)
        self.close()
        self._packages = job.packages
        try:
            self._open()
            return self._hand_over(job)
        except OSError as e:
            self.close()
            raise SandboxError(f"the sandbox could not start: {e}") from e

    def _hand_over(self, job: Job) -> RunningJob:
        assert self._control is not None
        self._last = RunningJob(self.tier, job, self._control)
        return self._last

    def close(self) -> None:
        """Ends the sandbox's own processes."""
        self._last = None
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(_STOP_TIMEOUT_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def _open(self) -> None:
        """Starts a zygote. Raises OSError, SandboxError."""
        if sys.platform != "linux" or kernel.machine() not in seccomp.MACHINES:
            raise SandboxError(f"it needs Linux on x86-64 or aarch64, not {sys.platform} on {kernel.machine()}")
        config = {
            "tier": self.tier,
            "imports": self._packages,
            "packages": _installed(self._packages),
            "scratch": tempfile.gettempdir(),
        }
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                # -s -P -S and an environment of ours: what -I would do, with the hash seed fixed.
                [sys.executable, "-s", "-P", "-S", "-B", "-X", "utf8", "-c", _START],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PYTHONHASHSEED": "0"} | (_ONE_THREAD if self._packages else {}),
                start_new_session=True,
                cwd="/",
            )
        self._control.settimeout(_START_TIMEOUT_S)
        self._control.send(str(_ROOT).encode())
        self._control.send(json.dumps(config).encode())
        answer = json.loads(self._control.recv(_MAX_ANSWER) or '{"error": "its process ended"}')
        if "error" in answer:
            self.close()
            raise SandboxError(f"the sandbox could not start: {answer['error']}")


def _installed(packages: tuple[str, ...]) -> dict[str, str]:
    """Where packages stand, with the folder of shared libraries that a wheel puts beside its package."""
    found: dict[str, str] = {}
    for name in packages:
        spec = importlib.util.find_spec(name) if name.isidentifier() else None
        if spec is None or spec.origin is None:
            raise SandboxError(f"the package {name!r} is not installed here")
        place = Path(spec.submodule_search_locations[0] if spec.submodule_search_locations else spec.origin).resolve()
        libraries = place.with_name(f"{name}.libs")
        found |= {path.name: str(path) for path in (place, libraries) if path.exists()}
    return found
