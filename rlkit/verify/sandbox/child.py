"""One test in a forked child: gives up its rights, runs the candidate, writes one frame. Standard library only.

The frame is a 4-byte length and JSON on descriptor 3: {"status": "value" | "done" | "error" | "memory", ...}. The
candidate shares this process and can write there itself; it can only lie about what it returned, which it could anyway.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import random
import re
import resource
import signal
import sys
import types
from typing import Any

from rlkit.verify.sandbox.values import BadValue, decode, encode

RESULT_FD = 3
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_NOBODY = 65534
_IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import\b|import[ \t]+([\w., \t]+))", re.MULTILINE)
_SIDE_EFFECTS = ("antigravity", "this", "idlelib", "test", "turtledemo")
_LIBC = ctypes.CDLL(None, use_errno=True)


def run(request: dict[str, Any], folder: str, base_threads: int) -> None:
    """Runs one test and ends this process; descriptors 0-3 are in place."""
    try:
        os.setsid()
        os.closerange(RESULT_FD + 1, 256)
        _preload(request["program"])
        _confine(request["limits"], folder, base_threads)
        frame = _run_test(request)
    except MemoryError:
        frame = {"status": "memory"}
    # Whatever a candidate raises ends here, SystemExit and KeyboardInterrupt too.
    except BaseException as e:
        frame = {"status": "error", "detail": _describe(e)}
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
    _write(frame)
    os._exit(0)


def _describe(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:300]
    except BaseException:
        return "an exception that cannot be shown"


def _write(frame: dict[str, Any]) -> None:
    data = json.dumps(frame).encode()
    data = len(data).to_bytes(4, "big") + data
    while data:
        data = data[os.write(RESULT_FD, data) :]


def _preload(program: str) -> None:
    """Imports the standard modules that the program names: without its rights this process may not read them."""
    lines = [first or rest for first, rest in _IMPORT.findall(program)[:50]]
    for name in (words.split()[0] for line in lines for words in line.split(",") if words.strip()):
        top = name.split(".")[0]
        if top in sys.stdlib_module_names and top not in _SIDE_EFFECTS and name not in sys.modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def _confine(limits: dict[str, float], folder: str, base_threads: int) -> None:
    def limit(which: int, soft: float, hard: float) -> None:
        resource.setrlimit(which, (int(soft), int(hard)))

    os.chdir(folder)
    os.umask(0o077)
    cpu = max(1, -(-limits["cpu_s"] // 1))
    limit(resource.RLIMIT_CPU, cpu, cpu + 1)
    limit(resource.RLIMIT_FSIZE, limits["disk_mb"] * 2**20, limits["disk_mb"] * 2**20)
    limit(resource.RLIMIT_NOFILE, 64, 64)
    limit(resource.RLIMIT_CORE, 0, 0)
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    # After the change of user: it clears the death signal, and the limit does not hold for root.
    limit(resource.RLIMIT_NPROC, limits["processes"] + base_threads, limits["processes"] + base_threads)
    limit(resource.RLIMIT_AS, limits["memory_mb"] * 2**20, limits["memory_mb"] * 2**20)
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.environ.clear()
    # Same program, same arguments, same result: sets are ordered by a fixed hash seed, `random` by this.
    random.seed(0)


def _module(name: str) -> dict[str, Any]:
    module = types.ModuleType(name)
    sys.modules[name] = module
    return module.__dict__


def _run_test(request: dict[str, Any]) -> dict[str, Any]:
    mode = request["mode"]
    space = _module("__main__" if mode == "stdin" else "candidate")
    code = compile(request["program"], "program.py", "exec")
    if mode == "stdin":
        with contextlib.suppress(SystemExit):
            exec(code, space)
        return {"status": "done"}
    exec(code, space)
    if mode == "asserts":
        exec(compile(request["test_code"], "tests.py", "exec"), space)
        if request["call_check"]:
            space["check"](space[request["entry_point"]])
        return {"status": "done", "token": request["token"]}
    if not callable(space.get(request["entry_point"])):
        return {"status": "error", "detail": f"there is no function {request['entry_point']}"}
    kwargs = {decode(k): decode(v) for k, v in request["kwargs"]}
    value = space[request["entry_point"]](*[decode(arg) for arg in request["args"]], **kwargs)
    try:
        return {"status": "value", "value": encode(value)}
    except BadValue as e:
        return {"status": "error", "detail": f"returned {e}"}
