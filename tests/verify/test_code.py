"""The code judge: its three kinds of tests, its limits, what it counts, and the command."""

import contextlib
import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlkit import judge_code
from rlkit.cli.main import main
from rlkit.verify.code.code_tests import Malformed, read_reference

LIMITS = {"wall_s": 3, "cpu_s": 1, "memory_mb": 256, "output_kb": 64, "disk_mb": 1}


def function(tests=None, **more):
    tests = [{"args": [2], "expected": 7}] if tests is None else tests
    return {"mode": "function", "entry_point": "f", "tests": tests, "limits": LIMITS} | more


def asserts(code, **more):
    return {"mode": "asserts", "entry_point": "f", "test_code": code, "limits": LIMITS} | more


def script(*tests, **more):
    return {"mode": "stdin", "tests": [{"stdin": i, "stdout": o} for i, o in tests], "limits": LIMITS} | more


@pytest.mark.parametrize(
    ("program", "want", "passed"),
    [
        ("def f(x): return x + 5", "pass", 2),
        ("def f(x): return 7", "fail", 1),
        ("def f(x): return 1 / (x - 3)", "fail", 0),
    ],
)
def test_every_test_of_a_function_is_run_and_counted(program, want, passed):
    verdict = judge_code(function([{"args": [2], "expected": 7}, {"kwargs": {"x": 3}, "expected": 8}]), program)
    assert (verdict.verdict, verdict.passed, verdict.total) == (want, passed, 2)
    assert all(set(test) == {"verdict", "seconds", "cpu_seconds", "detail"} for test in verdict.tests)


def test_python_literals_stand_for_what_json_lacks():
    reference = function([{"args_py": "[(1, 2)]", "expected_py": "{1, 2}"}])
    assert judge_code(reference, "def f(t): return set(t)").verdict == "pass"
    assert judge_code(reference, "def f(t): return list(t)").verdict == "fail"


@pytest.mark.parametrize("entry_point", ["Solution().f", "Solution.f"])
def test_a_method_is_called_on_a_new_instance(entry_point):
    program = "class Solution:\n    def __init__(self): self.y = 5\n    def f(self, x): return x + self.y"
    assert judge_code(function(entry_point=entry_point), program).verdict == "pass"
    assert judge_code(function(entry_point=entry_point), "class Solution: pass").verdict == "fail"


@pytest.mark.parametrize(
    ("code", "program", "want"),
    [
        ("assert f(2) == 4", "def f(x): return 2 * x", "pass"),
        ("assert f(2) == 4", "def f(x): return x", "fail"),
        ("def check(candidate):\n    assert candidate(2) == 4", "def f(x): return 2 * x", "pass"),
        ("def check(candidate):\n    assert candidate(2) == 4", "def f(x): return x", "fail"),
        ("def check(g):\n    assert g(2) == 4\ncheck(f)", "def f(x): return 2 * x", "pass"),
        ("import math\nassert math.isclose(f(2), 0.3)", "def f(x): return 0.1 + 0.2", "pass"),
        ("assert math.isclose(f(2), 0.3)", "def f(x): return 0.1 + 0.2", "pass"),
        ("for i in range(5):\n    assert f(i) == [j for j in range(i)]", "def f(x): return list(range(x))", "pass"),
        ("assert set(f(3)) == {0, 1, 2}", "def f(x): return list(range(x))", "pass"),
        ("assert sorted(f(3)) == [0, 1, 2]", "def f(x): return {2, 1, 0}", "pass"),
        ("assert f([1, 'a'], int) == ['a']", "def f(v, t): return [x for x in v if not isinstance(x, t)]", "pass"),
        ("try:\n    f(-1)\n    assert False\nexcept ValueError:\n    pass", "def f(x): raise ValueError", "pass"),
        ("try:\n    f(-1)\n    assert False\nexcept ValueError:\n    pass", "def f(x): raise KeyError", "fail"),
        ("assert f(g(2)) == 6", "def f(x): return x + 1\ndef g(x): return x + 3", "pass"),
        ("assert f(1) == 1\nassert h(1) == 1", "def f(x): return x", "fail"),
        ("f(1)\nassert f(1) == 2", "calls = []\ndef f(x):\n    calls.append(x)\n    return len(calls)", "pass"),
    ],
)
def test_test_code_runs_beside_no_candidate_and_sees_its_values(code, program, want):
    verdict = judge_code(asserts(code), program)
    assert verdict.verdict == want, verdict.detail
    assert (verdict.passed, verdict.total) == (int(want == "pass"), 1)


def test_a_failed_assert_is_named_with_its_line():
    assert judge_code(asserts("assert f(1) == 1\nassert f(2) == 4"), "def f(x): return x").detail == (
        "AssertionError at assert f(2) == 4"
    )


@pytest.mark.parametrize(
    ("program", "want"),
    [
        ("print(sum(map(int, input().split())))", "pass"),
        ("import sys\nif __name__ == '__main__':\n    print(3)\n    sys.exit(0)", "pass"),
        ("import sys\nprint(sum(int(w) for w in sys.stdin.read().split()))", "pass"),
        ("import sys\nprint(sum(map(int, sys.stdin.buffer.readline().split())))", "pass"),
        ("print(sum(map(int, open(0).read().split())), end='')", "pass"),
        ("print(4)", "fail"),
    ],
)
def test_a_script_reads_and_prints(program, want):
    assert judge_code(script(("1 2\n", "3\n")), program).verdict == want


MALFORMED = {
    "nothing": {},
    "text": "text",
    "no tests": function([]),
    "no expected": function([{"args": [1]}]),
    "unknown limit": function(limits={"wall": 1}),
    "limit of 0": function(limits={"wall_s": 0}),
    "true as a limit": function(limits={"wall_s": True}),
    "unknown rule": function(compare={"tolerance": 1}),
    "rule of another kind": function(compare={"any_order": 1}),
    "negative tolerance": function(compare={"rel_tol": -1}),
    "no literal": function([{"args_py": "f()", "expected": 1}]),
    "an object": function([{"args": [object()], "expected": 1}]),
    "entry point": function(entry_point="f; import os"),
    "no entry point": {"mode": "function", "tests": [{"args": [], "expected": 1}]},
    "kwargs": function([{"kwargs": {1: 2}, "expected": 1}]),
    "hidden": function(hidden_tests=[{"args": [1]}]),
    "syntax": asserts("("),
    "no test code": asserts(" "),
    "a lambda for the candidate": asserts("assert f(lambda: 1) == 1"),
    "a module that is not here": asserts("import no_such_module\nassert f(1) == 1"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_reference_is_unscored_whatever_the_program_is(name):
    verdict = judge_code(MALFORMED[name], "def f(x): return 7")
    assert verdict.verdict == "unscored"
    assert "malformed" in verdict.detail


def test_after_a_timeout_the_remaining_tests_are_not_run_and_count_as_failed():
    verdict = judge_code(function([{"args": [1], "expected": 1}] * 50), "def f(x):\n    while True: pass")
    assert (verdict.verdict, verdict.passed, verdict.total) == ("timeout", 0, 50)
    assert [test["detail"] for test in verdict.tests[1:]] == ["not run after a timeout"] * 49


def test_where_only_all_or_nothing_counts_the_first_failure_is_the_last_test_run():
    tests = [{"args": [i], "expected": i} for i in (1, 2, 3)]
    program = "def f(x): return 0 if x == 2 else x"
    assert judge_code(function(tests), program).passed == 2
    verdict = judge_code(function(tests), program, stop_at_failure=True)
    assert (verdict.verdict, verdict.passed, verdict.total) == ("fail", 1, 3)
    assert verdict.tests[2]["detail"] == "not run after a failure"


@pytest.mark.parametrize(("body", "hidden"), [("x + 5", 2), ("7", 1), ("0", 0)])
def test_hidden_tests_are_counted_apart_and_change_nothing(body, hidden):
    held_back = [{"args": [2], "expected": 7}, {"args": [3], "expected": 8}]
    program = f"def f(x): return {body}"
    with_them = judge_code(function(hidden_tests=held_back), program)
    without = judge_code(function(), program)
    assert (with_them.hidden_passed, with_them.hidden_total) == (hidden, 2)
    assert (without.hidden_passed, without.hidden_total) == (0, 0)
    assert (with_them.verdict, with_them.passed, with_them.total) == (without.verdict, without.passed, without.total)
    assert len(with_them.tests) == len(without.tests) == 1


def test_the_reference_says_how_to_compare_and_else_the_caller_does():
    program = "def f(x): return [0.1 + 0.2, 1]"
    reference = function([{"args": [2], "expected": [1, 0.3]}])
    assert judge_code(reference, program).verdict == "fail"
    assert judge_code(reference, program, compare={"any_order": True, "rel_tol": 1e-9}).verdict == "pass"
    strict = reference | {"compare": {"any_order": False}}
    assert judge_code(strict, program, compare={"any_order": True, "rel_tol": 1e-9}).verdict == "fail"


def test_the_reference_names_its_limits_and_else_the_caller_does():
    reference = {key: value for key, value in function().items() if key != "limits"}
    program = "def f(x):\n    print('a' * 50_000, flush=True)\n    return 7"
    assert judge_code(reference, program, limits={"output_kb": 10}).verdict == "output"
    assert judge_code(reference | {"limits": {"output_kb": 100}}, program, limits={"output_kb": 10}).verdict == "pass"


def test_a_result_names_its_tier():
    assert judge_code(function(), "def f(x): return 7", tier="unsafe_none").tier == "unsafe_none"
    assert judge_code(function(), "def f(x): return 7").tier not in ("", "unsafe_none")


@pytest.mark.parametrize("tier", ["auto", "unsafe_none"])
def test_cpu_time_is_the_programs_own_with_all_its_threads(tier):
    spin = "import threading, time\ndef spin():\n    while time.process_time() < 0.1: pass\n"
    threads = f"{spin}def f(x):\n    t = threading.Thread(target=spin); t.start(); t.join()\n    return 7"
    sleeps = "import time\ndef f(x):\n    time.sleep(0.3)\n    return 7"
    reference = function([{"args": [1], "expected": 7}, {"args": [2], "expected": 7}])
    busy, idle = (judge_code(reference, program, tier=tier) for program in (threads, sleeps))
    assert (busy.verdict, idle.verdict) == ("pass", "pass")
    assert all(test["cpu_seconds"] >= 0.1 for test in busy.tests)
    assert busy.cpu_seconds == pytest.approx(sum(test["cpu_seconds"] for test in busy.tests))
    assert all(test["cpu_seconds"] < test["seconds"] >= 0.3 for test in idle.tests)


def test_threads_share_the_judge():
    verdicts = {}

    def judge(i):
        verdicts[i] = judge_code(function([{"args": [i], "expected": i}] * 3), "def f(x): return x if x % 2 else 0")

    threads = [threading.Thread(target=judge, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [verdicts[i].verdict for i in range(8)] == ["pass", "pass", "fail", "pass", "fail", "pass", "fail", "pass"]


def rows(tmp_path, *given):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n".join(json.dumps(row) for row in given) + "\n")
    code = main(["verify", "code", "--input", str(source), "--output", str(out), "--workers", "2"])
    return code, [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else None


def test_the_command_judges_each_row_in_order(tmp_path, capsys):
    code, judged = rows(
        tmp_path,
        {"id": "a", "program": "def f(x): return 7", **function()},
        {"id": "b", "program": "def f(x): return 8", **function()},
        {"id": "c", "program": "def f(x): return 2 * x", **asserts("assert f(2) == 4\nassert f(3) == 6")},
        {"id": "d", "program": "def f(x): return 2 * x", **asserts("assert sorted(f([2])) == [2, 2]")},
        {"id": "e", "program": "while True: pass", **script(("", "1"))},
        {"id": "f", "program": "def f(x): return x", **function(hidden_tests=[{"args": [7], "expected": 7}])},
    )
    assert code == 0
    assert [(row["id"], row["verdict"], row["passed"], row["total"]) for row in judged] == [
        ("a", "pass", 1, 1),
        ("b", "fail", 0, 1),
        ("c", "pass", 2, 2),
        ("d", "pass", 1, 1),
        ("e", "timeout", 0, 1),
        ("f", "fail", 0, 1),
    ]
    assert judged[5]["hidden"] == {"passed": 1, "total": 1}
    assert all(set(test) == {"verdict", "seconds", "cpu_seconds", "detail"} for row in judged for test in row["tests"])
    assert judged[0]["tier"] in capsys.readouterr().err


def test_the_command_takes_rows_as_data_sets_hold_them(tmp_path):
    script, method = "print('%.2f' % float(input()))", "class Solution:\n    def f(self, a, b): return (a, b)"
    pairs = json.dumps({"inputs": ["2.5"], "outputs": ["2.5"]})
    calls = json.dumps({"fn_name": "f", "inputs": [[1, 2]], "outputs": [[1, 2]]})
    listed = [{"input": "1\n[2]", "output": "[1, [2]]", "testtype": "functional"}]
    code, judged = rows(
        tmp_path,
        {"id": "a", "program": script, "input_output": pairs},
        {"id": "b", "program": script, "reward_model": {"ground_truth": pairs}},
        {"id": "c", "program": script, "reference": {"mode": "stdin", "tests": [{"stdin": ["2.5"], "stdout": 2.5}]}},
        {"id": "d", "program": script, "mode": "stdin", "tests": [{"stdin": 2.5, "stdout": 2.5}], "tolerance": 1e-9},
        {"id": "e", "program": method, "input_output": calls},
        {"id": "f", "program": method, "public_test_cases": listed, "metadata": {"func_name": "f"}},
    )
    assert code == 0
    assert [row["verdict"] for row in judged] == ["pass", "pass", "fail", "pass", "pass", "pass"]


def test_bad_rows_are_unscored_in_their_place_and_stop_no_other(tmp_path, capsys):
    good = {"id": "ok", "program": "def f(x): return 7", **function()}
    bad = [
        ({"id": "a", **function()}, "program is missing"),
        ({"id": "b", "program": "x", "mode": "nonsense"}, "mode is 'nonsense'"),
        ({"id": "c", "program": "x", **function([{"args": [1]}])}, "a test has no expected"),
        ([1], "not a JSON object"),
    ]
    code, judged = rows(tmp_path, *(row for wrong, _ in bad for row in (good, wrong)))
    assert code == 1
    assert [row["verdict"] for row in judged] == ["pass", "unscored"] * len(bad)
    assert [row["id"] for row in judged[1::2]] == ["a", "b", "c", None]
    assert all(said in row["detail"] for row, (_, said) in zip(judged[1::2], bad, strict=True))
    assert all({*judged[0], "detail"} == set(row) for row in judged[1::2])
    err = capsys.readouterr().err
    assert "4 of 8 rows cannot be judged (lines 2, 4, 6, 8); judging the others" in err
    assert "4 of 8 programs pass" in err
    assert "in.jsonl: 4 of 8 rows could not be judged and are unscored" in err
    assert "the first, a: program is missing" in err


def test_the_command_says_which_row_its_judge_could_not_run(tmp_path, capsys):
    code, judged = rows(tmp_path, {"id": "t7", "program": "f = 1", **asserts("import no_such_module\nf(1)")})
    assert (code, judged[0]["verdict"]) == (1, "unscored")
    assert "t7: the reference is malformed: No module named 'no_such_module'" in capsys.readouterr().err


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["f", "[1]", "("]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
TEST = st.dictionaries(
    st.sampled_from(
        ["stdin", "stdout", "args", "args_py", "kwargs", "kwargs_py", "expected", "expected_py", "accepted"]
    ),
    JSON,
    max_size=4,
)


@given(
    st.fixed_dictionaries(
        {"mode": st.sampled_from(["stdin", "function", "asserts"]) | JSON},
        optional={
            "tests": st.lists(TEST | JSON, max_size=3) | JSON,
            "hidden_tests": st.lists(TEST | JSON, max_size=3) | JSON,
            "entry_point": st.just("f") | JSON,
            "test_code": st.sampled_from(["assert f(1)", "def check(c): pass", "import x"]) | JSON,
            "limits": st.dictionaries(st.sampled_from(["wall_s", "x"]), JSON) | JSON,
            "compare": st.dictionaries(st.sampled_from(["numbers", "rel_tol"]), JSON) | JSON,
            "contest_names": JSON,
        },
    )
    | JSON
)
def test_whatever_a_reference_holds_it_is_read_or_malformed(reference):
    with contextlib.suppress(Malformed):
        assert read_reference(reference, {}, {}).tests
