"""Hostile programs that a tier must contain on this machine before it is used. They take a second, once a process."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rlkit.verify.sandbox.job import End, Job, Limits, Outcome, Sandbox

_LIMITS = Limits(wall_s=2.0, cpu_s=2.0, memory_mb=128, output_kb=64, disk_mb=8, processes=16)
_SHORT_WALL_S = 0.1
"""For probes that must run into the time limit."""
_HELPERS = """
import os, sys
escapes = []
def attempt(name, action):
    try:
        result = action()
    except BaseException:
        return
    if not (type(result) is int and result < 0):
        escapes.append(name)
"""
_NATIVE_HELPERS = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    return libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, args))
"""
_REPORT = "\nprint('escaped: ' + ', '.join(escapes) if escapes else 'held')\n"


@dataclass(frozen=True)
class Probe:
    """One hostile program."""

    name: str
    """What must hold, as `rlkit doctor` prints it."""
    program: str
    """Calls `attempt(name, action)`: an action that neither raises nor returns -1 is an escape. CANARY_* are the file,
    the process and the port that the self-test offers for an attack."""
    ends: tuple[End, ...] = ("exit",)
    """How it may end; a program that ends by itself must also print "held"."""
    native: bool = True
    """Whether it needs an operating system to attack, which WebAssembly does not have."""


@dataclass(frozen=True)
class ProbeResult:
    """Whether the tier contained one of them."""

    name: str
    held: bool
    detail: str = ""


PROBES = (
    Probe(
        "a pure Python program runs",
        """
import collections, decimal, json, random, re
assert json.loads(json.dumps(collections.Counter("aab"))) == {"a": 2, "b": 1}
assert re.sub("a+", "b", "caat") == "cbt" and decimal.Decimal("0.1") + 1 == decimal.Decimal("1.1")
""",
        native=False,
    ),
    Probe(
        "a file outside is out of reach",
        """
attempt("read", lambda: open(CANARY_FILE).read())
attempt("write", lambda: open(CANARY_FILE, "a").write("x"))
attempt("remove", lambda: os.remove(CANARY_FILE))
""",
        native=False,
    ),
    Probe("a program that spins ends", "while True: pass", ends=("timeout",), native=False),
    Probe(
        "an ordinary program runs",
        """
import json, random, tempfile, threading
thread = threading.Thread(target=json.dumps, args=([1],))
thread.start(); thread.join()
with tempfile.TemporaryFile() as file:
    file.write(bytes(1 << 20))
assert len(bytearray(64 << 20))
""",
    ),
    Probe(
        "files of others are out of reach",
        """
for path in (CANARY_FILE, "/etc/passwd", "/proc/self/environ", "/proc/1/environ", "/proc", "/sys"):
    attempt("read " + path, lambda: os.listdir(path) if os.path.isdir(path) else open(path).read())
for path in (CANARY_FILE, CANARY_FILE + "2", "/dev/shm/rlkit", "/var/tmp/rlkit", os.__file__, "/rlkit"):
    attempt("write " + path, lambda: open(path, "a").write("x"))
attempt("remove", lambda: os.remove(CANARY_FILE))
attempt("core_pattern", lambda: open("/proc/sys/kernel/core_pattern", "w").write("|/rlkit"))
""",
    ),
    Probe(
        "metadata of others' files stays",
        """
attempt("mode", lambda: os.chmod(CANARY_FILE, 0o777))
attempt("times", lambda: os.utime(CANARY_FILE, (0, 0)))
attempt("owner", lambda: os.chown(CANARY_FILE, os.getuid(), os.getgid()))
attempt("attribute", lambda: os.setxattr(CANARY_FILE, "user.rlkit", b"x"))
attempt("size", lambda: os.truncate(CANARY_FILE, 0))
attempt("mode of the library", lambda: os.chmod(os.__file__, 0o777))
""",
    ),
    Probe(
        "no process starts",
        """
import _posixsubprocess, subprocess
attempt("fork", lambda: os.fork() or os._exit(0))
attempt("spawn", lambda: subprocess.Popen([sys.executable, "-c", ""]))
attempt("exec", lambda: os.execv("/bin/true", ["true"]))
attempt("vfork", lambda: libc.vfork() or os._exit(0))
""",
    ),
    Probe(
        "no other process is touched",
        """
for pid in (CANARY_PID, os.getppid(), 1, -1, 0):
    for number in (0, 19, 9):
        attempt(f"signal {pid}", lambda: os.kill(pid, number))
for pid in (CANARY_PID, os.getppid()):
    attempt("limits", lambda: __import__("resource").prlimit(pid, 7, (8, 8)))
    attempt("affinity", lambda: os.sched_setaffinity(pid, {0}))
    attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))
    attempt("trace", lambda: libc.ptrace(16, pid, 0, 0))
    attempt("pidfd", lambda: os.pidfd_open(pid))
""",
    ),
    Probe(
        "no socket opens",
        """
import socket
for family in range(1, 46):
    for kind in (1, 2, 3, 5):
        attempt(f"family {family}", lambda: socket.socket(family, kind))
attempt("datagrams", lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
attempt("connect", lambda: socket.create_connection(("127.0.0.1", CANARY_PORT), 1))
""",
    ),
    Probe(
        "no namespace, mount or user id",
        """
attempt("root", lambda: 0 if 0 in (os.getuid(), os.geteuid(), os.getgid()) else -1)
attempt("setuid", lambda: os.setuid(0))
for flag in (0x10000000, 0x20000, 0x40000000, 0x20000000):
    attempt("unshare", lambda: libc.unshare(flag))
attempt("mount", lambda: libc.mount(b"tmpfs", b".", b"tmpfs", 0, None))
attempt("unmount", lambda: libc.umount2(b"/tmp", 2))
attempt("chroot", lambda: os.chroot("."))
attempt("host name", lambda: libc.sethostname(b"x", 1))
""",
    ),
    Probe(
        "rare system calls are shut",
        """
x86 = os.uname().machine == "x86_64"
attempt("memfd", lambda: os.memfd_create("x"))
for name, number in dict(
    shmget=29 if x86 else 194, semget=64 if x86 else 190, msgget=68 if x86 else 186, add_key=248 if x86 else 217,
    mq_open=240 if x86 else 180, userfaultfd=323 if x86 else 282, perf_event_open=298 if x86 else 241,
    bpf=321 if x86 else 280, io_uring_setup=425, clone3=435, pidfd_open=434, process_vm_readv=310 if x86 else 270,
    open_by_handle_at=304 if x86 else 265, inotify_init1=294 if x86 else 26).items():
    attempt(name, lambda: call(number, 0, 4096, 0o1600, 0, 0))
if x86:
    attempt("x32", lambda: call(0x40000000 + 39))
""",
    ),
    Probe(
        "memory has a bound",
        """
kept = []
def fill():
    while True:
        kept.append(bytearray(8 << 20))
        assert len(kept) < 40 or escapes.append("memory")
attempt("memory", fill)
kept.clear()
""",
    ),
    Probe(
        "disk has a bound",
        """
total = 0
try:
    for i in range(64):
        with open(str(i), "wb") as file:
            total += file.write(bytes(1 << 20))
except OSError:
    pass
if total > 48 << 20:
    escapes.append("disk")
""",
        ends=("exit", "disk"),
    ),
    Probe(
        "a program that ignores signals ends",
        """
import signal
for number in range(1, 65):
    attempt("ignored", lambda: signal.signal(number, signal.SIG_IGN) and -1)
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
while True:
    pass
""",
        ends=("timeout",),
    ),
)


def self_test(sandbox: Sandbox) -> list[ProbeResult]:
    """Runs every probe; a probe that does not run counts as an escape.

    Raises:
        SandboxError: the sandbox does not start.
    """
    with _canaries() as names:
        native = sandbox.tier != "wasm"
        results = [_run(sandbox, probe, names) for probe in PROBES if native or not probe.native]
        untouched = Path(str(names["CANARY_FILE"])).read_text() == _CANARY_TEXT
    if not untouched:
        results.append(ProbeResult("the canary's file", False, "it was changed"))
    return results


_CANARY_TEXT = "canary"


@contextlib.contextmanager
def _canaries() -> Iterator[dict[str, str | int]]:
    """A file that anyone may change, a listener, and this process."""
    with (
        tempfile.TemporaryDirectory(prefix="rlkit-canary-") as folder,
        socket.create_server(("127.0.0.1", 0)) as server,
    ):
        os.chmod(folder, 0o777)
        file = Path(folder, "canary")
        file.write_text(_CANARY_TEXT)
        file.chmod(0o666)
        yield {"CANARY_FILE": str(file), "CANARY_PID": os.getpid(), "CANARY_PORT": server.getsockname()[1]}


def _run(sandbox: Sandbox, probe: Probe, names: dict[str, str | int]) -> ProbeResult:
    """Runs one probe."""
    values = "\n".join(f"{name} = {value!r}" for name, value in names.items())
    wall = _SHORT_WALL_S if probe.ends == ("timeout",) else _LIMITS.wall_s
    limits = Limits(**{**_LIMITS.__dict__, "wall_s": wall})
    helpers = _HELPERS + (_NATIVE_HELPERS if probe.native else "")
    program = f"{values}\n{helpers}{probe.program}{_REPORT}"
    running = sandbox.start(Job({"mode": "stdin", "program": program}, limits=limits))
    running.wait()
    return _judge(probe, running.finish())


def _judge(probe: Probe, outcome: Outcome) -> ProbeResult:
    output = outcome.stdout.decode(errors="replace").strip()
    if outcome.end not in probe.ends:
        return ProbeResult(probe.name, False, f"it ended with {outcome.end} {outcome.detail}".strip())
    if outcome.end == "exit" and output != "held":
        return ProbeResult(probe.name, False, output or f"it failed with status {outcome.status}")
    return ProbeResult(probe.name, True)
