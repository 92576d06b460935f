"""Runs test code whose asserts cannot be read as data; the candidate is in another process. Standard library only.

A `Remote` stands for each function of the candidate: a call sends its arguments to the judge, which passes them on to
the candidate's sandbox and brings the value back. Values come as plain built-ins. An object without an encoding stays
with the candidate; a `Remote` with its number can be called, read, written and passed back, and equals only itself. So
no code of the candidate ever runs in the interpreter that runs the asserts.

The frames, each a JSON object: {"op": "call" | "get" | "set", "target", ...} asks; {"status": "done", "token"} reports
that the test code ran to its end, "failed" that it did not, "unfit" that it cannot run here whatever the candidate is.
"""

from __future__ import annotations

import builtins
import importlib
import sys
import types
from collections.abc import Callable
from typing import Any, Protocol

from rlkit.verify.sandbox.values import BadValue, Tree, decode, encode, read_frame, write_frame

_FILE = "tests.py"
_MAX_DETAIL = 300
"""Longest failure text that is sent, in characters."""
_MAX_ERROR = 150
"""Characters of the error in it, so that there is room for the line of the test."""


class _Frames(Protocol):
    def send(self, frame: bytes) -> None: ...

    def receive(self) -> bytes | None: ...


_VALUE_METHODS = frozenset(
    name for kind in (list, dict, set, tuple, str, bytes, int, float, complex) for name in dir(kind)
) | {"equals", "all", "any", "item", "tolist", "is_close", "allclose", "array_equal"}


class Unfit(BaseException):
    """The test code cannot run here, whatever the candidate is. No Exception, so that test code does not catch it."""


class CandidateError(Exception):
    """The candidate raised something that is no ordinary built-in exception."""


class Remote:
    """A function or an object of the candidate."""

    def __init__(self, ask: Callable[..., Any], target: str | int) -> None:
        # Our own __setattr__ would write to the candidate's object.
        self.__dict__["_ask"] = ask
        self.__dict__["_target"] = target

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls it with copies of the arguments."""
        given = {name: encode(value, _keep) for name, value in kwargs.items()}
        found = self._ask(op="call", target=self._target, args=[encode(arg, _keep) for arg in args], kwargs=given)
        if type(found) is Remote and isinstance(self._target, str) and not self._target[:1].isupper():
            found.__dict__["_returned"] = True
        return found

    def __getattr__(self, name: str) -> Any:
        # An object that a function returns in place of a list or a number must not pose as one.
        if name.startswith("_") or (name in _VALUE_METHODS and "_returned" in self.__dict__):
            raise AttributeError(name)
        return self._ask(op="get", target=self._target, name=name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask(op="set", target=self._target, name=name, value=encode(value, _keep))


def _keep(value: Any) -> Tree:
    """What is sent for an argument without an encoding: the number of a candidate's object, or a built-in's name."""
    if type(value) is Remote and isinstance(value._target, int):
        return ["@", value._target]
    if isinstance(getattr(value, "__self__", None), list | dict | set | tuple | str | bytes | int | float):
        raise TypeError("a method of the value that the candidate returned")
    name = getattr(value, "__name__", None)
    if isinstance(name, str) and getattr(builtins, name, None) is value:
        return ["@", name]
    raise Unfit(f"the test code passes a {type(value).__name__}, which cannot cross to the candidate")


def run(request: dict[str, Any], channel: _Frames) -> None:
    """Runs `request["test_code"]`, and `check(candidate)` where it leaves that call to others; sends how it ended."""

    def ask(**message: Any) -> Any:
        channel.send(write_frame(message))
        return _value(channel.receive(), ask)

    module = types.ModuleType("tests")
    sys.modules["tests"] = module
    space = module.__dict__
    code = request["test_code"]
    try:
        space.update({name: importlib.import_module(name) for name in request["modules"]})
        space.update({name: Remote(ask, name) for name in request["names"]})
        exec(compile(code, _FILE, "exec", dont_inherit=True), space)
        if request["call_check"]:
            space["check"](Remote(ask, request["entry_point"]))
        end = {"status": "done", "token": request["token"]}
    except (Unfit, ImportError) as e:
        end = {"status": "unfit", "detail": str(e)[:_MAX_DETAIL]}
    except MemoryError:
        end = {"status": "memory"}
    # An assert failed, or the test code did something with a value that it did not expect.
    except BaseException as e:
        end = {"status": "failed", "detail": _failure(e, code)}
    channel.send(write_frame(end))


def _value(frame: bytes | None, ask: Callable[..., Any]) -> Any:
    """The value in the candidate's answer; its exception is raised here."""
    if frame is None:
        raise CandidateError("the candidate is gone")
    reply = read_frame(frame)
    if reply.get("status") == "value":
        return decode(reply.get("value"), lambda tree: _remote(tree, ask))
    raise _exception(reply.get("type"))(str(reply.get("detail"))[:_MAX_DETAIL])


def _remote(tree: Tree, ask: Callable[..., Any]) -> Remote:
    tag, number = tree
    if tag != "@" or type(number) is not int:
        raise BadValue("not a value")
    return Remote(ask, number)


def _exception(name: Any) -> Callable[[str], Exception]:
    """The built-in exception of that name, so that test code can expect it."""
    found = getattr(builtins, name, None) if isinstance(name, str) else None
    # An ImportError here would say that the test code cannot run, and a StopIteration would end its loops early; groups
    # and Unicode errors take more than a text.
    odd = (ImportError, StopIteration, StopAsyncIteration, BaseExceptionGroup, UnicodeError)
    if isinstance(found, type) and issubclass(found, Exception) and not issubclass(found, odd):
        return found
    return CandidateError


def _failure(error: BaseException, code: str) -> str:
    """The error, and the last line of the test code that it came through."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == _FILE else line
        trace = trace.tb_next
    source = code.split("\n")[line - 1].strip() if line else ""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"{text[:_MAX_ERROR]} at {source}"[:_MAX_DETAIL]
