"""What crosses the line between a program and its judge, and when two values or outputs are the same."""

import collections
import contextlib
import json
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rlkit.verify.code.code_compare import Rules, same_output, same_value
from rlkit.verify.code.code_run import show
from rlkit.verify.sandbox.values import (
    MAX_BYTES,
    MAX_DEPTH,
    BadValue,
    decode,
    encode,
    read_frame,
    write_frame,
)

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
HASHABLE = st.recursive(PLAIN, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5)
VALUES = st.recursive(
    PLAIN | st.complex_numbers(allow_nan=False) | st.integers(-(2**90), 2**90),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.sets(HASHABLE, max_size=4)
        | st.dictionaries(HASHABLE, inner, max_size=4)
        | st.lists(inner, max_size=3).map(collections.deque)
        | st.dictionaries(st.text(), st.integers()).map(collections.Counter)
    ),
    max_leaves=20,
)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.sampled_from("ltSFdCOqrciB@"),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=15,
)


def crossed(value):
    return decode(read_frame(write_frame({"value": encode(value)}))["value"])


@given(VALUES)
def test_a_value_comes_back_equal_and_of_its_type_through_the_bytes_of_a_frame(value):
    assert crossed(value) == value
    assert type(crossed(value)) is type(value)
    assert same_value(encode(crossed(value)), encode(value), Rules())


@given(VALUES, VALUES)
def test_without_bools_values_are_the_same_where_python_says_so(a, b):
    assume("True" not in repr([a, b]) and "False" not in repr([a, b]))
    same = same_value(encode(a), encode(b), Rules())
    assert same == (a == b) or {type(a), type(b)} & {collections.Counter, collections.deque}


@given(TREES)
def test_what_anyone_may_have_written_is_a_value_or_is_refused(tree):
    with contextlib.suppress(BadValue):
        decode(tree)
    with contextlib.suppress(BadValue):
        same_value(tree, encode([1]), Rules(any_order=True, rel_tol=0.1))
        assert len(show(tree)) <= 80


@given(st.binary(max_size=200))
def test_a_frame_of_any_bytes_is_a_message_or_is_refused(frame):
    with contextlib.suppress(BadValue):
        assert isinstance(read_frame(frame), dict)


HOSTILE_FRAMES = {
    "deep": b"[" * 100_000,
    "deep object": b'{"a":' * 100_000,
    "long number": b'{"a":' + b"7" * 1_000_000 + b"}",
    "long fraction": b'{"a":0.' + b"7" * 1_000_000 + b"}",
    "many parts": b'{"a":[' + b"[]," * 600_000 + b"[]]}",
    "too long": b'{"a":"' + b"a" * MAX_BYTES + b'"}',
    "utf-16": '{"a":1}'.encode("utf-16"),
    "no object": b"[1]",
    "nothing": b"",
}


@pytest.mark.parametrize("name", HOSTILE_FRAMES)
def test_a_hostile_frame_is_refused(name):
    with pytest.raises(BadValue):
        read_frame(HOSTILE_FRAMES[name])


def doubled(levels):
    value = [1]
    for _ in range(levels):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        doubled(90),
        [0] * 10**6,
        ["a" * MAX_BYTES, "a" * MAX_BYTES, 1],
        type("Int", (int,), {})(7),
        type("List", (list,), {})(),
        collections.namedtuple("Pair", "a b")(1, 2),
        object(),
        (i for i in ()),
        {1: object()},
    ],
    ids=["shared", "long", "text", "int", "list", "namedtuple", "object", "generator", "inside"],
)
def test_what_has_no_place_in_the_encoding_is_refused(value):
    with pytest.raises(BadValue):
        encode(value)


def test_nesting_ends_at_the_limit():
    value = []
    for _ in range(MAX_DEPTH):
        value = [value]
    assert crossed(value) == value
    with pytest.raises(BadValue):
        encode([value])


def test_numpy_numbers_and_arrays_cross_as_plain_ones():
    np = pytest.importorskip("numpy")
    got = crossed([np.int64(3), np.float32(0.5), np.bool_(True), np.array([[1, 2]]), np.float64(2.0)])
    assert got == [3, 0.5, True, [[1, 2]], 2.0]
    assert [type(v) for v in got] == [int, float, bool, list, float]


def test_colliding_integers_are_compared_without_hashing_them():
    # A set of these takes minutes to build.
    tree = ["S", *[["i", hex(k * (2**61 - 1))] for k in range(100_000)]]
    assert not same_value(tree, encode({1}), Rules())
    assert same_value(tree, tree, Rules())


INF, NAN = math.inf, math.nan
SAME = [
    (1, 1.0), (10**400, 10**400), (NAN, NAN), ([NAN], [NAN]), (1 + 0j, 1), (0.0, -0.0), ({1, 2}, {2, 1.0}),
    ({1}, frozenset({1})), (b"a", bytearray(b"a")), ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    (collections.Counter("aab"), {"a": 2, "b": 1}), (collections.defaultdict(list, {1: [2]}), {1: [2]}),
    (collections.OrderedDict([(1, 2), (3, 4)]), {3: 4, 1: 2}), ({(1, 2): 3}, {(1, 2): 3}), (None, None), (True, True),
]  # fmt: skip
OTHER = [
    (True, 1), (1, True), (False, 0), (0, False), ([True], [1]), ({True}, {1}), ({1: 2}, {True: 2}), (NAN, 1.0),
    (1.0, NAN), ("1", 1), ("a", b"a"), ([1], (1,)), ((1,), [1]), ([1], {1}), ({1: 2}, [1, 2]), ([1, 2], [2, 1]),
    ([1], [1, 1]), ({1}, {1, 2}), (None, 0), (None, False), ("", None), ([], ()), ([], None), ({}, set()),
    (collections.deque([1]), [1]), (range(3), [0, 1, 2]), (collections.Counter(a=0), {}), (10**400, INF),
    (0.1 + 0.2, 0.3), ("1 ", "1"),
]  # fmt: skip


@pytest.mark.parametrize(("got", "want"), SAME)
def test_the_same_by_the_written_rules(got, want):
    assert same_value(encode(got), encode(want), Rules())
    assert same_value(encode(want), encode(got), Rules())


@pytest.mark.parametrize(("got", "want"), OTHER)
def test_not_the_same_by_the_written_rules(got, want):
    assert not same_value(encode(got), encode(want), Rules())
    assert not same_value(encode(got), encode(want), Rules(rel_tol=1e-20, abs_tol=1e-20))


@pytest.mark.parametrize(
    ("rules", "got", "want", "same"),
    [
        ({}, 2**53 + 1, 2.0**53, False),
        ({"rel_tol": 1e-6}, 0.1 + 0.2, 0.3, True),
        ({"rel_tol": 1e-6}, 0.31, 0.3, False),
        ({"rel_tol": 1e-3}, 1000, 1000.5, True),
        ({"rel_tol": 1e-3}, 1000, 1001, False),
        ({"rel_tol": 1e-3}, 10**400, 1.0, False),
        ({"abs_tol": 0.5}, [1.2, "a"], [1.0, "a"], True),
        ({"abs_tol": 0.5}, {"a": 1.2}, {"a": 1.0}, True),
        ({"abs_tol": 0.5}, {"a": 1.2}, {"b": 1.2}, False),
        ({"abs_tol": 0.5}, NAN, 1.0, False),
        ({"abs_tol": 1e300}, INF, 1.0, False),
        ({"abs_tol": 0.5}, True, 1.0, False),
        ({"any_order": True}, [3, [1, 2]], [[2, 1], 3], True),
        ({"any_order": True}, [1, 1, 2], [1, 2, 2], False),
        ({"any_order": True}, [1, "a", None, (2, 1)], [(1, 2), None, "a", 1], True),
        ({"any_order": True, "abs_tol": 0.1}, [2.0, 1.05], [1.0, 2.0], True),
        ({"tuples_as_lists": True}, [(1, 2)], ([1, 2],), True),
        ({"tuples_as_lists": True}, [{1}], [[1]], False),
    ],
)
def test_options_of_comparison(rules, got, want, same):
    assert same_value(encode(got), encode(want), Rules(**rules)) is same


@pytest.mark.parametrize(
    ("got", "want", "same"),
    [
        ("3\n", "3", True),
        ("3  \n\n\n", "3\n", True),
        (" 3\t4\r\n", "3 4\n", True),
        ("", "\n", True),
        ("3\n4\n", "3 4\n", False),
        ("3\n\n4\n", "3\n4\n", False),
        ("\n3\n", "3\n", False),
        ("3", "", False),
        ("34", "3 4", False),
        ("Yes", "YES", False),
        ("3.0", "3", False),
        ("03", "3", False),
    ],
)
def test_outputs_are_compared_by_lines_and_tokens(got, want, same):
    assert same_output(got.encode(), want.encode(), Rules()) is same


@pytest.mark.parametrize(
    ("got", "want", "same"),
    [
        ("0.3333 x", "0.33333 x", True),
        ("1e0", "1.0", True),
        ("3", "3.0", True),
        ("nan", "1.0", False),
        ("inf", "inf", True),
        ("0x1", "1", False),
        ("1_0", "10", False),
        ("1" * 5000, "1", False),
        ("0.3333", "0.3333 0.3333", False),
    ],
)
def test_printed_numbers_differ_within_a_tolerance_only_where_it_is_asked_for(got, want, same):
    assert same_output(got.encode(), want.encode(), Rules(rel_tol=1e-3)) is same


def test_what_is_shown_of_a_value_is_short_whatever_its_size():
    for value in ([0] * 10**5, "a" * 10**6, 10**100000, doubled(15), {"k" * 10**5: 1}):
        assert len(show(encode(value))) <= 80
    assert show(encode([1, (2, {"a": None}), {3.5}])) == "[1, (2, {'a': None}), {3.5}]"
    assert json.dumps(show(encode("\ud800")))


@pytest.mark.parametrize(
    ("got", "want", "same"),
    [
        ("2.50", "2.5", True),
        ("3", "3.0", True),
        ("1e3 x", "1000 x", True),
        ("-0.0", "0.0", True),
        ("2.5000001", "2.5", False),
        ("007", "7", False),
        ("0110", "110", False),
        ("2,5", "2.5", False),
        ("2.5 1", "2.5", False),
        ("1.0" + "0" * 500, "1", False),
    ],
)
def test_printed_numbers_compare_by_value_where_it_is_asked_for(got, want, same):
    assert same_output(got.encode(), want.encode(), Rules(numbers=True)) is same
    assert not same_output(got.encode(), want.encode(), Rules())


def test_whole_numbers_have_no_tolerance():
    assert not same_output(b"1000000", b"1000001", Rules(rel_tol=1e-3))
    assert same_output(b"1000000.0", b"1000001", Rules(rel_tol=1e-3))
