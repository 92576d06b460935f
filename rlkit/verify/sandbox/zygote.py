"""A small trusted process that forks a child for each test, watches it, and cleans up after it. Standard library only.

Started fresh by `client` with an empty environment and its socket on descriptor 0, so that a fork costs milliseconds
and holds nothing of the judge: expected outputs never come here. Requests are served one at a time.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any

from rlkit.verify.sandbox import child

_PRELOADED = """
    abc array bisect calendar cmath collections.abc copy dataclasses datetime decimal enum fractions functools heapq io
    itertools math numbers operator queue random re statistics string textwrap typing _strptime"""
for _name in _PRELOADED.split():
    __import__(_name)

_PR_SET_CHILD_SUBREAPER = 36
_GRACE_S = 5.0


def main() -> None:
    """Serves requests until the socket closes."""
    sock = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    child._LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # A candidate finds the standard library and nothing of ours.
    sys.path.pop(0)
    for name in [name for name in sys.modules if name.split(".")[0] == "rlkit"]:
        del sys.modules[name]
    base_threads = 0 if os.getuid() == 0 else _threads_of(os.getuid())
    gc.collect()
    gc.freeze()
    _send(sock, {"ready": True})
    while True:
        request = _receive(sock)
        if request is None:
            return
        _send(sock, _serve(request, sock, base_threads))


def _send(sock: socket.socket, message: dict[str, Any]) -> None:
    data = json.dumps(message).encode()
    sock.sendall(len(data).to_bytes(4, "big") + data)


def _receive(sock: socket.socket) -> dict[str, Any] | None:
    head = sock.recv(4, socket.MSG_WAITALL)
    if len(head) < 4:
        return None
    body = sock.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
    message: dict[str, Any] = json.loads(body)
    return message


def _threads_of(uid: int) -> int:
    """Threads that this user runs now: RLIMIT_NPROC counts them all, not only the candidate's."""
    total = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{pid}").st_uid == uid:
                total += len(os.listdir(f"/proc/{pid}/task"))
    return total


def _serve(request: dict[str, Any], sock: socket.socket, base_threads: int) -> dict[str, Any]:
    folder = _folder()
    if os.getuid() == 0:
        os.chown(folder, child._NOBODY, child._NOBODY)
    stdin = os.memfd_create("stdin")
    os.write(stdin, request.pop("stdin", "").encode("utf-8", "replace"))
    os.lseek(stdin, 0, os.SEEK_SET)
    out_r, out_w = os.pipe()
    res_r, res_w = os.pipe()
    start = time.monotonic()
    pid = os.fork()
    if pid == 0:
        # High numbers first, so that no dup2 closes what a later one needs.
        high = [os.dup2(fd, 100 + i) for i, fd in enumerate((stdin, out_w, res_w))]
        os.dup2(os.open(os.devnull, os.O_RDWR), 2)
        for fd, target in zip(high, (0, 1, child.RESULT_FD), strict=True):
            os.dup2(fd, target)
        child.run(request, folder, base_threads)
        os._exit(1)
    for fd in (stdin, out_w, res_w):
        os.close(fd)
    try:
        answer = _watch(pid, out_r, res_r, request["limits"], sock)
    finally:
        os.close(out_r)
        os.close(res_r)
        _remove(folder)
    answer["seconds"] = time.monotonic() - start
    return answer


def _folder() -> str:
    while True:
        folder = f"/tmp/rlkit-{os.getpid()}-{time.monotonic_ns()}"
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700)
            return folder


def _watch(pid: int, out_r: int, res_r: int, limits: dict[str, float], sock: socket.socket) -> dict[str, Any]:
    """Reads both pipes within bounds until a frame, an exit, a flood or the deadline; then ends the whole session."""
    deadline = time.monotonic() + limits["wall_s"]
    bound = int(limits["output_kb"] * 1024)
    pidfd = os.pidfd_open(pid)
    texts = {out_r: bytearray(), res_r: bytearray()}
    poll = select.poll()
    for fd in (out_r, res_r, pidfd):
        poll.register(fd, select.POLLIN)
    poll.register(sock.fileno(), 0)
    for fd in texts:
        os.set_blocking(fd, False)
    status = None
    while status is None:
        events = dict(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
        if sock.fileno() in events:
            _end(pid)
            os._exit(0)  # the judge is gone
        if not events and time.monotonic() >= deadline:
            status = "timeout"
        for fd in texts:
            if fd in events and not _drain(fd, texts[fd], bound):
                poll.unregister(fd)
        if max(len(texts[out_r]), len(texts[res_r])) > bound:
            status = "output"
        elif _whole(texts[res_r]):
            status = "frame"
        elif pidfd in events:
            status = "exit"
    os.close(pidfd)
    code, cpu = _end(pid)
    for fd in texts:
        _drain(fd, texts[fd], bound)
    if status == "exit" and _whole(texts[res_r]):
        status = "frame"
    if status == "frame" and max(len(texts[out_r]), len(texts[res_r])) > bound:
        status = "output"
    return {
        "status": status,
        "code": code,
        "cpu": cpu,
        "stdout": texts[out_r][:bound].decode("utf-8", "replace"),
        "frame": texts[res_r][4:].decode("utf-8", "replace") if status == "frame" else "",
    }


def _drain(fd: int, text: bytearray, bound: int) -> bool:
    """Takes what is there, at most a little above the bound; False at the end of the pipe."""
    while len(text) <= bound:
        try:
            chunk = os.read(fd, 65536)
        except BlockingIOError:
            return True
        if not chunk:
            return False
        text += chunk
    return True


def _whole(frame: bytearray) -> bool:
    return len(frame) >= 4 and len(frame) >= 4 + int.from_bytes(frame[:4], "big")


def _end(pid: int) -> tuple[int, float]:
    """Kills the child's session and every descendant that left it, and reaps them all: (wait status, CPU seconds).

    This process is their subreaper, so whoever loses its parent becomes ours and is found.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    _, code, usage = os.wait4(pid, 0)
    deadline = time.monotonic() + _GRACE_S
    while time.monotonic() < deadline:
        for orphan in _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(orphan, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return code, usage.ru_utime + usage.ru_stime
        time.sleep(0.001)
    os._exit(3)  # a fork bomb faster than we are: the judge ends our session and starts anew


def _children() -> list[int]:
    """Process ids whose parent is this process; by a scan of /proc where the kernel keeps no list."""
    try:
        with open("/proc/thread-self/children") as f:
            return [int(pid) for pid in f.read().split()]
    except OSError:
        pass
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as f:
            if int(f.read().rsplit(")", 1)[1].split()[1]) == os.getpid():
                found.append(int(pid))
    return found


def _remove(folder: str) -> None:
    try:
        os.rmdir(folder)
    except OSError:
        # Not empty. These two cope with folders nested deeper than Python recurses, and with ones that deny entry.
        # By absolute path and without a shell; the modules stay out of the zygote, whose size is a fork's cost.
        os.spawnv(os.P_WAIT, "/bin/chmod", ["chmod", "-Rf", "u+rwx", folder])
        os.spawnv(os.P_WAIT, "/bin/rm", ["rm", "-rf", folder])
