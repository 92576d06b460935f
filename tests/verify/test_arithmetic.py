import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlkit import find_relations


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("8+5=13\n7+4+1=12", [("8+5=13", True), ("7+4+1=12", True)]),
        ("2*3=6=5+1", [("2*3=6", True), ("6=5+1", True)]),
        ("3 × 4 == 12, 4 x 5 = 21", [("3*4=12", True), ("4*5=21", False)]),
        ("so total = 3 + 4 = 7.", [("3+4=7", True)]),
        (r"$\frac{1}{2} + \frac{1}{2} = 1$", [("(1/2)+(1/2)=1", True)]),
        ("1,000 + 1 = 1,001", [("1000+1=1001", True)]),
        ("10/4 = 2.5", [("10/4=2.5", True)]),
        ("1 = 1", []),
        ("x + 3 = 5", []),
        ("2x = 10", []),
        ("20% of 50 = 10", []),
        ("1/0 = 1", []),
        ("9^9^9 = 1", []),
        ("2^9999999999 = 1", []),
    ],
)
def test_stated_equalities_are_found_and_checked_exactly(text, found):
    assert [(step.text, step.holds) for step in find_relations(text)] == found


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_an_equality_holds_exactly_when_the_numbers_do(a, b, c):
    (step,) = find_relations(f"{a}+{b}={c}")
    assert step.holds == (a + b == c)


@given(st.text(alphabet="0123456789+-*/^()=. x", max_size=200))
def test_no_text_breaks_the_parser(text):
    find_relations(text)
