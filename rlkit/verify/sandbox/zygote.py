"""A small trusted process that forks a child for each job, watches it, and cleans up after it. Standard library only.

    judge (client.py) -> keeper -> zygote -> job (job_process.py -> harness.py)

Started fresh by `client` with an empty environment and its socket on descriptor 0, so that a fork costs half a
millisecond and holds nothing of the judge. The keeper enters the tier's boundary and outlives the zygote, to clean up
what only it can reach; both end when the judge does. Jobs are served one at a time; their requests never come here.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from typing import Any

from rlkit.verify.sandbox import job_process, kernel, python_files, surroundings
from rlkit.verify.sandbox.boundary import Boundary
from rlkit.verify.sandbox.landlocked import FolderBoundary, LandlockBoundary
from rlkit.verify.sandbox.namespaces import NamespaceBoundary

_PRELOADED = """
    abc array bisect calendar cmath collections.abc copy dataclasses datetime decimal enum fractions functools heapq io
    itertools math numbers operator queue random re statistics string textwrap typing _strptime"""
_MAX_MESSAGE = 4096
_NUM_DESCRIPTORS = 3
_OOM_SCORE = "900"


def main(control: socket.socket) -> None:
    """Serves jobs until the socket closes. The first message says which tier, with which packages."""
    control, first = control.dup(), control.detach()
    os.dup2(os.open(os.devnull, os.O_RDWR), first)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    kernel.save_address_space()
    job_process.limit_descriptors()
    config = json.loads(control.recv(_MAX_MESSAGE * 16))
    # Without the judge's folder of sources, put there to find this module.
    sys.path[:] = python_files.standard_library(sys.path[1:])
    boundary = _boundary(config)
    try:
        judge = os.pidfd_open(os.getppid())
        # If memory runs out on this machine, the kernel ends a job before anything else.
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as f:
            f.write(_OOM_SCORE)
        boundary.enter()
        pid = os.fork()
    except OSError as e:
        _send(control, {"error": str(e)})
        return
    if pid == 0:
        os.close(judge)
        _be_zygote(control, boundary, tuple(config["imports"]))
        os._exit(0)
    control.close()
    _keep(pid, judge, boundary)


def _boundary(config: dict[str, Any]) -> Boundary:
    if config["tier"] == "namespaces":
        return NamespaceBoundary(config["packages"])
    if config["tier"] == "landlock":
        return LandlockBoundary(config["packages"], config["scratch"])
    return FolderBoundary(config["packages"], config["scratch"])


def _keep(zygote: int, judge: int, boundary: Boundary) -> None:
    """Until the zygote ends, or the judge, or the judge says so with SIGTERM; then removes what is left."""
    poll = select.poll()
    stop, stopped = os.pipe()
    os.set_blocking(stopped, False)
    signal.set_wakeup_fd(stopped)
    signal.signal(signal.SIGTERM, lambda *_: None)
    for descriptor in (os.pidfd_open(zygote), judge, stop):
        poll.register(descriptor, select.POLLIN)
    poll.poll()
    os.kill(zygote, signal.SIGKILL)
    os.waitpid(zygote, 0)
    boundary.leave()


def _be_zygote(control: socket.socket, boundary: Boundary, imports: tuple[str, ...]) -> None:
    try:
        kernel.die_with_parent()
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        boundary.settle()
        for name in (*_PRELOADED.split(), *imports):
            importlib.import_module(name)
        surroundings.contest_names()
        # Only what the libraries of these packages needed to hear when they were loaded.
        os.environ.clear()
        memory = boundary.address_space()
        gc.collect()
        gc.freeze()
    # A package's import may raise anything.
    except Exception as e:
        _send(control, {"error": f"{type(e).__name__}: {e}"})
        return
    _send(control, {"ready": True})
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, _MAX_MESSAGE, _NUM_DESCRIPTORS)
        if not message:
            return
        # Without descriptors it ends a job that has ended already.
        if descriptors:
            _serve(json.loads(message), descriptors, memory, control, boundary)


def _send(control: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):
        control.send(json.dumps(message).encode())


def _serve(
    limits: dict[str, float], descriptors: list[int], memory: int, control: socket.socket, boundary: Boundary
) -> None:
    """Runs one job to its end and reports: {"status", "cpu_s", "exceeded"} or {"error"}."""
    try:
        boundary.open_folder(limits)
        base = {"memory": memory, "threads": boundary.base_threads()}
        pid = os.fork()
    except OSError as e:
        boundary.clean(limits)
        for descriptor in descriptors:
            os.close(descriptor)
        _send(control, {"error": str(e)})
        return
    if pid == 0:
        job_process.run_job(descriptors, limits, base, boundary.seal)
    for descriptor in descriptors:
        os.close(descriptor)
    exceeded = _watch(pid, limits, control, boundary)
    # Not yet waited for, so the number is still this job's.
    os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    left = boundary.clean(limits)
    cpu = usage.ru_utime + usage.ru_stime
    _send(control, {"status": status, "cpu_s": cpu, "exceeded": exceeded or left})


def _watch(pid: int, limits: dict[str, float], control: socket.socket, boundary: Boundary) -> str:
    """Until the job ends, breaks a bound of the boundary's (returned), or the judge says so or is gone."""
    pidfd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(control, select.POLLIN)
    every = boundary.check_every_s()
    exceeded = ""
    while not exceeded and not poll.poll(None if every is None else every * 1000):
        exceeded = boundary.exceeded(pid, limits)
    os.close(pidfd)
    return exceeded
