"""A small trusted process that forks a child for each job, watches it, and cleans up after it. Standard library only.

    judge (zygote_client.py) -> keeper -> zygote -> job (job_process.py -> harness.py)

`zygote_client` starts it fresh, with an empty environment and its socket on descriptor 0, so that a fork costs half a
millisecond and contains nothing of the judge. The keeper enters the tier's boundary and outlives the zygote, to clean
up what only it can reach; both end when the judge does. Jobs run one at a time. A job's request, with the program in
it, goes past the zygote through the mailbox.
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
"""Modules that programs use most: imported once here, and not in each job."""
_MAX_MESSAGE = 4096
"""Bytes of a message about a job."""
_MAX_CONFIG = 65536
"""Bytes of the first message."""
_NUM_DESCRIPTORS = 3
"""Descriptors that come with a job: standard input, standard output, the mailbox."""
_OOM_SCORE = "900"
"""Close to the highest: if the machine runs out of memory, the kernel ends a job before most other processes."""


def main(control: socket.socket) -> None:
    """Runs jobs until the socket closes. The first message names the tier and the packages."""
    control, first = control.dup(), control.detach()
    os.dup2(os.open(os.devnull, os.O_RDWR), first)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    kernel.save_address_space()
    job_process.limit_descriptors()
    config = json.loads(control.recv(_MAX_CONFIG))
    # Without the judge's folder of sources, put there to find this module.
    sys.path[:] = python_files.standard_library(sys.path[1:])
    boundary = _boundary(config)
    try:
        judge = os.pidfd_open(os.getppid())
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as f:
            f.write(_OOM_SCORE)
        boundary.enter()
        pid = os.fork()
    except OSError as e:
        _send(control, {"error": str(e)})
        return
    if pid == 0:
        os.close(judge)
        _serve_jobs(control, boundary, tuple(config["imports"]))
        os._exit(0)
    control.close()
    _guard_zygote(pid, judge, boundary)


def _boundary(config: dict[str, Any]) -> Boundary:
    """The boundary of the tier that the judge asks for."""
    if config["tier"] == "namespaces":
        return NamespaceBoundary(config["packages"])
    if config["tier"] == "landlock":
        return LandlockBoundary(config["packages"], config["scratch"])
    return FolderBoundary(config["packages"], config["scratch"])


def _guard_zygote(zygote: int, judge: int, boundary: Boundary) -> None:
    """Waits until the zygote or the judge ends, or SIGTERM comes from the judge; then cleans up."""
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
    boundary.remove()


def _serve_jobs(control: socket.socket, boundary: Boundary, imports: tuple[str, ...]) -> None:
    """Becomes the zygote: prepares for jobs, reports that it is ready, and runs them one by one."""
    try:
        kernel.die_with_parent()
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        boundary.prepare()
        for name in (*_PRELOADED.split(), *imports):
            importlib.import_module(name)
        surroundings.contest_names()
        # The packages' libraries read these variables when they were loaded; a program shall not see them.
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
        # A message without descriptors asks to end a job; this one has ended already.
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
        job_process.run_job(descriptors, limits, base, boundary.confine)
    for descriptor in descriptors:
        os.close(descriptor)
    exceeded = _watch(pid, limits, control, boundary)
    # Nobody has waited for the process yet, so its id still belongs to this job.
    os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    left = boundary.clean(limits)
    cpu = usage.ru_utime + usage.ru_stime
    _send(control, {"status": status, "cpu_s": cpu, "exceeded": exceeded or left})


def _watch(pid: int, limits: dict[str, float], control: socket.socket, boundary: Boundary) -> str:
    """Waits until the job ends or the judge asks for its end; returns the bound that the job broke, or ""."""
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
