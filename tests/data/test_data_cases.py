import ast
import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit.data.cases import cases_of, check_body, check_code_reference, helpers_of, is_json_value, turn_asserts
from rlkit.data.mappings import humaneval, mbpp

ATOMS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=5)
HASHABLE = st.recursive(ATOMS, lambda inner: st.tuples(inner, inner), max_leaves=4)
VALUES = st.recursive(
    ATOMS | st.complex_numbers(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.sets(HASHABLE, max_size=3)
        | st.dictionaries(HASHABLE, inner, max_size=3)
    ),
    max_leaves=8,
)


def canonical(value) -> str:
    """Equal for equal values of equal types; sets have no order."""
    if isinstance(value, set):
        return f"set{sorted(map(canonical, value))}"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}{[canonical(v) for v in value]}"
    if isinstance(value, dict):
        return f"dict{[(canonical(k), canonical(v)) for k, v in value.items()]}"
    return repr(value)


def read(case):
    if "args" in case:
        return case["args"], case["expected"]
    return ast.literal_eval(case["args_py"]), ast.literal_eval(case["expected_py"])


@settings(max_examples=150, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=3), VALUES)
def test_a_case_gives_back_the_literals_of_its_assert(args, expected):
    if any("inf" in repr(v) for v in (args, expected)):
        args, expected = [0], 1
    source = f"assert f({', '.join(map(repr, args))}) == {expected!r}"
    if "j" in source:
        # -0j reads as another complex number than it was printed from.
        with contextlib.suppress(ValueError):
            args, expected = ast.literal_eval(repr((args, expected)))
    found = cases_of(ast.parse(source).body, None)
    if found is None:
        # -0j and the like: what repr writes as a complex sum is not always a literal again.
        assert "j" in source
        return
    name, (case,) = found
    assert name == "f"
    assert canonical(read(case)) == canonical((args, expected))
    assert ("args" in case) == is_json_value([args, expected])


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_what_counts_as_json_survives_json_with_its_types(value):
    import json

    if is_json_value(value):
        assert repr(json.loads(json.dumps(value))) == repr(value)


def cases(source, function=None):
    found = cases_of(ast.parse(source).body, function)
    return found and found[1]


def test_values_without_json_are_kept_as_python_literals():
    assert cases("assert f((1, 2), 1e999) == {3}") == [{"args_py": "[(1, 2), 1e309]", "expected_py": "{3}"}]
    assert cases("assert f({1: 2}) == -1") == [{"args_py": "[{1: 2}]", "expected_py": "-1"}]
    assert cases("assert f() == set()") == [{"args_py": "[]", "expected_py": "set()"}]
    assert cases("assert f(b=1) == 2") == [{"args": [], "expected": 2, "kwargs": {"b": 1}}]


def test_anything_but_an_equality_of_literals_is_left_as_code():
    for source in (
        "assert f(x) == 1",
        "assert f(1)",
        "assert not f(1)",
        "assert f(1) is True",
        "assert abs(f(1) - 2) < 1e-6",
        "assert f(*[1]) == 1",
        "assert f(**{}) == 1",
        "assert f(b=(1,)) == 1",
        "assert m.f(1) == 1",
        "assert f(1) == g(1)",
        "assert f(1) == 1 == 1",
        "assert f(1) == 1\nassert g(1) == 1",
        "x = 1\nassert f(1) == 1",
        "assert False",
        "assert True",
        "pass",
    ):
        assert cases(source) is None, source


def test_check_is_read_only_where_nothing_else_runs():
    body = "def check(candidate):\n    assert candidate(1) == 2, 'm'\n    assert True, 'x'\n"
    assert check_body(ast.parse("METADATA = {'a': 1}\n" + body))
    assert cases_of(check_body(ast.parse(body)), "candidate") == ("candidate", [{"args": [1], "expected": 2}])
    assert check_body(ast.parse("import math\n" + body)) is None
    assert check_body(ast.parse(body + body)) is None


def test_humaneval_code_tests_bring_the_prompts_helpers_and_call_check():
    prompt = "import math\n\ndef helper(x):\n    return x\n\ndef f(x):\n    '''doc'''\n"
    test = "def check(candidate):\n    for i in range(3):\n        assert candidate(i) == helper(i)\n"
    draft = humaneval({"prompt": prompt, "entry_point": "f", "test": test})
    assert draft.reference["mode"] == "asserts"
    space = {"f": lambda x: x}
    exec(draft.reference["test_code"], space)
    assert "def f(" not in draft.reference["test_code"]
    assert helpers_of("def broken(", "f") == ""


def test_mbpp_setup_or_computed_values_stay_code():
    row = {"text": "t", "test_list": ["assert f(T(1)) == 2"], "test_setup_code": "class T: pass"}
    reference = mbpp(row).reference
    assert reference == {
        "mode": "asserts",
        "test_code": "class T: pass\nassert f(T(1)) == 2\n",
        "entry_point": "f",
    }
    sanitized = {"prompt": "p", "test_list": ["assert f(1) == (2, 3)"], "test_imports": []}
    assert mbpp(sanitized).reference["tests"] == [{"args_py": "[1]", "expected_py": "(2, 3)"}]
    assert mbpp(sanitized).prompt == "p\n\nYour code must pass this test:\nassert f(1) == (2, 3)"


def test_a_reference_of_plain_asserts_becomes_cases():
    code = 'METADATA = {}\n\ndef check(candidate):\n    assert candidate(1) == [2]\n    assert True, "x"\n'
    cases = [{"args": [1], "expected": [2]}]
    for called in ("", "\ncheck(f)"):
        reference = {"mode": "asserts", "entry_point": "f", "test_code": code + called, "limits": {"wall_s": 1}}
        turned = turn_asserts(reference)
        assert turned == {"mode": "function", "entry_point": "f", "tests": cases, "limits": {"wall_s": 1}}
    assert turn_asserts({"mode": "asserts", "test_code": "assert g(1) == [2]"}) == {
        "mode": "function",
        "entry_point": "g",
        "tests": cases,
    }


def test_a_reference_with_more_than_cases_is_kept():
    for code in ("import math\nassert f(1) == 2", "def check(c):\n    assert c(1) == 2\ncheck(g)", "(", "", 7):
        reference = {"mode": "asserts", "entry_point": "f", "test_code": code}
        assert turn_asserts(reference) is reference
    function = {"mode": "function", "entry_point": "f", "tests": [{"args": [], "expected": 1}]}
    assert turn_asserts(function) is function


def test_code_references_are_checked_with_their_hidden_tests_and_methods():
    test = {"args": [1], "expected": 1}
    good = {"mode": "function", "entry_point": "f", "tests": [test]}
    for more in ({}, {"entry_point": "Solution().f"}, {"entry_point": "Solution.f"}, {"hidden_tests": [test]}):
        assert check_code_reference(good | more) is None
    for more, reason in (
        ({"entry_point": "f()"}, "entry_point"),
        ({"entry_point": "a.b.c"}, "entry_point"),
        ({"hidden_tests": {"args": []}}, "hidden_tests"),
        ({"hidden_tests": [{"args": [1]}]}, "test 2"),
    ):
        assert reason in check_code_reference(good | more)
