"""What goes into a sandbox and what comes out: one form for every tier. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Tier = Literal["namespaces", "landlock", "wasm", "unsafe_none"]
End = Literal["exit", "timeout", "memory", "output", "disk", "killed"]


class SandboxError(Exception):
    """The sandbox itself failed; never the program's fault."""


@dataclass(frozen=True)
class Limits:
    """The limits of one job; each test has a job of its own."""

    wall_s: float = 4.0
    """Seconds from start to end."""
    cpu_s: float = 4.0
    """Seconds of CPU."""
    memory_mb: float = 512.0
    """MiB of memory."""
    output_kb: float = 1024.0
    """KiB on standard output and in frames, each."""
    disk_mb: float = 256.0
    """MiB of files."""
    processes: float = 64.0
    """Processes and threads."""


@dataclass(frozen=True)
class Job:
    """One run of untrusted code."""

    request: Mapping[str, Any]
    """JSON; the harness gets it inside the sandbox as its first frame."""
    limits: Limits = field(default_factory=Limits)
    stdin: bytes = b""
    """All of the standard input; its end follows."""
    packages: tuple[str, ...] = ()
    """Installed packages that the program may import besides the standard library, such as "numpy"."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended. None of its processes is left."""

    end: End
    """`exit`: by itself or because its caller had what it wanted; else the limit it hit, or "killed" by a signal."""
    status: int | None
    """Exit status; None where a signal or the caller ended it."""
    signal: int | None
    """The signal that ended it, if one did."""
    stdout: bytes
    """At most the bound and a little more."""
    seconds: float
    cpu_s: float
    tier: Tier
    detail: str = ""
    """A few words for the verdict: "ended by signal 11"."""


class Running(Protocol):
    """A job that has started. Its caller must call `finish`."""

    def send(self, frame: bytes) -> None:
        """Sends one frame to the harness; a job that has ended loses it silently."""

    def receive(self) -> bytes | None:
        """The next frame that the job wrote, or None where it ended or hit a limit first. Never trust its content."""

    def wait(self) -> None:
        """Until the job ends by itself or hits a limit: a script. A frame that it sends stays to be received."""

    def finish(self) -> Outcome:
        """Removes what is left of the job (processes, files, memory); returns its outcome. Safe to call twice.

        Raises:
            SandboxError: the sandbox itself failed to run the job.
        """


class Sandbox(Protocol):
    """A warm place to run jobs, one at a time; not for several threads at once."""

    tier: Tier

    def start(self, job: Job) -> Running:
        """Starts a job.

        Raises:
            SandboxError: the sandbox did not start; it must be closed then.
        """

    def close(self) -> None:
        """Ends the sandbox's own processes."""
