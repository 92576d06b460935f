"""The component's one export, and the modules that programs find in it. Imported when the component is built.

An instance has no files, so what a program may import must be imported here, before the interpreter is stored.
"""

from __future__ import annotations

import gc
import importlib
import json
import sys

import wit_world

from rlkit.verify.sandbox import harness, surroundings
from rlkit.verify.sandbox.values import encode

# What programs for tests use. Not the whole library: an instance's memory is created for each job, and every module
# makes it larger.
_MODULES = """
    abc argparse array ast base64 binascii bisect builtins calendar cmath codecs collections collections.abc
    colorsys concurrent.futures contextlib copy copyreg csv dataclasses datetime decimal difflib dis enum errno
    fileinput fractions functools gc getopt graphlib hashlib heapq hmac html importlib inspect io itertools json keyword
    linecache locale logging marshal math numbers operator os os.path pathlib pickle pprint queue random re
    reprlib sched secrets shlex signal socket statistics string stringprep struct subprocess sys tempfile
    textwrap threading time timeit token tokenize traceback types typing unicodedata uuid warnings weakref zlib
    zoneinfo _pylong _strptime"""
for _name in _MODULES.split():
    importlib.import_module(_name)


class _HostChannel:
    """Frames through the two functions that the host gives."""

    def send(self, frame: bytes) -> None:
        """Sends one frame. As text: the bindings copy a list of bytes one by one."""
        wit_world.send(frame.decode("ascii"))

    def receive(self) -> bytes | None:
        """The next frame, or None when there are no more."""
        received: str | None = wit_world.receive()
        return None if received is None else received.encode("ascii")


class WitWorld(wit_world.WitWorld):  # type: ignore[misc]
    """What the host calls, by the name that the bindings ask for."""

    def run(self, request: str) -> int:
        """Runs one job; returns the exit status."""
        return harness.serve(json.loads(request), _HostChannel())


class _NullChannel:
    """Discards the frames of the warm-up."""

    def send(self, frame: bytes) -> None:
        """Loses the frame."""

    def receive(self) -> bytes | None:
        """There is none."""


def _warm_up() -> None:
    """Runs a few jobs, so that everything that Python makes on first use is part of the stored interpreter."""
    surroundings.contest_names()
    for value in (1, [1.5, "a"], {"b": None}):
        program = "import re\ndef f(x): return x\n"
        request = {"mode": "function", "program": program, "entry_point": "f", "args": [encode(value)], "kwargs": {}}
        harness.serve(json.loads(json.dumps(request)), _NullChannel())
    del sys.modules["program"]


_warm_up()
# A program shall find the standard library only.
for _name in [name for name in sys.modules if name.split(".")[0] == "rlkit"]:
    del sys.modules[_name]
gc.collect()
gc.freeze()
