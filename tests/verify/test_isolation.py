"""Hostile programs in the tiers that the kernel holds, for a judge that is root and for one that is not."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlkit.verify.sandbox.job import Job
from rlkit.verify.sandbox.zygote_client import ZygoteSandbox
from tests.verify.hostile import EPILOGUE, HOSTILE, LIMITS, PRELUDE

JUDGE = Path(__file__).with_name("judge_process.py")
USER = 54321
MARK = f"evil-{os.getpid()}"
TIERS = ("namespaces", "landlock")
WHO = ("root", "user") if os.getuid() == 0 else ("user",)
SECRET = "SECRET-tuna-9182736"
NORMAL = "import json\nassert json.loads(input()) == [20, 22]\nprint(20 + 22)"


class Judge:
    """A judge's process, what surrounds it, and what a program could do to either."""

    def __init__(self, tier: str, who: str, folder: Path) -> None:
        self.tier, self._folder = tier, folder
        self._uid = USER if who == "user" and os.getuid() == 0 else os.getuid()
        as_user = [str(USER)] if self._uid != os.getuid() else []
        folder.chmod(0o777)
        self._secret = folder / "secret"
        self._secret.write_text(SECRET)
        self._secret.chmod(0o666)
        os.chown(self._secret, self._uid, -1)
        self._sockets = [socket.create_server(("127.0.0.1", 0)), *map(socket.socket, [socket.AF_UNIX] * 2)]
        self._sockets[1].bind(str(folder / "socket"))
        (folder / "socket").chmod(0o777)
        self._sockets[2].bind(f"\0{folder}")
        for server in self._sockets[1:]:
            server.listen()
        datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        datagrams.bind(f"\0{folder}-datagrams")
        self._sockets.append(datagrams)
        self._victim = subprocess.Popen(["sleep", "10000"], user=self._uid if as_user else None)
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(JUDGE), tier, *as_user],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"SECRET": SECRET, "PATH": os.environ["PATH"]},
        )
        self.run(NORMAL, stdin="[20, 22]")
        self._before = self.surroundings()

    def names(self) -> dict[str, Any]:
        """What a hostile program is told."""
        return {
            "SECRET_FILE": str(self._secret),
            "SECRET_FOLDER": str(self._folder),
            "JUDGE_PID": self._process.pid,
            "VICTIM_PID": self._victim.pid,
            "TCP_PORT": self._sockets[0].getsockname()[1],
            "ABSTRACT": f"\0{self._folder}",
            "DATAGRAM": f"\0{self._folder}-datagrams",
            "MARK": MARK,
            "LIMIT_PROCESSES": LIMITS["processes"],
        }

    def attack(self, program: str, limits: dict[str, float] | None = None) -> dict[str, Any]:
        """Runs a hostile program under small limits."""
        values = "\n".join(f"{name} = {value!r}" for name, value in self.names().items())
        return self.run(f"{values}\n{PRELUDE}{program}{EPILOGUE}", limits=LIMITS | (limits or {}))

    def run(self, program: str, **job: Any) -> dict[str, Any]:
        """Runs any program as a script."""
        self._process.stdin.write(json.dumps({"program": program, **job}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def surroundings(self) -> dict[str, Any]:
        """All that must be the same after every job."""
        victim, secret = self._victim.pid, self._secret.stat()
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{victim}/status").read_text().splitlines())
        with contextlib.suppress(BlockingIOError):
            assert not self._sockets[3].recv(10, socket.MSG_DONTWAIT), "a datagram arrived"
        return {
            "processes": sorted(family(self._process.pid)),
            "marked processes": marked(),
            "victim": {name: status[name] for name in ("State", "TracerPid", "Cpus_allowed", "SigCgt", "SigIgn")},
            "victim's limits": Path(f"/proc/{victim}/limits").read_text(),
            "victim's priority": os.getpriority(os.PRIO_PROCESS, victim),
            "secret": (self._secret.read_text(), secret.st_mode, secret.st_uid, secret.st_mtime_ns, secret.st_ctime_ns),
            "folder": sorted(os.listdir(self._folder)),
            "left files": left_files(),
            "work folder": [
                str(path) for pid in family(self._process.pid) for path in Path("/tmp").glob(f"rlkit-{pid}-*/job")
            ],
            "System V IPC": [Path(f"/proc/sysvipc/{kind}").read_text().count("\n") for kind in ("shm", "sem", "msg")],
            "core_pattern": Path("/proc/sys/kernel/core_pattern").read_text(),
        }

    def assert_unharmed(self) -> None:
        """The next job is right, and everything around is as before."""
        normal = self.run(NORMAL, stdin="[20, 22]")
        assert (normal["end"], normal["status"], normal["stdout"]) == ("exit", 0, "42\n"), normal
        assert self.surroundings() == self._before

    def close(self) -> None:
        """Ends it all; the sandbox's processes end with their judge."""
        processes = family(self._process.pid)
        self._process.stdin.close()
        assert self._process.wait(30) == 0
        self._process.stdout.close()
        self._victim.kill()
        self._victim.wait()
        for server in self._sockets:
            server.close()
        assert not [pid for pid in processes if Path(f"/proc/{pid}").exists()]


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(p for child in children for p in family(int(child)))]


def left_files() -> list[Path]:
    """Files outside that a hostile program has made."""
    return [path for place in ("/dev/shm", "/var/tmp", "/tmp", "/") for path in Path(place).glob(f"*{MARK}*")]


def marked() -> list[str]:
    """Processes that a hostile program has named."""
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            found += [path.parent.name] if path.read_text().startswith(MARK) else []
    return found


@pytest.fixture(scope="module", params=[(tier, who) for tier in TIERS for who in WHO], ids="-".join)
def judge(request) -> Iterator[Judge]:
    # pytest's own temporary folders are closed to other users.
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Judge(*request.param, Path(folder))) as one:
        yield one


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_program_is_held_and_leaves_nothing(judge, name):
    hostile = HOSTILE[name]
    outcome = judge.attack(hostile.program, hostile.limits)
    assert outcome["end"] in hostile.ends, outcome
    if outcome["end"] == "exit" and outcome["status"] == 0:
        assert outcome["stdout"] == "held\n", outcome
    assert "escaped" not in outcome["stdout"], outcome
    judge.assert_unharmed()


CONTROLS = {
    "the standard library": (
        """
import argparse, array, ast, asyncio, base64, bisect, bz2, calendar, cmath, codecs, collections
import concurrent.futures, configparser, contextlib, copy, csv, ctypes, dataclasses, datetime, decimal, difflib
import dis, doctest, email, enum, fractions, functools, glob, graphlib, gzip, hashlib, heapq, hmac, html.parser
import http.client, inspect, io, ipaddress, itertools, json, keyword, linecache, locale, logging, lzma, math
import mmap, multiprocessing, numbers, operator, os, pathlib, pickle, platform, pprint, queue, random, re
import sched, secrets, select, selectors, shelve, shlex, shutil, signal, socket, sqlite3, ssl, stat, statistics
import string, struct, subprocess, tempfile, textwrap, threading, time, timeit, token, tokenize, traceback
import types, typing, unicodedata, unittest, urllib.parse, uuid, warnings, weakref, xml.etree.ElementTree
import zipfile, zlib, zoneinfo
print(json.dumps(decimal.Decimal("0.1") + 1, default=str), fractions.Fraction(1, 3), re.findall("a+", "aab"))
""",
        "\"1.1\" 1/3 ['aa']\n",
    ),
    "threads": (
        """
import threading
from concurrent.futures import ThreadPoolExecutor
done = []
threads = [threading.Thread(target=done.append, args=(i,)) for i in range(40)]
[t.start() for t in threads]; [t.join() for t in threads]
with ThreadPoolExecutor(8) as pool: print(len(done), sum(pool.map(abs, range(-10, 0))))
""",
        "40 55\n",
    ),
    "an event loop": (
        """
import asyncio
async def main():
    await asyncio.sleep(0.001)
    return await asyncio.gather(asyncio.to_thread(int, "1"), asyncio.sleep(0, 2))
print(asyncio.run(main()))
""",
        "[1, 2]\n",
    ),
    "recursion": (
        """
import sys, threading
sys.setrecursionlimit(10**6)
def f(n): return 0 if n == 0 else 1 + f(n - 1)
print(f(50_000))
threading.stack_size(64 << 20)
thread = threading.Thread(target=lambda: print(f(20_000)))
thread.start(); thread.join()
""",
        "50000\n20000\n",
    ),
    "200 MB": ("print(len(bytearray(200 << 20)) >> 20)", "200\n"),
    "scratch files": (
        """
import operator, os, pathlib, shutil, sqlite3, tempfile
with tempfile.TemporaryDirectory() as folder, open(os.path.join(folder, "a"), "w+") as file:
    file.write("text"); file.seek(0); print(file.read())
with tempfile.NamedTemporaryFile() as file: file.write(bytes(1 << 20))
pathlib.Path("a").write_text("one"); pathlib.Path("b").touch(); os.makedirs("c/d"); os.rename("a", "c/d/a")
shutil.copyfile("c/d/a", "e"); print(open("e").read()); shutil.rmtree("c"); print(sorted(os.listdir()))
connection = sqlite3.connect("base"); connection.execute("create table t (a)")
connection.execute("insert into t values (7)"); connection.commit()
print(connection.execute("select a from t").fetchall())
open(os.devnull, "w").write("x")
""",
        "text\none\n['b', 'e']\n[(7,)]\n",
    ),
    "a main guard and an exit": (
        "import sys\nif __name__ == '__main__':\n    print(sys.argv)\n    sys.exit(0)",
        "['program.py']\n",
    ),
    "a second of CPU": (
        "import time\nwhile time.process_time() < 1: pass\nprint('done')",
        "done\n",
    ),
    "the same hash seed": (
        "import random\nprint(hash('a'), random.random())",
        "4644417185603328019 0.8444218515250481\n",
    ),
    "time zones": (
        "from datetime import datetime\nfrom zoneinfo import ZoneInfo\n"
        "print(datetime(2024, 7, 1, tzinfo=ZoneInfo('Europe/Paris')).utcoffset())",
        "2:00:00\n",
    ),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_an_ordinary_program_works(judge, name):
    program, printed = CONTROLS[name]
    outcome = judge.run(program, limits={"wall_s": 30})
    assert (outcome["end"], outcome["status"], outcome["stdout"]) == ("exit", 0, printed), outcome


def test_an_allowed_package_works_and_others_are_absent(judge):
    program = "import numpy as np\nprint(int((np.ones((50, 50)) @ np.ones((50, 50))).sum()))"
    assert judge.run(program, packages=["numpy"])["stdout"] == "125000\n"
    absent = "import importlib.util\nprint([importlib.util.find_spec(n) for n in ('numpy', 'pip', 'torch', 'rlkit')])"
    assert judge.run(absent)["stdout"] == "[None, None, None, None]\n"
    # The other packages changed the sandbox's own processes.
    judge._before = judge.surroundings()


LEAVES = """
import builtins, gc, json, os, random, sys, tempfile
open("left", "w").write("x"); os.mkdir("folder")
for place in ("..", "/tmp", "/packages", os.path.dirname(os.__file__)):
    try: open(os.path.join(place, "left"), "w").write("x")
    except OSError: pass
builtins.print = len; json.dumps = None; sys.path.clear(); random.seed(5); os.umask(0o777); gc.disable()
class Left: text = "left-over " * 1000
gc.callbacks.append(Left)
"""
FINDS = """
import builtins, gc, json, os, random, sys
gc.collect()
found = [repr(o)[:50] for o in gc.get_objects() if isinstance(o, type) and o.__name__ == "Left"]
above = [n for n in (os.listdir("/tmp") if os.getcwd() == "/tmp" else []) if n != "."]
print(os.listdir(), above, found, json.dumps([random.random()]), os.umask(0), gc.isenabled(), len(sys.path) > 1)
"""


def test_nothing_of_a_job_is_there_for_the_next(judge):
    fresh = judge.run(FINDS)["stdout"]
    judge.run(LEAVES)
    assert fresh.startswith("[] [] [] [0.84")
    assert judge.run(FINDS)["stdout"] == fresh
    judge.assert_unharmed()


SEARCH = """
import ctypes, os, re
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
own = b"-".join([b"tuna", b"of", b"this"])
readable, writable = os.pipe()
def count(pattern):
    found = 0
    # Where Python and C keep what they have allocated, and what they have freed.
    for middle in (id(own), id([]), libc.malloc(100)):
        for page in range((middle >> 12 << 12) - (4 << 20), middle + (4 << 20), 4096):
            # The kernel looks whether there is a page; we would crash.
            if libc.write(writable, ctypes.c_void_p(page), 4096) == 4096:
                found += len(re.findall(pattern, os.read(readable, 4096)))
    return found
# Patterns that do not match themselves.
def f(): return [count(b"tuna-of-thi[s]") > 0, count(b"tuna-of-anothe[r]")]
"""


@pytest.mark.parametrize("tier", TIERS)
def test_the_arguments_of_a_job_never_were_in_the_memory_of_the_next(tier):
    sandbox = ZygoteSandbox(tier)
    for program, args in (("def f(*given): return 0", ["tuna-of-another" * 100]), (SEARCH, [])):
        request = {"mode": "function", "program": program, "entry_point": "f", "args": args, "kwargs": {}}
        running = sandbox.start(Job(request))
        frame = running.receive()
        running.finish()
    sandbox.close()
    assert json.loads(frame)["value"] == ["l", True, 0]


@pytest.mark.skipif(os.getuid() != 0, reason="as an ordinary user the programs would reach that user's files")
@pytest.mark.parametrize("name", [name for name, hostile in HOSTILE.items() if hostile.bites])
def test_the_attack_succeeds_where_nothing_contains_it(name):
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(Judge("unsafe_none", "root", Path(folder))) as judge,
    ):
        # Whether it succeeds is asked, not how soon: a machine may stand still for two seconds.
        outcome = judge.attack(HOSTILE[name].program, {"wall_s": 20})
    for path in left_files():
        path.unlink()
    assert "escaped" in outcome["stdout"], outcome
