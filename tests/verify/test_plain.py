r"""Texts, choices and numbers within a tolerance, each case by hand; what must not pass stands beside what must."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlkit import judge_choice, judge_exact, judge_numeric
from rlkit.verify.plain import normal_text

CITIES = {"A": "Rome", "B": "Paris", "C": "New York", "D": "12"}


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        ("Paris", " paris. ", "correct"),
        ("The Louvre", '"The  Louvre".', "correct"),
        ("Zürich", "\\text{ZÜRICH}", "correct"),
        ("fi", "ﬁ", "correct"),
        ("x + y", "$x + y$", "correct"),
        ("New York", "**New\nYork**", "correct"),
        ("Zürich", "Zurich", "wrong"),
        ("The Louvre", "Louvre", "wrong"),
        ("a.b", "ab", "wrong"),
        ("Paris", "Paris or Rome", "wrong"),
        ("12", "12.0", "wrong"),
        ("Paris", "", "wrong"),
        (" . ", "Paris", "unscored"),
    ],
)
def test_texts(gold, answer, verdict):
    assert judge_exact(gold, answer).verdict == verdict


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        *[
            (text, "B")
            for text in ("B", "b", "(B)", "B.", "b)", "Paris", "**paris**", "(B) Paris", "B: Paris", "B. paris.")
        ],
        *[("\\text{A}", "A"), ("rome", "A"), ("12", "D"), ("D) 12", "D"), ("new  york", "C")],
        *[
            (text, None)
            for text in ("B. Rome", "A or B", "(A), (B)", "E", "Rome, Paris", "", "13", "AB", "B Paris Rome")
        ],
    ],
)
def test_choices(answer, letter):
    found = [gold for gold in CITIES if judge_choice(gold, answer, CITIES).verdict == "correct"]
    assert found == ([letter] if letter else [])


def test_a_choice_without_texts_is_a_letter_and_a_gold_that_is_none_is_not_held_against_the_answer():
    assert judge_choice("B", "(b)").verdict == "correct"
    assert judge_choice("B", "Paris").verdict == "wrong"
    assert judge_choice("Paris", "B", CITIES).verdict == "correct"
    assert judge_choice("Athens", "B", CITIES).verdict == "unscored"
    assert judge_choice("A", "A", {"A": "B", "B": "A"}).verdict == "correct"


@pytest.mark.parametrize(
    ("gold", "answer", "keys", "verdict"),
    [
        ("1000", "1,009", {"tolerance": 0.01}, "correct"),
        ("1000", "1010", {"tolerance": 0.01}, "correct"),
        ("1000", "1010.0001", {"tolerance": 0.01}, "wrong"),
        ("-3", "−3.02", {"abs_tolerance": 0.02}, "correct"),
        ("0", "0.01", {"tolerance": 0.5}, "wrong"),
        ("0", "0.01", {"abs_tolerance": 0.01}, "correct"),
        ("0.5", "\\frac{1}{2}", {}, "correct"),
        ("50%", "0.5", {}, "correct"),
        ("50", "0.5", {}, "wrong"),
        ("3e8", "3 \\times 10^{8} \\text{ m/s}", {}, "correct"),
        ("3e8", "3.1 × 10^8", {"tolerance": 0.05}, "correct"),
        (".5", "$0.50$", {}, "correct"),
        ("5", "x = 5", {}, "correct"),
        ("5", "about 5 square metres", {}, "correct"),
        ("37 °C", "37°C", {}, "correct"),
        ("5 m", "5 cm", {}, "wrong"),
        ("5", "5 or 6", {}, "wrong"),
        ("5", "5, 6", {}, "wrong"),
        ("5", "5 million", {}, "wrong"),
        ("5", "5x", {}, "wrong"),
        ("5", "5i", {}, "wrong"),
        ("5", "five", {}, "wrong"),
        ("5", "", {}, "wrong"),
        ("many", "5", {}, "unscored"),
    ],
)
def test_numbers(gold, answer, keys, verdict):
    assert judge_numeric(gold, answer, **keys).verdict == verdict


@given(st.text(max_size=40))
def test_dressing_a_text_changes_nothing_and_undressing_it_twice_neither(text):
    plain = normal_text(text)
    assert normal_text(plain) == plain
    assert normal_text(f'  "{text}". ') == normal_text(text)
    assert judge_exact("gold", text).verdict in ("correct", "wrong")


@given(st.decimals(-9999, 9999, places=3), st.decimals(-9999, 9999, places=3), st.sampled_from([0, 0.001, 0.1, 0.5]))
def test_a_number_passes_where_arithmetic_says_so(gold, answer, tolerance):
    bound = abs(Fraction(gold)) * Fraction(str(tolerance))
    near = abs(Fraction(gold) - Fraction(answer)) <= bound
    assert (judge_numeric(str(gold), str(answer), tolerance).verdict == "correct") == near


@given(st.text(max_size=60), st.text(max_size=20))
def test_no_text_breaks_a_judge(answer, option):
    for verdict in (
        judge_numeric("5", answer, 0.1),
        judge_choice("A", answer, {"A": option, "B": "b"}),
        judge_exact(option, answer),
    ):
        assert verdict.verdict in ("correct", "wrong", "unscored")
