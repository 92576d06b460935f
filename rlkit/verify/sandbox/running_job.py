"""One running job as the judge sees it: reads within bounds, one deadline for everything, how the job ended."""

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
from rlkit.verify.sandbox.mailbox import Mailbox, open_mailbox

_GRACE_S = 10.0
"""Seconds in which the zygote must take a job or end one."""
_PAUSE_S = 0.005
"""Longest wait for a frame before the judge polls the job's end and reads its pipe."""
_CHUNK = 65536
_MAX_REPORT = 4096
"""Bytes of the zygote's report on a job."""


class RunningJob:
    """A `Running` job in a zygote."""

    def __init__(self, tier: Tier, job: Job, control: socket.socket) -> None:
        """Hands the job over. Raises OSError where the zygote is gone."""
        self.lost = False
        """Whether the zygote did not answer: it must not get another job."""
        self._tier, self._limits, self._control = tier, job.limits, control
        self._bound = int(job.limits.output_kb * 1024)
        self._stdout, self._num_received = bytearray(), 0
        self._end: End | None = None
        self._report: dict[str, Any] | None = None
        self._outcome: Outcome | None = None
        self._start = time.monotonic()
        self._number = 1
        """The number of the last message that was sent or received."""
        mailbox = open_mailbox(json.dumps(job.request).encode(), self._bound)
        try:
            self._mailbox = Mailbox(mailbox)
            self._hand_over(job.stdin, mailbox)
        finally:
            os.close(mailbox)

    def _hand_over(self, text: bytes, mailbox: int) -> None:
        """Sends the job's limits and descriptors to the zygote. Raises OSError."""
        self._out, out = os.pipe()
        os.set_blocking(self._out, False)
        self._is_out_open = True
        self._poll = select.poll()
        self._poll.register(self._out, select.POLLIN)
        self._poll.register(self._control, select.POLLIN)
        given = [out, mailbox]
        try:
            given.insert(0, _sealed(text))
            self._control.settimeout(_GRACE_S)
            socket.send_fds(self._control, [json.dumps(asdict(self._limits)).encode()], given)
        except OSError:
            self._close()
            raise
        finally:
            for descriptor in given[:-1]:
                os.close(descriptor)

    def send(self, frame: bytes) -> None:
        """Sends one frame, once the job has answered the last; a job that ends before that loses it silently."""
        while self._number % 2 and not self._has_ended():
            self.receive()
        self._number += 1
        if not self._has_ended() and not self._mailbox.write(self._number, frame):
            self._end = "output"

    def receive(self) -> bytes | None:
        """The next frame, or None where the job ended or hit a limit first."""
        while self._outcome is None:
            number = self._mailbox.number
            if number == self._number + 1:
                return self._take_frame()
            if self._has_ended():
                break
            self._step(wait=False)
            if not self._has_ended():
                self._mailbox.wait(number, _PAUSE_S)
        return None

    def _take_frame(self) -> bytes | None:
        """Reads the job's frame; None if it, or all frames together, are too large."""
        frame = self._mailbox.read()
        self._number += 1
        self._num_received += len(frame or b"")
        if frame is None or self._num_received > self._bound:
            self._end = self._end or "output"
            return None
        return frame

    def wait(self) -> None:
        """Waits until the job ends by itself or hits a limit."""
        while not self._has_ended():
            self._step()

    def finish(self) -> Outcome:
        """Kills what is left of the job and returns its outcome. Safe to call twice.

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
            self._outcome = self._outcome_from_report(stopped, seconds)
        return self._outcome

    def _has_ended(self) -> bool:
        return self._end is not None or self._report is not None or self.lost

    def _step(self, wait: bool = True) -> None:
        """Reads new output and the job's report, or notes the limit that the job hit.

        Args:
            wait: Wait until there is something to read.
        """
        left = self._start + self._limits.wall_s - time.monotonic()
        if left <= 0:
            self._end = "timeout"
            return
        events = {descriptor for descriptor, _ in self._poll.poll(left * 1000 if wait else 0)}
        if self._control.fileno() in events:
            self._read_report()
        # Read after the report: everything that the job wrote before its end is there by then.
        self._drain()

    def _drain(self) -> None:
        """Reads what the job has printed so far, up to a little above the bound."""
        while self._is_out_open and len(self._stdout) <= self._bound:
            try:
                chunk = os.read(self._out, _CHUNK)
            except BlockingIOError:
                break
            if not chunk:
                self._is_out_open = False
                self._poll.unregister(self._out)
            self._stdout += chunk
        if len(self._stdout) > self._bound:
            self._end = self._end or "output"

    def _stop(self) -> None:
        """Has the zygote end the job."""
        try:
            self._control.settimeout(_GRACE_S)
            self._control.send(b"{}")
            self._read_report()
        except OSError:
            self.lost = True

    def _read_report(self) -> None:
        """Reads the zygote's report on the job's end; without one the zygote is lost."""
        try:
            message = self._control.recv(_MAX_REPORT)
        except OSError:
            message = b""
        if message:
            self._report = json.loads(message)
        else:
            self.lost = True

    def _close(self) -> None:
        os.close(self._out)
        self._is_out_open = False
        self._mailbox.close()

    def _outcome_from_report(self, stopped: bool, seconds: float) -> Outcome:
        """How the job went, by the zygote's report and by what the judge has seen."""
        report = self._report or {"status": signal.SIGKILL, "cpu_s": 0.0, "exceeded": ""}
        if "error" in report:
            raise SandboxError(f"the sandbox could not run the job: {report['error']}")
        code = os.waitstatus_to_exitcode(report["status"])
        number = None if code >= 0 or (stopped and code == -signal.SIGKILL) else -code
        end, detail = self._reason(number, report)
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

    def _reason(self, number: int | None, report: dict[str, Any]) -> tuple[End, str]:
        """What ended the job, and a short explanation."""
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
    """A descriptor to read `text` from; nobody can write to it or change its size."""
    descriptor = os.memfd_create("stdin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    left = memoryview(text)
    while left:
        left = left[os.write(descriptor, left) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor
