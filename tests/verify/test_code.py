import contextlib
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlkit import judge_code
from rlkit.verify.sandbox.values import BadValue, decode, encode

LIMITS = {"wall_s": 1, "cpu_s": 1, "memory_mb": 256, "output_kb": 64, "disk_mb": 1}


def function(expected=7, **more):
    return {
        "mode": "function",
        "entry_point": "f",
        "tests": [{"args": [2], "expected": expected}],
        "limits": LIMITS,
    } | more


HOSTILE = {
    "endless loop": ("timeout", "def f(x):\n    while True: pass"),
    "sleep": ("timeout", "import time\ndef f(x): time.sleep(1e6)"),
    "memory bomb": ("memory", "def f(x): return len('a' * 10**10)"),
    "output flood": ("output", "def f(x):\n    while True: print('a' * 10000)"),
    "result flood": ("output", "import os\ndef f(x):\n    while True: os.write(3, b'\\xff' * 10000)"),
    "long result": ("output", "def f(x): return 'a' * 10**6"),
    "_exit(0)": ("fail", "import os\nos._exit(0)"),
    "sys.exit(0)": ("fail", "import sys\nsys.exit(0)"),
    "killed": ("killed", "import os\ndef f(x): os.kill(os.getpid(), 9)"),
    "equal to everything": ("fail", "class A:\n    def __eq__(s, o): return True\ndef f(x): return A()"),
    "subclass of int": ("fail", "class A(int):\n    __eq__ = lambda s, o: True\ndef f(x): return A(7)"),
    "patched builtins": ("fail", "import builtins, json\nbuiltins.hex = lambda x: '0x7'\ndef f(x): return 'no'"),
    "syntax": ("fail", "def f(x: return"),
    "no function": ("fail", "g = 1"),
    "big file": ("fail", "def f(x):\n    open('a', 'wb').write(b'a' * 10**7)\n    return 7"),
    "deep result": ("fail", "def f(x):\n    y = []\n    for _ in range(10**4): y = [y]\n    return y"),
    "fork bomb": ("fail", "import os\ndef f(x):\n    while True: os.fork()"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_programs_end_with_a_named_verdict_in_time(name):
    verdict, program = HOSTILE[name]
    start = time.monotonic()
    assert judge_code(function(), program).verdict == verdict
    assert time.monotonic() - start < 10
    assert judge_code(function(), "def f(x): return 7").verdict == "pass"


def _running(marker):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            found += [pid] if marker in Path(f"/proc/{pid}/comm").read_text() else []
    return found


def test_a_daemon_that_left_the_session_is_dead_before_the_verdict():
    program = """
import ctypes, os, time
def f(x):
    ready, done = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(15, b"rlkit-daemon")
            os.write(done, b"x")
            time.sleep(1000)
        os._exit(0)
    os.read(ready, 1)
    return 7
"""
    assert judge_code(function(), program).verdict == "pass"
    assert _running("rlkit-daemon") == []


def test_the_test_folder_is_fresh_and_removed():
    program = "import os\ndef f(x):\n    os.makedirs('a/b'); os.chmod('a', 0)\n    return os.getcwd()"
    reference = function()
    reference["tests"] = reference["tests"] * 2
    verdict = judge_code(reference, program)
    folders = [test["detail"].split("'")[1] for test in verdict.tests]
    assert len(set(folders)) == 2
    assert not any(os.path.exists(folder) for folder in folders)


def test_the_candidate_finds_no_environment_no_descriptors_and_no_expected_value():
    program = """
import gc, os, sys
def f(x):
    wanted = "9182736" + str(45)
    held = [o for o in gc.get_objects() if type(o) in (dict, list, tuple) and wanted in repr(o)[:10000]]
    fds = [fd for fd in range(256) if fd > 3 and os.path.exists(f"/proc/self/fd/{fd}")]
    ours = [m for m in sys.modules if m.startswith("rlkit")]
    return [dict(os.environ), fds, ours, len(held)]
"""
    verdict = judge_code(function(expected=918273645), program)
    assert verdict.detail == "returned [{}, [], [], 0], not 918273645"


@pytest.mark.parametrize(
    ("program", "want", "passed"),
    [
        ("def f(x): return x + 5", "pass", 2),
        ("def f(x): return 7", "fail", 1),
        ("def f(x): return 1 / (x - 3)", "fail", 0),
    ],
)
def test_every_test_of_a_function_is_run_and_counted(program, want, passed):
    tests = [{"args": [2], "expected": 7}, {"kwargs": {"x": 3}, "expected": 8}]
    verdict = judge_code(function(tests=tests), program)
    assert (verdict.verdict, verdict.passed, verdict.total) == (want, passed, 2)
    assert all(set(test) == {"verdict", "seconds", "detail"} for test in verdict.tests)


def test_python_literals_stand_for_what_json_lacks():
    reference = function(tests=[{"args_py": "[(1, 2)]", "expected_py": "{1, 2}"}])
    assert judge_code(reference, "def f(t): return set(t)").verdict == "pass"
    assert judge_code(reference, "def f(t): return list(t)").verdict == "fail"


@pytest.mark.parametrize(
    ("test_code", "program", "want"),
    [
        ("assert f(2) == 4", "def f(x): return 2 * x", "pass"),
        ("assert f(2) == 4", "def f(x): return x", "fail"),
        ("assert f(2) == 4", "import os\ndef f(x): os._exit(0)", "fail"),
        ("assert f(2) == 4", "import sys\ndef f(x): sys.exit()", "fail"),
        ("def check(candidate):\n    assert candidate(2) == 4", "def f(x): return 2 * x", "pass"),
        ("def check(candidate):\n    assert candidate(2) == 4", "def f(x): return x", "fail"),
    ],
)
def test_asserts_pass_only_when_the_last_one_was_reached(test_code, program, want):
    reference = {"mode": "asserts", "test_code": test_code, "entry_point": "f", "limits": LIMITS}
    assert judge_code(reference, program).verdict == want


@pytest.mark.parametrize(
    ("program", "want"),
    [
        ("print(sum(map(int, input().split())))", "pass"),
        ("import sys\nif __name__ == '__main__':\n    print(3)\n    sys.exit(0)", "pass"),
        ("print(3)\nprint(4)", "fail"),
        ("print(4)", "fail"),
        ("print(3)\n1 / 0", "fail"),
    ],
)
def test_printed_output_is_compared_whole(program, want):
    tests = [{"stdin": "1 2\n", "stdout": "3\n"}]
    assert judge_code({"mode": "stdin", "tests": tests, "limits": LIMITS}, program).verdict == want


MALFORMED = [
    {},
    "text",
    {"mode": "function", "entry_point": "f", "tests": []},
    function(tests=[{"args": [1]}]),
    function(limits={"wall": 1}),
    function(tests=[{"args_py": "f()", "expected": 1}]),
    {"mode": "asserts", "test_code": "("},
]


@pytest.mark.parametrize("reference", MALFORMED)
def test_a_malformed_reference_is_unscored(reference):
    assert judge_code(reference, "def f(x): return 7").verdict == "unscored"


def test_after_a_timeout_the_remaining_tests_are_not_run():
    verdict = judge_code(function(tests=[{"args": [1], "expected": 1}] * 50), "def f(x):\n    while True: pass")
    assert (verdict.verdict, verdict.total, verdict.seconds < 3) == ("timeout", 50, True)


PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
VALUES = st.recursive(
    PLAIN | st.complex_numbers(allow_nan=False),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_exact_values_survive_the_encoding(value):
    back = decode(encode(value))
    assert back == value
    assert type(back) is type(value)


@given(st.recursive(st.none() | st.booleans() | st.text() | st.integers(), st.lists, max_leaves=10))
def test_decoding_makes_a_value_or_refuses(tagged):
    with contextlib.suppress(BadValue):
        decode(tagged)
