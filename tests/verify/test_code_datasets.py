"""Real data sets: what they hold as right passes, and fails when it is broken."""

import ast
import gzip
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rlkit.data.cases import turn_asserts
from rlkit.data.mappings import humaneval, mbpp
from rlkit.verify.code.code_judge import judge_code
from tests.verify.contest_programs import BROKEN, RIGHT

FOLDER = Path(os.environ.get("RLKIT_DATA_DIR") or Path(__file__).parents[2] / "../shared/data")
NOT_PASSING = {"mbpp 414": "returns 0 where False is expected: a bool equals only a bool"}
SAMPLE = 25


def find(name):
    if not (FOLDER / name).exists():
        pytest.skip(f"{name} is not in {FOLDER}")
    return FOLDER / name


def tasks(step):
    """(name, reference, program) of every step-th task of HumanEval and MBPP."""
    found = []
    with gzip.open(find("HumanEval.jsonl.gz"), "rt") as lines:
        for row in list(map(json.loads, lines))[::step]:
            found.append((row["task_id"], humaneval(row).reference, row["prompt"] + row["canonical_solution"]))
    with find("mbpp.jsonl").open() as lines:
        for row in list(map(json.loads, lines))[::step]:
            found.append((f"mbpp {row['task_id']}", mbpp(row).reference, row["code"].replace("\r", "")))
    return found


def without_body(program, function):
    """The program whose function does nothing."""
    tree = ast.parse(program)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == function:
            node.body = [ast.Return(ast.Constant(None))]
    return ast.unparse(ast.fix_missing_locations(tree))


def _judge(reference, program):
    # One MBPP solution needs three seconds of an idle core.
    return judge_code(reference, program, limits={"wall_s": 40, "cpu_s": 20})


def verdicts(step, change):
    given = tasks(step)
    with ThreadPoolExecutor(2) as pool:
        judged = pool.map(lambda task: _judge(task[1], change(task[2], task[1]["entry_point"])), given)
        return {task[0]: verdict for task, verdict in zip(given, judged, strict=True)}


def check_reference_solutions(step):
    failed = {name: v.detail for name, v in verdicts(step, lambda program, _: program).items() if v.verdict != "pass"}
    assert failed.keys() == {name for name in NOT_PASSING if name in failed}, failed


def check_broken_solutions(step):
    passed = [name for name, v in verdicts(step, without_body).items() if v.verdict not in ("fail", "killed")]
    assert passed == []


def test_reference_solutions_pass_in_a_sample():
    check_reference_solutions(SAMPLE)


def test_solutions_without_a_body_fail_in_a_sample():
    check_broken_solutions(SAMPLE)


@pytest.mark.slow
def test_every_reference_solution_passes():
    check_reference_solutions(1)


@pytest.mark.slow
def test_every_solution_without_a_body_fails():
    check_broken_solutions(1)


def raw_references():
    """HumanEval and MBPP as they come: test code, not yet read."""
    with gzip.open(find("HumanEval.jsonl.gz"), "rt") as lines:
        for row in map(json.loads, lines):
            yield {"mode": "asserts", "test_code": row["test"], "entry_point": row["entry_point"]}
    with find("mbpp.jsonl").open() as lines:
        for row in map(json.loads, lines):
            code = "\n".join([row.get("test_setup_code") or "", *row["test_list"]])
            yield {"mode": "asserts", "test_code": code, "entry_point": ""}


def test_as_many_tasks_turn_into_data_as_were_counted():
    modes = [turn_asserts(reference)["mode"] for reference in raw_references()]
    assert (modes[:164].count("function"), modes[164:].count("function")) == (142, 967)


def contest_reference(row):
    tests = json.loads(find("code_contests_test.json").read_text())[row]["tests"]
    pairs = zip(tests["inputs"], tests["outputs"], strict=True)
    return {"mode": "stdin", "tests": [{"stdin": i, "stdout": o} for i, o in pairs]}


@pytest.mark.parametrize("row", RIGHT)
def test_a_solved_contest_task_passes_and_fails_when_broken(row):
    reference = contest_reference(row)
    verdict = judge_code(reference, RIGHT[row])
    assert verdict.verdict == "pass", verdict.detail
    for why, programs in BROKEN.items():
        assert judge_code(reference, programs[row], stop_at_failure=True).verdict == "fail", why
