"""Runs inside the sandbox: executes the candidate, passes it arguments, encodes what it returns.

One job, one process. `request["mode"]` names its purpose:

- "function": calls `entry_point` once with `args` and `kwargs` and sends one frame: its value or its error;
- "stdin": runs the program as a script, to its end; its exit status and its output are the result;
- "serve": runs the program, then answers calls, one frame each, until it is ended;
- "tester": runs test code; a job in mode "serve" answers its calls, through the judge (see tester.py).

Nothing here is secret and nothing here is trusted: the candidate shares the process and can write any frame itself, but
with that it can only lie about its own result. Standard library only, so that every tier runs the same file.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import json
import os
import random
import symtable
import sys
import types
from collections.abc import Callable
from typing import Any, Protocol

from rlkit.verify.sandbox import surroundings, tester
from rlkit.verify.sandbox.values import BadValue, Tree, decode, encode, read_frame, write_frame

_MAX_DETAIL = 300
"""Longest error text that is sent, in characters."""
_FLUSH_FAILED = 120
"""The exit status of Python where its output cannot be flushed at its end."""


class Channel(Protocol):
    """Frames to and from the judge."""

    def send(self, frame: bytes) -> None:
        """Sends one frame."""

    def receive(self) -> bytes | None:
        """The next frame, or None when there are no more."""


def main(channel: Channel) -> None:
    """Runs the job that the first frame asks for and ends this process."""
    request = json.loads(channel.receive() or b"{}")
    os._exit(serve(request, channel))


def serve(request: dict[str, Any], channel: Channel) -> int:
    """Runs one job; returns the exit status."""
    # The same program with the same arguments gives the same result.
    random.seed(0)
    surroundings.lift_bounds()
    if request["mode"] == "stdin":
        return _script(request["program"], request.get("contest_names", False), channel)
    work = {"function": _function, "serve": _serve_calls, "tester": tester.run}[request["mode"]]
    try:
        work(request, channel)
    # A candidate may raise anything, SystemExit and KeyboardInterrupt too.
    except BaseException as e:
        channel.send(write_frame(describe(e)))
    return 0


def describe(error: BaseException) -> dict[str, Any]:
    """An error as a message; the candidate's own code makes its text, and may fail at that."""
    if isinstance(error, MemoryError):
        return {"status": "memory"}
    try:
        name = type(error).__name__
        return {"status": "error", "type": name, "detail": f"{name}: {error}"[:_MAX_DETAIL]}
    except BaseException:
        return {"status": "error", "type": "", "detail": "an exception that cannot be shown"}


def _module(name: str) -> dict[str, Any]:
    """A new module's namespace; dataclasses, pickle and typing look modules up in sys.modules."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    return module.__dict__


def load(program: str, name: str, with_names: bool = False) -> dict[str, Any]:
    """Executes a program as the module `name`; returns its namespace.

    Args:
        with_names: provide the names that contest sites provide.
    """
    space = _module(name)
    if with_names:
        surroundings.provide_names(_defined(program))
    # The site module, which is not loaded here, defines these two.
    builtins.exit = builtins.quit = sys.exit  # type: ignore[assignment]
    exec(compile(program, "program.py", "exec", dont_inherit=True), space)
    return space


def _defined(program: str) -> set[str]:
    """Names that a program defines at its top level."""
    symbols = symtable.symtable(program, "program.py", "exec").get_symbols()
    return {symbol.get_name() for symbol in symbols if symbol.is_assigned() or symbol.is_imported()}


def _function(request: dict[str, Any], channel: Channel) -> None:
    # Not "__main__": the code under `if __name__ == "__main__":` tries the function out, often with input().
    space = load(request["program"], "program", request.get("contest_names", False))
    function = find_entry(space, request["entry_point"])
    args = [decode(arg) for arg in request["args"]]
    kwargs = {name: decode(value) for name, value in request["kwargs"].items()}
    channel.send(_reply(lambda: encode(function(*args, **kwargs))))


def _reply(work: Callable[[], Tree]) -> bytes:
    try:
        return write_frame({"status": "value", "value": work()})
    except BadValue as e:
        return write_frame({"status": "error", "type": "", "detail": f"returned {e}"})


def find_entry(space: dict[str, Any], entry_point: str) -> Any:
    """The function behind "f", or the method behind "Solution().f" or "Solution.f", of a new instance.

    "f" is also the method of that name of a class Solution, where the program has no function f.

    Raises:
        NameError: there is none.
    """
    owner, _, method = entry_point.partition(".")
    found = space.get(owner.removesuffix("()"))
    if not method and not callable(found):
        found, method = space.get("Solution"), entry_point
    if method:
        found = getattr(found(), method, None) if isinstance(found, type) else None
    if not callable(found):
        raise NameError(f"there is no function {entry_point}")
    return found


def _serve_calls(request: dict[str, Any], channel: Channel) -> None:
    """Loads the program, then answers calls until there are no more."""
    space = load(request["program"], "program", request.get("contest_names", False))
    # Objects without an encoding stay here; the tester refers to them by number.
    kept: list[Any] = []
    channel.send(write_frame({"status": "ready"}))
    while (frame := channel.receive()) is not None:
        try:
            reply = _reply(functools.partial(_answer, read_frame(frame), space, kept))
        # An exception is an answer, too: the test code may expect it.
        except BaseException as e:
            reply = write_frame(describe(e))
        channel.send(reply)


def _answer(message: dict[str, Any], space: dict[str, Any], kept: list[Any]) -> Tree:
    """The answer to one call, read or write of an attribute."""

    def find(tree: Tree) -> Any:
        tag, which = tree
        if tag != "@":
            raise BadValue("not a value")
        return getattr(builtins, which) if isinstance(which, str) else kept[which]

    def keep(value: Any) -> Tree:
        kept.append(value)
        return ["@", len(kept) - 1]

    target = message["target"]
    owner = find_entry(space, target) if isinstance(target, str) else kept[target]
    if message["op"] == "get":
        return encode(getattr(owner, message["name"]), keep)
    if message["op"] == "set":
        setattr(owner, message["name"], decode(message["value"], find))
        return None
    args = [decode(arg, find) for arg in message["args"]]
    kwargs = {name: decode(value, find) for name, value in message["kwargs"].items()}
    return encode(owner(*args, **kwargs), keep)


def _script(program: str, with_names: bool, channel: Channel) -> int:
    """Runs a program as `python program.py` would, to the end of its threads and exit handlers."""
    sys.argv = ["program.py"]
    # New streams: the warm process opened its own before descriptors 0 and 1 were this job's.
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    surroundings.name_streams()
    status = 0
    try:
        load(program, "__main__", with_names)
    except SystemExit as e:
        status = e.code if isinstance(e.code, int) else int(e.code is not None)
    # In place of a script's traceback the verdict has one line.
    except BaseException as e:
        channel.send(write_frame(describe(e)))
        status = 1
    return _shut_down() or status & 0xFF


def _shut_down() -> int:
    """Does what an interpreter does at its end: waits for threads, calls exit handlers, flushes standard output."""
    threading = sys.modules.get("threading")
    atexit = sys.modules.get("atexit")
    with contextlib.suppress(BaseException):
        threading._shutdown() if threading else None
        atexit._run_exitfuncs() if atexit else None
    try:
        sys.stdout.flush()
    except BaseException:
        return _FLUSH_FAILED
    return 0
