"""Ways round the judge that were once open, each in both kernel tiers; an honest program passes after each."""

import pytest

from rlkit import judge_code

SPIN = "import signal, time\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\n"
FOUND = {
    "a result after the CPU limit": (
        SPIN + "def f(x):\n    while time.process_time() < 1.85: pass\n    return x",
        {"mode": "function", "entry_point": "f", "tests": [{"args": [5], "expected": 5}], "limits": {"cpu_s": 1}},
        "timeout",
    ),
    "asserts after the CPU limit": (
        "import time\ndef f(x):\n    while time.process_time() < 0.9: pass\n    return x",
        {"mode": "asserts", "entry_point": "f", "test_code": "for i in range(3): assert f(i) == i"}
        | {"limits": {"cpu_s": 0.3}},
        "timeout",
    ),
    "an object that answers for a set": (
        "class E:\n    def issubset(s, o): return True\ndef f(x): return E()",
        {"mode": "asserts", "entry_point": "f", "test_code": "for i in range(3): assert f(i).issubset({i})"},
        "fail",
    ),
    "a value whose method the tests pass back": (
        "def f(x): return []",
        {
            "mode": "asserts",
            "entry_point": "f",
            "test_code": "for i in range(2):\n    n = f(i)\n    assert f(n.count) == i",
        },
        "fail",
    ),
}
FILES = {
    "folders that cannot be read": (
        "import os\nos.mkdir('x', 0o300)\nfor i in range(20000): open(f'x/{i}', 'w').close()\nprint(1)"
    ),
    "folders deeper than a path": (
        "import os\nfor _ in range(20): os.mkdir('d' * 250); os.chdir('d' * 250)\n"
        "for i in range(20000): open(f'{i}', 'w').close()\nprint(1)"
    ),
    "a work folder's parent shut": (
        "import os\nfd = os.open('.', os.O_RDONLY)\nos.chmod('..', 0)\n"
        "for i in range(20000): os.close(os.open(f'{i}', os.O_CREAT | os.O_WRONLY, dir_fd=fd))\nprint(1)"
    ),
}
HONEST = {
    "exit()": ("print(input())\nexit()", "three"),
    "annotations are values": ("def f(x: int): pass\nprint(input() if f.__annotations__['x'] is int else '')", "three"),
    "many small folders": (
        "import os\nfor i in range(2000):\n    os.mkdir(f'd{i}')\n    open(f'd{i}/f', 'w').close()\nprint(input())",
        "three",
    ),
}


@pytest.fixture(params=["namespaces", "landlock"])
def tier(request):
    return request.param


def script(stdout):
    return {"mode": "stdin", "tests": [{"stdin": "three\n", "stdout": stdout}], "limits": {"wall_s": 20}}


@pytest.mark.parametrize("name", FOUND)
def test_what_was_once_open_is_shut(tier, name):
    program, reference, verdict = FOUND[name]
    assert judge_code(reference, program, tier=tier).verdict == verdict
    assert judge_code(script("three"), "print(input())", tier=tier).verdict == "pass"


@pytest.mark.parametrize("name", FILES)
def test_files_that_cannot_be_counted_are_too_many(tier, name):
    assert judge_code(script("1"), FILES[name], tier=tier).verdict in ("fail", "killed")
    assert judge_code(script("three"), "print(input())", tier=tier).verdict == "pass"


@pytest.mark.parametrize("name", HONEST)
def test_what_programs_usually_do_works(tier, name):
    program, stdout = HONEST[name]
    verdict = judge_code(script(stdout), program, tier=tier)
    assert verdict.verdict == "pass", verdict.tests
