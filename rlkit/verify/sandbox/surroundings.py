"""Makes the interpreter as programs written for contest sites expect it. Standard library only.

- Names used without an import, as LeetCode provides them: its modules, and what `from module import *` gives.
- Standard input by its name in the file system, which is not in the sandbox: open("/dev/stdin").
- Integers of any number of digits in print() and int().
- Stacks and a recursion limit as large as they ask for. A request beyond the memory limit gets the largest value within
  it, so that an endless recursion ends with a RecursionError and does not use up the memory.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import io
import os
import sys
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

# Of two modules with one name the first counts. typing comes last: its Counter is only good in annotations.
_STAR_MODULES = """
    json io operator functools itertools statistics random math copy bisect heapq collections datetime re string
    typing"""
_MODULES = f"{_STAR_MODULES} sys array"
_BYTES_A_CALL = 512
"""Memory of a small function's frame, with its line in the traceback and an object or two."""
_MIN_DEPTH = 50_000
"""The recursion limit that every program may set, however little memory it has."""
_STACK_SHARE = 4
"""A thread's stack is at most this part of the memory, because the whole stack counts from its start."""
_STREAMS = {
    name: number
    for number, word in enumerate(("stdin", "stdout", "stderr"))
    for name in (f"/dev/{word}", f"/dev/fd/{number}", f"/proc/self/fd/{number}")
}


@functools.cache
def contest_names() -> MappingProxyType[str, Any]:
    """What a program finds without an import; no name of a built-in is among them."""
    modules = {name: importlib.import_module(name) for name in _MODULES.split()}
    found: dict[str, Any] = {**modules, "maxsize": sys.maxsize}
    for module_name in _STAR_MODULES.split():
        module = modules[module_name]
        public = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
        for name in public:
            found.setdefault(name, getattr(module, name))
    return MappingProxyType({name: value for name, value in found.items() if not hasattr(builtins, name)})


def provide_names(taken: set[str]) -> None:
    """Makes the names known as built-ins are, so that a definition of the program's own comes first.

    Args:
        taken: names that the program defines; it may test first whether they exist.
    """
    for name, value in {**contest_names(), "setrecursionlimit": sys.setrecursionlimit}.items():
        if name not in taken:
            builtins.__dict__.setdefault(name, value)


def lift_bounds() -> None:
    """Allows integers of any length, and bounds stacks and recursion where a program asks for too much."""
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)
    # WebAssembly has no limits to set, and no threads.
    if "resource" in sys.modules:
        _bound_stacks()


def _bound_stacks() -> None:
    """Replaces the functions that set stack sizes and the recursion limit by ones that stay within the memory limit."""
    import _thread
    import resource
    import threading

    set_limit, set_size, set_depth = resource.setrlimit, _thread.stack_size, sys.setrecursionlimit
    # The job's limit on memory.
    most = resource.getrlimit(resource.RLIMIT_STACK)[1]

    def setrlimit(which: int, limits: tuple[int, int]) -> None:
        """As resource.setrlimit; a stack without a limit is the largest there is."""
        soft, hard = limits
        if which == resource.RLIMIT_STACK and hard == resource.RLIM_INFINITY:
            soft, hard = most if soft == resource.RLIM_INFINITY else min(soft, most), most
        set_limit(which, (soft, hard))

    def stack_size(size: int = 0) -> int:
        """As threading.stack_size, at most a quarter of the memory."""
        return set_size(min(size, most // _STACK_SHARE))

    def setrecursionlimit(limit: int) -> None:
        """As sys.setrecursionlimit."""
        set_depth(min(limit, max(_MIN_DEPTH, most // _BYTES_A_CALL)))

    resource.setrlimit = setrlimit
    threading.stack_size = _thread.stack_size = stack_size
    sys.setrecursionlimit = setrecursionlimit


def name_streams() -> None:
    """Lets a script open its standard streams by their names in the file system."""
    builtins.open = io.open = _named(io.open)
    open_number = os.open

    def os_open(path: Any, *args: Any, **kwargs: Any) -> int:
        """As os.open."""
        number = _stream(path)
        if number is None:
            return open_number(path, *args, **kwargs)
        # WebAssembly cannot duplicate one.
        return number if sys.platform == "wasi" else os.dup(number)

    os.open = os_open


def _named(opened: Callable[..., Any]) -> Callable[..., Any]:
    """An `open` that knows the standard streams by their names."""

    @functools.wraps(opened)
    def open(file: Any, *args: Any, **kwargs: Any) -> Any:
        number = _stream(file)
        if number is None:
            return opened(file, *args, **kwargs)
        # Closing the file must not close the stream itself.
        return opened(number, *args, **{**kwargs, "closefd": False})

    return open


def _stream(file: Any) -> int | None:
    """The number of a standard stream that is named by its path."""
    if isinstance(file, int):
        return None
    try:
        return _STREAMS.get(os.fsdecode(file))
    except (TypeError, ValueError):
        return None
