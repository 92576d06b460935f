"""The wasm tier: the same programs in WebAssembly, for what applies there."""

import os
import stat

import pytest

pytest.importorskip("wasmtime", reason="the extra rlkit[wasm] is not installed")
pytest.importorskip("componentize_py", reason="the extra rlkit[wasm] is not installed")

from rlkit.verify.code.code_judge import judge_code
from rlkit.verify.sandbox.choose import examine
from rlkit.verify.sandbox.job import Job, Limits, SandboxError
from rlkit.verify.sandbox.values import read_frame
from rlkit.verify.sandbox.wasm.build import built_component
from rlkit.verify.sandbox.wasm.wasm_client import WasmSandbox
from tests.verify.test_code_controls import FUNCTIONS, SCRIPTS
from tests.verify.test_code_hostile import HONEST, PROGRAMS, REFERENCES, TABLES

# What a WebAssembly guest does not have. Programs that need it fail, which is said in the tier's docstring.
NO_THREADS_OR_FILES = {
    "standard library", "late import", "threads", "thread pool", "a thread with a deep stack", "scratch files",
    "async", "a thread at the end", "a deep thread",
}  # fmt: skip
# What ends in an exception elsewhere may abort a guest, and a guest cannot signal itself.
OTHER_VERDICTS = {"fail": {"killed"}, "killed": {"fail"}, "timeout": {"fail"}}


@pytest.mark.parametrize(("mode", "name"), PROGRAMS)
def test_a_hostile_program_does_not_pass_and_leaves_nothing_for_the_next(mode, name):
    _why, want, program = TABLES[mode][name]
    verdict = judge_code(REFERENCES[mode], program, tier="wasm")
    wanted = {want} if isinstance(want, str) else set(want)
    assert verdict.verdict in wanted.union(*(OTHER_VERDICTS.get(w, ()) for w in wanted)), verdict.detail
    assert judge_code(REFERENCES[mode], HONEST[mode], tier="wasm").verdict == "pass"


@pytest.mark.parametrize("name", sorted(FUNCTIONS.keys() - NO_THREADS_OR_FILES - {"big integers", "lru_cache"}))
def test_an_honest_function_passes(name):
    program, expected = FUNCTIONS[name]
    test = {"args": [2], "expected": expected}
    verdict = judge_code({"mode": "function", "entry_point": "f", "tests": [test]}, program, tier="wasm")
    assert verdict.verdict == "pass", verdict.detail


@pytest.mark.parametrize("name", sorted(SCRIPTS.keys() - NO_THREADS_OR_FILES))
def test_an_honest_script_passes(name):
    program, stdin, stdout = SCRIPTS[name]
    verdict = judge_code({"mode": "stdin", "tests": [{"stdin": stdin, "stdout": stdout}]}, program, tier="wasm")
    assert verdict.verdict == "pass", verdict.detail


OUTSIDE = {
    "files": "import os\ndef f(): return [os.path.exists(p) for p in ('/', '/etc/passwd', '/proc', '.', '/tmp')]",
    "writing": "def f():\n    try: open('/tmp/a', 'w')\n    except OSError: return [False] * 5",
    "environment": "import os\ndef f(): return [bool(os.environ)] * 5",
    "network": (
        "import socket\ndef f():\n    try:\n        s = socket.socket()\n        s.connect(('127.0.0.1', 22))\n"
        "        return [True] * 5\n    except Exception: return [False] * 5"
    ),
    "names": (
        "import socket\ndef f():\n    try: return [bool(socket.getaddrinfo('localhost', 80))] * 5\n"
        "    except Exception: return [False] * 5"
    ),
    "processes": (
        "import subprocess\ndef f():\n    try: subprocess.run(['/bin/true'])\n    except Exception: return [False] * 5"
    ),
    "threads": (
        "import threading\ndef f():\n    try: threading.Thread(target=print).start()\n"
        "    except RuntimeError: return [False] * 5"
    ),
    "our modules": "import sys\ndef f(): return [any(m.startswith(('rlkit', 'wasmtime')) for m in sys.modules)] * 5",
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_guest_reaches_nothing_outside(name):
    test = {"args": [], "expected": [False] * 5}
    verdict = judge_code({"mode": "function", "entry_point": "f", "tests": [test]}, OUTSIDE[name], tier="wasm")
    assert verdict.verdict == "pass", verdict.detail


LIMITS = {
    "loop": ("timeout", "def f():\n    while True: pass"),
    "loop in C": ("timeout", "def f(): return sum(range(10**12))"),
    "sleep": ("timeout", "import time\ndef f(): time.sleep(1e6)"),
    "memory": ("memory", "def f(): return len(bytearray(10**9))"),
    "memory bit by bit": ("memory", "def f():\n    kept = []\n    while True: kept.append(bytearray(10**6))"),
    "output": ("output", "def f():\n    while True: print('a' * 1000)"),
    "result": (("output", "fail"), "def f(): return 'a' * 10**6"),
    "recursion": (("fail", "killed"), "import sys\nsys.setrecursionlimit(10**9)\ndef f(): return f()"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits_end_a_guest_and_the_next_one_runs(name):
    want, program = LIMITS[name]
    limits = {"wall_s": 1, "cpu_s": 1, "memory_mb": 200, "output_kb": 64}
    reference = {"mode": "function", "entry_point": "f", "tests": [{"args": [], "expected": 7}], "limits": limits}
    verdict = judge_code(reference, program, tier="wasm")
    assert verdict.verdict in ((want,) if isinstance(want, str) else want), verdict.detail
    assert judge_code(reference, "def f(): return 7", tier="wasm").verdict == "pass"


def test_the_self_test_holds():
    assert examine("wasm").holds, examine("wasm").reason


def test_a_job_learns_nothing_of_the_one_before():
    program = """
import builtins, json, sys
def f(x):
    seen = [hasattr(builtins, "left"), "left" in sys.modules, json.loads("1") != 1, bytes(range(64, 96)) * 1000 in kept]
    builtins.left = sys.modules["left"] = "here"
    json.loads = print
    kept.append(bytes(range(64, 96)) * 1000)
    return any(seen)
kept = []
"""
    tests = [{"args": [i], "expected": False} for i in range(4)]
    verdict = judge_code({"mode": "function", "entry_point": "f", "tests": tests}, program, tier="wasm")
    assert verdict.passed == 4, verdict.detail


def test_packages_are_refused():
    sandbox = WasmSandbox()
    with pytest.raises(SandboxError, match="pure Python only, without numpy"):
        sandbox.start(Job({}, packages=("numpy",)))
    sandbox.close()


def test_a_killed_worker_is_replaced():
    sandbox = WasmSandbox()
    request = {"mode": "function", "program": "def f(): return 7", "entry_point": "f", "args": [], "kwargs": {}}
    for kill in (True, False):
        running = sandbox.start(Job(request, Limits()))
        if kill:
            sandbox._worker.kill()
        frame = running.receive()
        assert running.finish().end == ("killed" if kill else "exit")
        assert (frame and read_frame(frame)["value"]) == (None if kill else 7)
    sandbox.close()


def test_the_worker_is_not_root():
    sandbox = WasmSandbox()
    with open(f"/proc/{sandbox._worker._process.pid}/status") as status:
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)
    assert "0" not in fields["Uid"].split()
    assert fields["NoNewPrivs"] == "1"
    sandbox.close()


def test_a_component_is_not_loaded_from_where_others_may_write(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "rlkit" / "wasm"
    folder.mkdir(parents=True)
    os.chmod(folder, stat.S_IRWXU | stat.S_IWOTH)
    with pytest.raises(SandboxError, match="others may write there"):
        built_component()
    with pytest.raises(SandboxError, match="others may write there"):
        WasmSandbox()


def test_cpu_time_of_webassembly_does_not_count_what_it_waits_for():
    loops = "def f(x):\n    for _ in range(10**6): pass\n    return 7"
    sleeps = "import time\ndef f(x):\n    time.sleep(0.3)\n    return 7"
    reference = {"mode": "function", "entry_point": "f", "tests": [{"args": [2], "expected": 7}]}
    busy, idle = (judge_code(reference, program, tier="wasm") for program in (loops, sleeps))
    assert (busy.verdict, idle.verdict) == ("pass", "pass")
    assert idle.cpu_seconds < idle.tests[0]["seconds"]
    assert busy.cpu_seconds > idle.cpu_seconds
