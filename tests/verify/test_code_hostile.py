"""Programs that try to pass without doing the task, in each tier of the kernel that holds here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlkit.verify.code.code_judge import judge_code
from tests.verify.hostile_judging import ASSERTS, FUNCTION, PRINTED, SCRIPT, SECRET, TEST_CODE

LIMITS = {"wall_s": 3, "cpu_s": 1.5, "memory_mb": 256, "output_kb": 1024, "disk_mb": 1}
REFERENCES = {
    "function": {
        "mode": "function",
        "entry_point": "f",
        "tests": [{"args": [2], "expected": SECRET}],
        "limits": LIMITS,
    },
    "script": {"mode": "stdin", "tests": [{"stdin": "", "stdout": PRINTED}], "limits": LIMITS},
    "asserts": {"mode": "asserts", "entry_point": "f", "test_code": TEST_CODE, "limits": LIMITS},
}
HONEST = {
    "function": f"def f(x): return {SECRET}",
    "script": "print(3)\nprint(4)",
    "asserts": "def f(x): return x * x + 1",
}
PROGRAMS = [
    *(("function", name) for name in FUNCTION),
    *(("script", name) for name in SCRIPT),
    *(("asserts", name) for name in ASSERTS),
]
USER = 54322
AS_USER = f"""
import os, sys
from tests.verify.judge_process import become
become({USER})
os.execv(sys.executable, [sys.executable, "-P", "-m", "rlkit", *sys.argv[1:]])
"""
TABLES = {"function": FUNCTION, "script": SCRIPT, "asserts": ASSERTS}


@pytest.mark.parametrize(("mode", "name"), PROGRAMS)
def test_a_hostile_program_gets_its_verdict_and_leaves_nothing_for_the_next(tier, mode, name):
    _why, want, program = TABLES[mode][name]
    verdict = judge_code(REFERENCES[mode], program, tier=tier)
    assert verdict.verdict in ((want,) if isinstance(want, str) else want), verdict.detail
    assert verdict.tier in (tier, "")
    assert verdict.detail.isprintable()
    assert judge_code(REFERENCES[mode], HONEST[mode], tier=tier).verdict == "pass"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_the_command_of_an_ordinary_user_gives_the_same_verdicts(tier, tmp_path):
    tmp_path.chmod(0o777)
    rows = [{"id": f"{mode} {name}", "program": TABLES[mode][name][2], **REFERENCES[mode]} for mode, name in PROGRAMS]
    rows += [{"id": f"{mode} honest", "program": HONEST[mode], **REFERENCES[mode]} for mode in REFERENCES]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = ["verify", "code", "--tier", tier, "--workers", "2", "--input", "in.jsonl", "--output", "out.jsonl"]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", AS_USER, *words],
        cwd=tmp_path,
        env={"PYTHONPATH": str(root), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.jsonl").stat().st_uid == USER
    judged = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    wanted = [TABLES[mode][name][1] for mode, name in PROGRAMS] + ["pass"] * len(REFERENCES)
    wrong = [
        (row["id"], row["verdict"])
        for row, want in zip(judged, wanted, strict=True)
        if row["verdict"] not in ((want,) if isinstance(want, str) else want)
    ]
    assert wrong == []


def test_a_test_learns_nothing_of_the_one_before(tier):
    program = """
import builtins, os, pathlib, sys, tempfile
def f(x):
    places = [pathlib.Path(p) / "left" for p in (".", "/tmp", tempfile.gettempdir(), "/dev/shm", "/var/tmp")]
    seen = [p for p in places if p.exists()] + [n for n in (os.environ, sys.modules, vars(builtins)) if "left" in n]
    builtins.left = sys.modules["left"] = os.environ["left"] = "here"
    for place in places:
        try:
            place.write_text("here")
        except OSError:
            pass
    return len(seen)
"""
    tests = [{"args": [i], "expected": 0} for i in range(3)]
    verdict = judge_code({"mode": "function", "entry_point": "f", "tests": tests}, program, tier=tier)
    assert (verdict.verdict, verdict.passed) == ("pass", 3), verdict.detail


def test_the_program_never_sees_what_is_expected_of_it_nor_another_test(tier):
    tests = [{"args": [i], "expected": f"answer-{i}"} for i in (1, 2)]
    program = """
import gc
def f(x):
    texts = [v for o in gc.get_objects() if type(o) in (dict, list, tuple) for v in
             (o.values() if type(o) is dict else o) if type(v) is str]
    return [t for t in texts if t.startswith(chr(97) + "nswer-")]
"""
    verdict = judge_code({"mode": "function", "entry_point": "f", "tests": tests}, program, tier=tier)
    assert [test["detail"] for test in verdict.tests] == ["returned [], not 'answer-1'", "returned [], not 'answer-2'"]


def test_the_tester_gets_copies_and_its_own_values_do_not_change(tier):
    code = "x = [3, 1, 2]\nassert f(x) == [1, 2, 3]\nassert x == [3, 1, 2]\n"
    reference = {"mode": "asserts", "entry_point": "f", "test_code": code}
    assert judge_code(reference, "def f(x):\n    x.sort()\n    return x", tier=tier).verdict == "pass"


def test_a_call_that_stops_an_iteration_does_not_end_the_tests_loop(tier):
    code = "for x, got in zip((1, 2), map(f, (1, 2))):\n    assert got == x\n"
    reference = {"mode": "asserts", "entry_point": "f", "test_code": code}
    assert judge_code(reference, "def f(x): raise StopIteration", tier=tier).verdict == "fail"
    assert judge_code(reference, "def f(x): return x", tier=tier).verdict == "pass"


def test_an_object_that_cannot_cross_is_equal_to_nothing_but_can_be_passed_back(tier):
    program = """
class Node:
    def __init__(self, value): self.value, self.next = value, None
    def __eq__(self, other): return True
def f(node): return node.value + (f(node.next) if node.next else 0)
def g(x): return Node(x)
"""
    passed = "a = Node(1)\na.next = Node(2)\nassert f(a) == 3\nassert a.next.value == 2\n"
    refused = ("assert g(1) == Node(1)", "assert g(1) == 1", "assert [g(1)] == [1]", "assert g(1) in (1, None)")
    for code, want in ((passed, "pass"), *((code, "fail") for code in refused)):
        reference = {"mode": "asserts", "entry_point": "f", "test_code": code}
        assert judge_code(reference, program, tier=tier).verdict == want, code
