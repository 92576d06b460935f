"""Honest programs of every usual kind pass in each tier of the kernel that holds here."""

import pytest

from rlkit.verify.code.code_judge import judge_code

PATIENT = {"wall_s": 30}
"""A busy machine is no fault of a program's."""
FUNCTIONS = {
    "standard library": (
        """\
import array, base64, bisect, calendar, cmath, collections, contextlib, copy, csv, dataclasses, datetime, decimal
import difflib, enum, fractions, functools, hashlib, heapq, html, io, itertools, json, logging, math, numbers
import operator, pathlib, pprint, queue, random, re, secrets, shlex, statistics, string, struct, sys, tempfile
import textwrap, threading
import time, timeit, tokenize, traceback, types, typing, unicodedata, unittest, uuid, warnings, weakref, xml.etree, zlib
import sqlite3, concurrent.futures, zoneinfo, glob, os.path, inspect, locale, gzip, ast, dis, abc, argparse
def f(x): return int(decimal.Decimal(str(fractions.Fraction(x, 1)))) + len(re.findall("a", json.dumps("b")))
""",
        2,
    ),
    "late import": (
        """\
def f(x):
    import colorsys, statistics
    return statistics.mean([x, x])
""",
        2,
    ),
    "recursion": (
        """\
import sys
sys.setrecursionlimit(10**6)
def f(x): return g(50_000) and x
def g(n): return n and g(n - 1) + 1
""",
        2,
    ),
    "threads": (
        """\
import threading
def f(x):
    seen = []
    threads = [threading.Thread(target=seen.append, args=(i,)) for i in range(8)]
    for t in threads: t.start()
    for t in threads: t.join()
    return sorted(seen)
""",
        list(range(8)),
    ),
    "thread pool": (
        """\
from concurrent.futures import ThreadPoolExecutor
def f(x):
    with ThreadPoolExecutor(4) as pool: return list(pool.map(abs, [-x, x]))
""",
        [2, 2],
    ),
    "a thread with a deep stack": (
        """\
import sys, threading
sys.setrecursionlimit(10**6)
threading.stack_size(64 << 20)
def f(x):
    out = []
    def g(n): return n and 1 + g(n - 1)
    t = threading.Thread(target=lambda: out.append(g(20_000)))
    t.start()
    t.join()
    return out[0]
""",
        20_000,
    ),
    "200 MB": (
        """\
def f(x):
    data = bytearray(200 << 20)
    data[-1] = x
    return data[-1] + data[0]
""",
        2,
    ),
    "scratch files": (
        """\
import os, tempfile
def f(x):
    open('a.txt', 'w').write('7')
    os.mkdir('d')
    with tempfile.TemporaryFile() as t:
        t.write(b'x' * 100_000)
        t.seek(0)
        return [open('a.txt').read(), len(t.read()), sorted(os.listdir('.'))]
""",
        ["7", 100_000, ["a.txt", "d"]],
    ),
    "printing": (
        """\
import sys
def f(x):
    print('debug', x)
    print('more', file=sys.stderr)
    return x
""",
        2,
    ),
    "a guard": (
        """\
def f(x): return x
if __name__ == '__main__':
    n = int(input())
    raise SystemExit(n)
""",
        2,
    ),
    "a second of CPU": (
        """\
import time
def f(x):
    end = time.process_time() + 1
    while time.process_time() < end: pass
    return x
""",
        2,
    ),
    "a short sleep": (
        """\
import time
def f(x):
    time.sleep(0.05)
    return x
""",
        2,
    ),
    "dataclass": (
        """\
from dataclasses import dataclass, asdict
@dataclass(order=True, slots=True)
class P:
    a: int
    b: 'list[int]'
def f(x): return asdict(max(P(x, []), P(1, [])))
""",
        {"a": 2, "b": []},
    ),
    "typing": (
        """\
from typing import List, NamedTuple, Optional, TypedDict, get_type_hints
class T(NamedTuple):
    a: int
def f(x: int) -> Optional[List[int]]: return [T(x).a, len(get_type_hints(f))]
""",
        [2, 2],
    ),
    "enum and pickle of its own": (
        """\
import enum, pickle
class E(enum.Enum):
    A = 1
def f(x): return pickle.loads(pickle.dumps(E.A)).value
""",
        1,
    ),
    "random is the same each time": ("import random\ndef f(x): return random.randrange(10**6)", 885440),
    "big integers": ("def f(x): return x ** 20_000 % 10**50, x ** 300", None),
    "caught signals of the language": (
        """\
def f(x):
    try: 1 / 0
    except ZeroDivisionError: return x
""",
        2,
    ),
    "async": (
        """\
import asyncio
async def g(x):
    await asyncio.sleep(0)
    return x
def f(x): return asyncio.run(g(x))
""",
        2,
    ),
    "exec and eval": ("exec('def g(x): return x')\ndef f(x): return eval('g(x)', {'g': g, 'x': x})", 2),
    "a counter": ("from collections import Counter\ndef f(x): return Counter('aab')", {"a": 2, "b": 1}),
    "lru_cache": (
        """\
import functools
@functools.lru_cache(None)
def f(x): return x if x < 2 else f(x - 1) + f(x - 2)
""",
        1,
    ),
    "a closure": (
        """\
def make():
    def f(x): return x
    return f
f = make()
""",
        2,
    ),
    "a callable object": (
        """\
class F:
    def __call__(self, x): return x
f = F()
""",
        2,
    ),
}

SCRIPTS = {
    "guard": ("def main(): print(input())\nif __name__ == '__main__': main()", "5\n", "5\n"),
    "all of stdin": (
        """\
import sys
data = sys.stdin.read().split()
print(len(data))
""",
        "1 2\n3\n",
        "3\n",
    ),
    "stdin by lines": ("import sys\nfor line in sys.stdin: print(line.strip()[::-1])", "ab\ncd\n", "ba\ndc\n"),
    "stdin as bytes": ("import sys\nprint(sum(map(int, sys.stdin.buffer.read().split())))", "1 2 3", "6"),
    "fast input": (
        """\
import sys
input = sys.stdin.readline
n = int(input())
print(sum(int(input()) for _ in range(n)))
""",
        "2\n3\n4\n",
        "7",
    ),
    "fast output": (
        "import sys\nsys.stdout.write('\\n'.join(map(str, range(1000))))",
        "",
        "\n".join(map(str, range(1000))),
    ),
    "os level": ("import os\nos.write(1, os.read(0, 100))", "7\n", "7\n"),
    "no input": ("import sys\nprint(repr(sys.stdin.read()))", "", "''"),
    "exit 0": (
        """\
print(1)
import sys
sys.exit()
""",
        "",
        "1",
    ),
    "exit handler": (
        """\
import atexit
atexit.register(lambda: print(2))
print(1)
""",
        "",
        "1\n2\n",
    ),
    "a thread at the end": ("import threading\nthreading.Thread(target=lambda: print(2)).start()", "", "2"),
    "a deep thread": (
        """\
import sys, threading
sys.setrecursionlimit(1 << 20)
threading.stack_size(1 << 26)
def main(): print(g(10_000))
def g(n): return n and 1 + g(n - 1)
t = threading.Thread(target=main)
t.start()
t.join()
""",
        "",
        "10000",
    ),
    "unicode": ("print(input()[::-1])", "čšž\n", "žšč\n"),
    "large input": ("import sys\nprint(sum(map(int, sys.stdin.read().split())))", "1 " * 300_000, "300000"),
    "end of input": (
        """\
try:
    input()
except EOFError:
    print('end')
""",
        "",
        "end",
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_honest_function_passes(tier, name):
    program, expected = FUNCTIONS[name]
    test = {"args": [1 if name == "lru_cache" else 2], "expected": expected}
    if name == "big integers":
        test = {"args": [2], "expected_py": repr((2**20_000 % 10**50, 2**300))}
    reference = {"mode": "function", "entry_point": "f", "tests": [test], "limits": PATIENT}
    verdict = judge_code(reference, program, tier=tier)
    assert verdict.verdict == "pass", verdict.detail


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_honest_script_passes(tier, name):
    program, stdin, stdout = SCRIPTS[name]
    reference = {"mode": "stdin", "tests": [{"stdin": stdin, "stdout": stdout}], "limits": PATIENT}
    verdict = judge_code(reference, program, tier=tier)
    assert verdict.verdict == "pass", verdict.detail


def test_numpy_is_there_where_the_recipe_allows_it_and_only_there(tier):
    program = """
import numpy as np
def f(x):
    a = np.linalg.solve(np.eye(3) * x, np.ones(3))
    return np.round(a, 6), np.arange(3).sum(), np.random.default_rng(0).integers(5, size=2).shape
"""
    test = {"args": [2], "expected_py": "([0.5, 0.5, 0.5], 3, (2,))"}
    reference = {"mode": "function", "entry_point": "f", "tests": [test]}
    allowed = judge_code(reference, program, tier=tier, packages=("numpy",))
    assert allowed.verdict == "pass", allowed.detail
    assert "No module named 'numpy'" in judge_code(reference, program, tier=tier).detail


def test_a_program_does_the_same_each_time(tier):
    program = "def f(x): return list({'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'}), hash('a')"
    reference = {"mode": "function", "entry_point": "f", "tests": [{"args": [2], "expected": 0}] * 3}
    details = {test["detail"] for test in judge_code(reference, program, tier=tier).tests}
    assert len(details) == 1


def test_a_package_that_is_not_installed_is_our_fault(tier):
    reference = {"mode": "function", "entry_point": "f", "tests": [{"args": [2], "expected": 2}]}
    verdict = judge_code(reference, "def f(x): return x", tier=tier, packages=("no_such_package",))
    assert verdict.verdict == "unscored"
    assert "no_such_package" in verdict.detail
