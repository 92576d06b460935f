"""What a recipe can say of the code judge, as the accuracy part hears it."""

import pytest

from rewards.accuracy import Accuracy
from rlkit import Group, Sample, Task
from rlkit.errors import PluginError
from rlkit.recipe.schema.reward_section import RewardKeys
from rlkit.scoring.plugins.plugin import load_parts

TESTS = [{"args": [i], "expected": i} for i in range(4)]
REFERENCE = {"mode": "function", "entry_point": "f", "tests": TESTS}
HALF = "def f(x): return x if x < 2 else 0"


def score(accuracy, program, **more):
    reply = Sample("t#0", f"```python\n{program}\n```", 10)
    return accuracy.score(Group(Task("t", "code", "Write f.", REFERENCE | more), (reply,)))[0]


def test_all_or_nothing_stops_at_the_first_failure_and_a_share_runs_every_test():
    whole, share = score(Accuracy(), HALF), score(Accuracy(partial=True), HALF)
    assert (whole.value, share.value) == (0.0, 0.5)
    assert [test["detail"] for test in whole.evidence["tests"]][2:] == ["returned 0, not 2", "not run after a failure"]
    assert [test["detail"] for test in share.evidence["tests"]][2:] == ["returned 0, not 2", "returned 0, not 3"]


def test_hidden_tests_are_evidence_and_no_part_of_the_value():
    accuracy = Accuracy(partial=True)
    hidden = [{"args": [7], "expected": 7}, {"args": [1], "expected": 1}]
    program = "def f(x): return x if x < 4 else 0"
    scored = score(accuracy, program, hidden_tests=hidden)
    assert (scored.value, scored.verdict) == (1.0, "pass")
    assert scored.evidence["hidden"] == {"passed": 1, "total": 2}
    assert "hidden" not in score(accuracy, program).evidence


def test_every_result_names_what_isolated_it():
    assert score(Accuracy(unsafe_no_isolation=True), HALF).evidence["tier"] == "unsafe_none"
    assert score(Accuracy(), HALF).evidence["tier"] in ("namespaces", "landlock", "wasm")
    assert score(Accuracy(sandbox="landlock"), HALF).evidence["tier"] == "landlock"


def test_limits_and_rules_of_the_recipe_hold_where_the_data_names_none():
    slow = "def f(x):\n    while x == 3: pass\n    return x + 0.0001"
    assert score(Accuracy(limits={"wall_s": 0.5}, compare={"abs_tol": 0.001}), slow).verdict == "timeout"
    assert score(Accuracy(compare={"abs_tol": 0.001}), "def f(x): return x + 0.0001").verdict == "pass"
    assert score(Accuracy(), "def f(x): return x + 0.0001").verdict == "fail"


def test_packages_of_the_recipe_can_be_imported():
    program = "import numpy\ndef f(x): return numpy.int64(x)"
    assert score(Accuracy(packages=("numpy",)), program).value == 1.0
    assert score(Accuracy(), program).value == 0.0


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"sandbox": "docker"}, "sandbox='docker'"),
        ({"sandbox": "unsafe_none"}, "sandbox='unsafe_none'"),
        ({"unsafe_no_isolation": True, "sandbox": "wasm"}, "contradict"),
        ({"packages": ["numpy"], "sandbox": "wasm"}, "only pure Python"),
        ({"limits": {"wall": 1}}, "limits"),
        ({"limits": {"wall_s": 0}}, "limits.wall_s=0"),
        ({"compare": {"rel_tol": True}}, "compare.rel_tol=True"),
        ({"compare": {"any_order": 1}}, "compare.any_order=1"),
        ({"compare": {"tolerance": 1}}, "compare"),
    ],
)
def test_a_wrong_key_is_refused_before_the_run_by_its_name(tmp_path, keys, said):
    with pytest.raises(PluginError) as error:
        load_parts(RewardKeys.model_validate({"accuracy": keys}), tmp_path)
    assert said in str(error.value)


def test_every_key_is_accepted_from_yaml(tmp_path):
    keys = {
        "partial": True,
        "sandbox": "landlock",
        "packages": ["numpy"],
        "limits": {"wall_s": 2, "memory_mb": 300.5},
        "compare": {"rel_tol": 1e-6, "any_order": True, "numbers": True},
        "contest_names": False,
    }
    (part,) = [p for p in load_parts(RewardKeys.model_validate({"accuracy": keys}), tmp_path) if p.name == "accuracy"]
    assert score(part.plugin, HALF).value == 0.5
