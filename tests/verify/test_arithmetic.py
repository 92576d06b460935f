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
        ("(since 3 + 4 = 8)", [("3+4=8", False)]),
        ("**3 + 4 = 7**, 2**3 = 8", [("3+4=7", True), ("2^3=8", True)]),
        ("- 3 + 4 = 7\n2) 4 + 4 = 9", [("3+4=7", True), ("4+4=9", False)]),
        ("3 + 4\n= 7", [("3+4=7", True)]),
        ("1,000 + 1 = 1,001", [("1000+1=1001", True)]),
        ("-3 + 5 = 2; 5 - 8 = -3", [("-3+5=2", True), ("5-8=-3", True)]),
        ("2^10 = 1024, 2^{-1} = 0.5", [("2^10=1024", True), ("2^(-1)=0.5", True)]),
        ("5! = 120", [("5!=120", True)]),
    ],
)
def test_stated_relations_are_found_and_checked_exactly(text, found):
    assert [(relation.text, relation.holds) for relation in find_relations(text)] == found


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("10/4 = 2.5", True),
        ("10/3 = 3.33", True),  # rounded
        ("20/3 = 6.66", True),  # cut
        ("10/3 = 3.4", False),
        ("10/3 = 3", False),
        (r"\frac{22}{7} \approx 3.14", True),
        (r"\frac{22}{7} \approx 3.5", False),
        ("2 * 7 < 15", True),
        ("2 * 7 > 15", False),
        (r"2 \cdot 7 \leq 14", True),
        ("2 * 7 ≥ 15", False),
        (r"3 + 4 \neq 7", False),
    ],
)
def test_decimals_may_be_rounded_and_inequalities_are_compared(text, holds):
    assert [relation.holds for relation in find_relations(text)] == [holds]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"$\frac{1}{2} + \frac{1}{2} = 1$", True),
        (r"\frac12 + \frac12 = 2", False),
        (r"\begin{align*} x &= 3 + 4 \\ &= 7 \end{align*}", True),
        (r"\[ 60 \cdot 7 = 420 \]", True),
        (r"\sqrt{16} + 1 = 5", True),
        (r"\binom{5}{2} = 11", False),
        (r"\left(\frac{2}{3}\right)^2 = \frac{4}{9}", True),
        (r"2\frac{1}{2} = \frac{5}{2}", True),  # a mixed number
        (r"5 \text{ cm} \times 3 \text{ cm} = 15 \text{ cm}^2", True),
        (r"10{,}000 + 1 = 10001", True),
        (r"\boxed{3 + 4 = 7}", True),
    ],
)
def test_latex_is_read(text, found):
    assert [relation.holds for relation in find_relations(text)] == [found]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("20% of 50 = 10", [True]),
        ("50% + 20% = 70%", [True]),
        ("15/60 = 0.25 = 25%", [True]),
        ("15/60 * 100 = 25%", []),  # doubtful: 25 is meant
        ("3 apples + 4 apples = 7 apples", [True]),
        ("3 feet + 2 inches = 38 inches", []),  # doubtful: units are left out
        ("$5 per hour * 3 hours = $15", []),
        ("She has 3 + 4 = 8 cookies", [False]),
        ("the sum of 2 and 3 + 4 = 9", []),
        ("so 2 + 3 = 5 and 3 + 4 = 7", [True, True]),
        (r"\log_{10} 100 = 3", []),
        ("17 mod 5 = 2, 3 + 4 = 7 mod 10", []),
        ("P(5, 2) = 5 * 4 = 20", [True]),
        ("a_1 + 3 = 5", []),
        ("the price - 5 = 3", []),
    ],
)
def test_what_words_change_is_never_called_false(text, found):
    assert [relation.holds for relation in find_relations(text)] == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x + 3 = 5", []),  # nothing says what x is
        ("2x = 10", []),
        ("2x + 3 = 13, so x = 5", [("2x+3=13", (5,))]),
        ("x = 2 + 3 = 5 and 2x + 3 = 13", [("2+3=5", ()), ("2x+3=13", (5,))]),
        ("x = 4, so 2x = 10", []),  # x may be another one
        ("x + y = 7; x = 3, y = 4", [("x+y=7", (3, 4))]),
        ("x = 2 or x = 3: x^2 - 5x + 6 = 0", [("x^2-5x+6=0", (2,))]),
        ("(x+1)^2 = x^2 + 2x + 1", [("(x+1)^2=x^2+2x+1", ())]),
        ("(x+1)^2 = x^2 + 1", []),
        (r"\pi \cdot 3^2 = 9\pi", [(r"\pi*3^2=9\pi", ())]),
        ("f(3) = 3^2 + 1 = 10", [("3^2+1=10", ())]),
    ],
)
def test_variables_hold_by_identity_or_by_their_stated_values(text, found):
    relations = find_relations(text)
    assert [(relation.text, relation.solution) for relation in relations] == found
    assert all(relation.holds for relation in relations)


def test_a_context_gives_values_and_states_nothing():
    assert find_relations("2x + 3 = 13") == ()
    assert [r.text for r in find_relations("2x + 3 = 13", "1 + 1 = 2, x = 5")] == ["2x+3=13"]


def test_a_relation_tells_its_numbers():
    (relation,) = find_relations(r"12 * 8 = \frac{192}{2}")
    assert (relation.left, relation.right, relation.values, relation.sign) == ((12, 8), (192, 2), (96, 96), "=")


@pytest.mark.parametrize(
    "text",
    ["1 = 1", "5 = 7", "1/0 = 1", "9^9^9 = 1", "2^9999999999 = 1", "99! = 1", "(" * 99 + "1+1" + ")" * 99 + "=2"],
)
def test_lone_numbers_and_what_is_too_large_state_nothing(text):
    assert find_relations(text) == ()


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_an_equality_holds_exactly_when_the_numbers_do(a, b, c):
    (relation,) = find_relations(f"{a}+{b}={c}")
    assert relation.holds == (a + b == c)


@given(st.fractions(0, 100, max_denominator=50), st.fractions(0, 100, max_denominator=50))
def test_fractions_in_latex_are_compared_exactly(a, b):
    for total, holds in ((a + b, True), (a + b + 1, False)):
        sides = rf"\frac{{{a.numerator}}}{{{a.denominator}}} + {b.numerator}/{b.denominator}"
        (relation,) = find_relations(f"{sides} = {total.numerator}/{total.denominator}")
        assert relation.holds == holds


@given(st.text(alphabet="0123456789+-*/^()=<. x{}\\frac\n%$", max_size=200))
def test_no_text_breaks_the_parser(text):
    find_relations(text)
