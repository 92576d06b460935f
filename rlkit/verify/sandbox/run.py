"""One running job, seen from the judge: bounded reading, one deadline over everything, and its end."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import time
from dataclasses import asdict
from typing import Any

from rlkit.verify.sandbox.job import End, Job, Outcome, SandboxError, Tier

_GRACE_S = 10.0
_CHUNK = 65536
_MAX_REPORT = 4096


class Run:
    """A `Running` job in a zygote."""

    def __init__(self, tier: Tier, job: Job, control: socket.socket) -> None:
        """Hands the job over. Raises OSError where the zygote is gone."""
        self.lost = False
        """Whether the zygote did not answer: it must not get another job."""
        self._tier, self._limits, self._control = tier, job.limits, control
        self._bound = int(job.limits.output_kb * 1024)
        self._stdout, self._frames, self._num_received = bytearray(), bytearray(), 0
        self._end: End | None = None
        self._report: dict[str, Any] | None = None
        self._outcome: Outcome | None = None
        self._out, out = os.pipe()
        self._channel, channel = socket.socketpair()
        self._channel.setblocking(False)
        os.set_blocking(self._out, False)
        self._poll = select.poll()
        for descriptor in (self._out, self._channel.fileno(), control.fileno()):
            self._poll.register(descriptor, select.POLLIN)
        self._open = {self._out, self._channel.fileno()}
        self._start = time.monotonic()
        stdin = _sealed(job.stdin)
        try:
            control.settimeout(_GRACE_S)
            limits = json.dumps(asdict(job.limits)).encode()
            socket.send_fds(control, [limits], [stdin, out, channel.fileno()])
        except OSError:
            self._close()
            raise
        finally:
            os.close(stdin)
            os.close(out)
            channel.close()
        self.send(json.dumps(job.request).encode())

    def send(self, frame: bytes) -> None:
        """Sends one frame; a job that has ended, or that a limit ends before it reads, loses it silently."""
        data = memoryview(len(frame).to_bytes(4, "big") + frame)
        while data and not self._over():
            try:
                data = data[self._channel.send(data) :]
            except BlockingIOError:
                self._step(writing=True)
            except (BrokenPipeError, ConnectionResetError):
                return

    def receive(self) -> bytes | None:
        """The next frame, or None where the job ended or hit a limit first."""
        while True:
            end = 4 + int.from_bytes(self._frames[:4], "big")
            if len(self._frames) >= max(4, end):
                frame = bytes(self._frames[4:end])
                del self._frames[:end]
                return frame
            if self._over():
                return None
            self._step()

    def wait(self) -> None:
        """Until the job ends by itself or hits a limit."""
        while not self._over():
            self._step()

    def finish(self) -> Outcome:
        """Ends whatever is left of the job and says how it went. Safe to call twice.

        Raises:
            SandboxError: the sandbox could not run the job.
        """
        if self._outcome is None:
            stopped = self._report is None and not self.lost
            if stopped:
                self._stop()
            seconds = time.monotonic() - self._start
            self._drain()
            self._close()
            self._outcome = self._conclude(stopped, seconds)
        return self._outcome

    def _over(self) -> bool:
        return self._end is not None or self._report is not None or self.lost

    def _step(self, writing: bool = False) -> None:
        """Takes what comes next, or notes the limit that the job hit."""
        if self._channel.fileno() in self._open:
            self._poll.modify(self._channel, select.POLLIN | (select.POLLOUT if writing else 0))
        left = self._start + self._limits.wall_s - time.monotonic()
        if left <= 0:
            self._end = "timeout"
            return
        events = {descriptor for descriptor, _ in self._poll.poll(left * 1000)}
        if self._control.fileno() in events:
            self._read_report()
        # After its report, what the job wrote before its end is all there.
        self._drain()

    def _drain(self) -> None:
        """Takes what the job has written so far, up to a little above the bound."""
        while self._out in self._open and len(self._stdout) <= self._bound:
            if not self._take(self._out, self._stdout):
                break
        while self._channel.fileno() in self._open and self._num_received <= self._bound:
            before = len(self._frames)
            more = self._take(self._channel.fileno(), self._frames)
            self._num_received += len(self._frames) - before
            if not more:
                break
        if max(len(self._stdout), self._num_received) > self._bound:
            self._end = self._end or "output"

    def _take(self, descriptor: int, text: bytearray) -> bool:
        """One read; False where there is nothing more now."""
        try:
            chunk = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            chunk = b""
        if not chunk:
            self._open.discard(descriptor)
            self._poll.unregister(descriptor)
        text += chunk
        return bool(chunk)

    def _stop(self) -> None:
        """Has the zygote end the job."""
        try:
            self._control.settimeout(_GRACE_S)
            self._control.send(b"{}")
            self._read_report()
        except OSError:
            self.lost = True

    def _read_report(self) -> None:
        try:
            message = self._control.recv(_MAX_REPORT)
        except OSError:
            message = b""
        if message:
            self._report = json.loads(message)
        else:
            self.lost = True

    def _close(self) -> None:
        self._open.clear()
        if self._channel.fileno() >= 0:
            os.close(self._out)
            self._channel.close()

    def _conclude(self, stopped: bool, seconds: float) -> Outcome:
        report = self._report or {"status": signal.SIGKILL, "cpu_s": 0.0, "exceeded": ""}
        if "error" in report:
            raise SandboxError(f"the sandbox could not run the job: {report['error']}")
        code = os.waitstatus_to_exitcode(report["status"])
        number = None if code >= 0 or (stopped and code == -signal.SIGKILL) else -code
        end, detail = self._why(number, report)
        return Outcome(
            end=end,
            status=code if code >= 0 else None,
            signal=number,
            stdout=bytes(self._stdout),
            seconds=seconds,
            cpu_s=report["cpu_s"],
            tier=self._tier,
            detail=detail,
        )

    def _why(self, number: int | None, report: dict[str, Any]) -> tuple[End, str]:
        """What ended the job, and a few words on it."""
        limits = self._limits
        if self._end == "timeout":
            return "timeout", f"no end after {limits.wall_s:g} s"
        if self._end == "output":
            return "output", f"more than {limits.output_kb:g} KiB of output"
        if report["exceeded"]:
            return "disk", f"more than {limits.disk_mb:g} MiB, or too many files, written"
        if report["cpu_s"] > limits.cpu_s or number == signal.SIGXCPU:
            return "timeout", f"more than {limits.cpu_s:g} s of CPU"
        if self.lost:
            return "killed", "the program took its sandbox down"
        if number is not None:
            return "killed", f"ended by signal {number}"
        return "exit", ""


def _sealed(text: bytes) -> int:
    """A descriptor to read `text` from, which no one can write to, nor grow."""
    descriptor = os.memfd_create("stdin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    left = memoryview(text)
    while left:
        left = left[os.write(descriptor, left) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor
