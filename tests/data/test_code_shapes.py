"""The forms in which data sets hold the tests of a code task."""

import base64
import contextlib
import json
import math
import pickle
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlkit.data.code_shapes import code_reference, looks_like_code, reshape
from rlkit.data.code_values import decompressed, parse, put
from rlkit.data.mappings import READY, detect
from rlkit.data.references import reference_of
from rlkit.data.rows import RowError

SCRIPT = [{"stdin": "1 2\n", "stdout": "3\n"}, {"stdin": "4 5\n", "stdout": "9\n"}]
PAIRS = {"inputs": ["1 2\n", "4 5\n"], "outputs": ["3\n", "9\n"]}
LIST = [{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}, {"input": "4 5\n", "output": "9\n"}]
BY_VALUE = {"compare": {"numbers": True}}


@pytest.mark.parametrize(
    "given",
    [
        PAIRS,
        json.dumps(PAIRS),
        str(PAIRS),
        {"inputs": [["1 2"], ["4 5\n"]], "outputs": [["3"], ["9"]]},
        {"input_output": json.dumps(PAIRS)},
        {"ground_truth": json.dumps(PAIRS), "style": "rule"},
        {"reward_model": {"style": "rule", "ground_truth": json.dumps(PAIRS)}},
        {"program": "x", "id": 3, "tests": PAIRS},
        {"tests": json.dumps(LIST)},
        {"test_cases": LIST},
        {"public_test_cases": json.dumps(LIST[:1]), "private_test_cases": json.dumps(LIST[1:])},
        LIST,
        json.dumps(LIST),
        [{"type": "stdin_stdout", "input": "1 2\n", "output": "3\n"}, {"input": "4 5\n", "expected_output": "9\n"}],
        [{"input": ["1 2"], "output": [3]}, {"stdin": "4 5\n", "stdout": ["9"]}],
    ],
)
def test_the_tests_of_a_script_are_read_in_every_form(given):
    assert code_reference(given) == {"mode": "stdin", "tests": SCRIPT} | BY_VALUE


def test_lines_and_numbers_are_text():
    own = {"mode": "stdin", "tests": [{"stdin": ["1", "2 3"], "stdout": ["6"]}, {"stdin": 4, "stdout": 8}]}
    tests = [{"stdin": "1\n2 3\n", "stdout": "6\n"}, {"stdin": "4", "stdout": "8"}]
    assert code_reference(own) == {"mode": "stdin", "tests": tests}
    hidden = {**own, "hidden_tests": [{"stdin": ["a\n", "b\n"], "stdout": 1.5}]}
    assert code_reference(hidden)["hidden_tests"] == [{"stdin": "a\nb\n", "stdout": "1.5"}]


FUNCTIONAL = {"input": '"a"\n1', "output": "2", "testtype": "functional"}
CALLED = {"mode": "function", "entry_point": "f", "compare": {"tuples_as_lists": True}}


@pytest.mark.parametrize(
    ("given", "test"),
    [
        ({"fn_name": "f", "inputs": [[1, [2]]], "outputs": [3]}, {"args": [1, [2]], "expected": 3}),
        ({"fn_name": "f", "inputs": [[1]], "outputs": [[3]]}, {"args": [1], "accepted": [3, [3]]}),
        ({"fn_name": "f", "inputs": [[1]], "outputs": [[3, 4]]}, {"args": [1], "expected": [3, 4]}),
        ({"fn_name": "f", "inputs": [[]], "outputs": ["a"]}, {"args": [], "expected": "a"}),
        ({"fn_name": "f", "inputs": ["[1, 2]\n3"], "outputs": ["true"]}, {"args": [[1, 2], 3], "expected": True}),
        (
            {"fn_name": "f", "inputs": ["nums = [1, null], k = 2"], "outputs": ["'ab'"]},
            {"args": [], "kwargs": {"nums": [1, None], "k": 2}, "expected": "ab"},
        ),
        ({"fn_name": "f", "inputs": [{"x": 1}], "outputs": [2]}, {"args": [], "kwargs": {"x": 1}, "expected": 2}),
        (
            {"fn_name": "f", "inputs": [[{"1": 2}]], "outputs": [{"3": 4}]},
            {"args_py": "[{1: 2}]", "accepted_py": "[{'3': 4}, {3: 4}]"},
        ),
        ({"fn_name": "f", "inputs": ["(1,)"], "outputs": ["{1, 2}"]}, {"args_py": "[(1,)]", "expected_py": "{1, 2}"}),
        ([{**FUNCTIONAL, "metadata": {"func_name": "f"}}], {"args": ["a", 1], "expected": 2}),
        ({"tests": [FUNCTIONAL], "metadata": '{"func_name": "f"}'}, {"args": ["a", 1], "expected": 2}),
        ([{"type": "function_call", "fn_name": "f", "input": [1], "output": [2]}], {"args": [1], "accepted": [2, [2]]}),
        ({"entry_point": "f", "tests": [{"input": "3", "output": "2"}]}, {"args": [3], "expected": 2}),
    ],
)
def test_the_tests_of_a_function_are_read_in_every_form(given, test):
    assert code_reference(given) == CALLED | {"tests": [test]}
    assert code_reference(json.dumps(given)) == CALLED | {"tests": [test]}


def test_a_long_integer_goes_through_json_and_back():
    reference = code_reference(f'{{"fn_name": "f", "inputs": [[-1{"0" * 5000}]], "outputs": [1{"0" * 5000}]}}')
    (test,) = json.loads(json.dumps(reference))["tests"]
    assert eval(test["args_py"]) == [-(10**5000)]
    assert eval(test["expected_py"]) == 10**5000


@pytest.mark.parametrize(
    "given",
    [
        ["assert f(1) == 2", "assert f(2) == 3"],
        "assert f(1) == 2\nassert f(2) == 3",
        {"test_list": ["assert f(1) == 2", "assert f(2) == 3"], "test_setup_code": ""},
        {
            "test": "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(2) == 3",
            "entry_point": "f",
        },
        {"ground_truth": json.dumps(["assert f(1) == 2", "assert f(2) == 3"])},
    ],
)
def test_asserts_are_read_in_every_form(given):
    tests = [{"args": [1], "expected": 2}, {"args": [2], "expected": 3}]
    assert code_reference(given) == {"mode": "function", "entry_point": "f", "tests": tests}


@pytest.mark.parametrize(
    ("more", "compare"),
    [
        ({"tolerance": 1e-6}, {"numbers": True, "rel_tol": 1e-6, "abs_tol": 1e-6}),
        ({"float_relative_tolerance": "1e-4"}, {"numbers": True, "rel_tol": 1e-4}),
        ({"checker": "numeric"}, {"numbers": True}),
        ({"checker": "exact"}, None),
        ({"checker": None}, None),
        ({"checker": "rcmp6.cpp"}, {"numbers": True, "rel_tol": 1e-6, "abs_tol": 1e-6}),
        ({"validator_flags": "float_tolerance 1e-3"}, {"numbers": True, "rel_tol": 1e-3, "abs_tol": 1e-3}),
        ({"checker": {"type": "float", "tolerance": 0.5}}, {"numbers": True, "rel_tol": 0.5, "abs_tol": 0.5}),
        ({"checker": "numeric", "compare": {"numbers": False}}, {"numbers": False}),
    ],
)
def test_a_row_chooses_how_its_outputs_are_compared(more, compare):
    assert reshape({"mode": "stdin", "tests": SCRIPT, **more}).get("compare") == compare


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("print(1)", "text without tests"),
        ('{"inputs": [1', "looks like a code reference, but is invalid JSON"),
        (7, "it must be an object, a list or JSON text"),
        ([], "mode is null"),
        ({"inputs": ["1"], "outputs": []}, "two lists of the same length"),
        ({"inputs": [{"a": 1}], "outputs": ["1"]}, "test 1 of the code reference: \"{'a': 1}\" is neither text nor"),
        ([{"input": "1", "output": "2", "testtype": "functional"}], "without a name: add entry_point"),
        ([{"input": "1", "output": "2", "testtype": "interactive"}], "'interactive', not stdin or functional"),
        ([{"stdin": "1", "stdout": "2"}, {"args": [1], "expected": 2}], "keep only one kind"),
        ([{"input": "1"}], "test 1 of the code reference lacks stdin and stdout"),
        ({"fn_name": "f", "inputs": ["f(x)"], "outputs": ["1"]}, "the arguments cannot be read"),
        ({"fn_name": "f", "inputs": ["1"], "outputs": ["abc"]}, "neither JSON nor a Python literal"),
        ({"fn_name": "not a name", "inputs": [[1]], "outputs": [1]}, "no entry_point"),
        ({**PAIRS, "checker": "#include <testlib.h>"}, "reward.accuracy.judges"),
        ({**PAIRS, "generated_checker": "import sys"}, "reward.accuracy.judges"),
        ({**PAIRS, "tolerance": "much"}, "tolerance must be a number of at least 0"),
        ({**PAIRS, "compare": 3}, "compare must be an object"),
        ({"public_test_cases": json.dumps(LIST), "private_test_cases": "eJw="}, "private_test_cases cannot be read"),
        (LIST * 600, "1200 tests, more than 1000"),
    ],
)
def test_a_form_that_cannot_be_used_is_refused_with_its_reason(given, reason):
    with pytest.raises(RowError) as error:
        code_reference(given)
    assert reason in str(error.value)


def test_private_tests_are_unpacked_and_other_pickles_are_not():
    packed = base64.b64encode(zlib.compress(pickle.dumps(json.dumps(LIST)))).decode()
    assert json.loads(decompressed(packed)) == LIST
    for other in (print, LIST):
        with pytest.raises(RowError, match="private_test_cases"):
            decompressed(base64.b64encode(zlib.compress(pickle.dumps(other))).decode())


def test_a_reference_without_a_kind_is_code_where_it_holds_tests():
    for reference in (PAIRS, json.dumps(PAIRS), json.dumps(LIST), LIST, ["assert f(1) == 2"]):
        assert looks_like_code(reference)
        assert reference_of(reference, None) == reference_of(reference, "code") == code_reference(reference)
    for gold in ("12", "[1, 2]", "{1, 2}", '{"a": 1}', ["1", "2"], [], 3, None, True):
        assert not looks_like_code(gold)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("assert f(1) == 2"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        *("mode", "tests", "entry_point", "fn_name", "inputs", "outputs", "test_code", "test_list", "input_output"),
        *(
            "stdin",
            "stdout",
            "input",
            "output",
            "testtype",
            "type",
            "args",
            "kwargs",
            "args_py",
            "expected",
            "accepted",
        ),
        *(
            "metadata",
            "limits",
            "compare",
            "checker",
            "tolerance",
            "hidden_tests",
            "ground_truth",
            "reference",
            "test",
            "accepted",
        ),
        *("private_test_cases", "public_test_cases", "test_setup_code", "test_imports", "contest_names"),
    ]
)
VALUES = JSON | st.sampled_from(["stdin", "function", "asserts", "functional", "f", "[1]", "{}", "("])
TESTS = st.lists(st.dictionaries(KEYS, VALUES, max_size=4) | VALUES, max_size=3)


PARTS = st.dictionaries(KEYS, VALUES | TESTS, max_size=3)


@given(st.dictionaries(KEYS, VALUES | TESTS | PARTS, max_size=5) | VALUES | TESTS)
def test_whatever_a_row_holds_it_is_a_reference_or_has_a_reason(row):
    for read in (reshape, code_reference):
        with contextlib.suppress(RowError):
            assert isinstance(read(row), dict)
    looks_like_code(row)


@given(JSON)
def test_a_value_of_a_test_is_kept_as_json_or_as_a_literal(value):
    test = {}
    try:
        put(test, "expected", value)
    except RowError:
        assert "nan" in repr(value)
        return
    json.dumps(test)
    (back,) = (parse(item) if name.endswith("_py") else item for name, item in test.items())
    assert back == value or (isinstance(value, float) and math.isclose(back, value))


def test_rows_of_apps_and_livecodebench_are_recognised():
    row = {"problem_id": 7, "question": "Add.", "input_output": json.dumps(PAIRS), "difficulty": "interview"}
    assert detect(row, "reference") == "apps"
    draft = READY["apps"](row)
    assert (draft.kind, draft.id, draft.metadata["difficulty"]) == ("code", "7", "interview")
    assert draft.reference == {"mode": "stdin", "tests": SCRIPT} | BY_VALUE
    assert draft.prompt.startswith("Add.\n\nRead from standard input")
    row = {
        "question_content": "Add.",
        "starter_code": "class Solution:\n    def f(self, a, b):",
        "public_test_cases": json.dumps([FUNCTIONAL]),
        "private_test_cases": base64.b64encode(zlib.compress(pickle.dumps(json.dumps([FUNCTIONAL])))).decode(),
        "metadata": '{"func_name": "f"}',
    }
    assert detect(row, "reference") == "livecodebench"
    draft = READY["livecodebench"](row)
    assert (draft.reference["entry_point"], len(draft.reference["tests"])) == ("f", 2)
    assert "class Solution" in draft.prompt
    with pytest.raises(RowError, match="invalid JSON"):
        READY["apps"]({"question": "Add.", "input_output": "{"})
