import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.lengths import CosineLength, EfficientReasoning, GroupLength, SoftOverlong, falling, soft_overlong
from rlkit import Group, Sample, Score, Task


def group(lengths, accuracy=None):
    samples = tuple(Sample(f"t#{i}", "x" * 100, n) for i, n in enumerate(lengths))
    given = {"accuracy": tuple(map(Score, accuracy))} if accuracy is not None else {}
    return Group(Task("t", "math", "", ""), samples, given)


def values(plugin, lengths, accuracy=None):
    return [score.value for score in plugin.score(group(lengths, accuracy))]


@pytest.mark.parametrize(
    ("num_tokens", "penalty"), [(0, 0), (80, 0), (81, -0.05), (90, -0.5), (100, -1), (101, -1), (10**6, -1)]
)
def test_soft_overlong_is_dapos_equation_13(num_tokens, penalty):
    assert soft_overlong(num_tokens, 100, 20) == pytest.approx(penalty)
    assert values(SoftOverlong(100, 20), [num_tokens]) == [pytest.approx(penalty)]


def test_soft_overlong_without_a_margin_is_a_step():
    assert values(SoftOverlong(100, 0), [100, 101]) == [0, -1]


@given(st.integers(0, 10**5), st.sampled_from(["linear", "cosine"]))
def test_what_falls_stays_between_0_and_1_and_never_rises(amount, shape):
    now, later = falling(amount, 100, 900, shape), falling(amount + 1, 100, 900, shape)
    assert 0 <= later <= now <= 1


@pytest.mark.parametrize(
    ("num_tokens", "right", "value"),
    [
        (0, 1, 2.0),
        (500, 1, 1.5),
        (250, 1, 1 + (1 + math.cos(math.pi / 4)) / 2),
        (1000, 1, 1.0),
        (1001, 1, -10.0),
        (2000, 1, -10.0),  # unclamped, the cosine would rise again
        (0, 0, -10.0),
        (500, 0, -5.0),
        (1000, 0, 0.0),
        (1001, 0, -10.0),
    ],
)
def test_cosine_length_is_the_papers_formula_with_the_papers_numbers(num_tokens, right, value):
    plugin = CosineLength(1000, right=(2.0, 1.0), wrong=(-10.0, 0.0), over=-10.0)
    assert values(plugin, [num_tokens], [right]) == [pytest.approx(value)]


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_by_default_cosine_length_never_pays_a_wrong_reply(a, b):
    right, wrong = values(CosineLength(1000), [a, b], [1, 0.5])
    assert wrong == 0
    assert right == 0 if a > 1000 else right >= 0.5


@pytest.mark.parametrize(
    ("lengths", "accuracy", "paid"),
    [
        ([100, 200, 300], [1, 1, 1], [0.5, 0, -0.5]),
        ([100, 200, 300], [0, 1, 0], [0, 0, -0.5]),
        ([100, 200, 300], [0, 0, 0], [0, 0, 0]),  # the source would teach the group to be short
        ([100, 100], [1, 0], [0, 0]),
        ([100, 300], [1, None], [0.5, None]),
    ],
)
def test_group_length_is_kimis_without_its_hack(lengths, accuracy, paid):
    assert values(GroupLength(), lengths, accuracy) == paid


def test_efficient_reasoning_compares_right_replies():
    low, high = 1 / (1 + math.e), 1 / (1 + math.exp(-1))
    paid = values(EfficientReasoning(0.4), [100, 200, 50, 10], [1, 1, 0, None])
    assert paid == [pytest.approx(1 - 0.4 * low), pytest.approx(1 - 0.4 * high), 0, None]
    assert paid[:2] == pytest.approx([0.892, 0.708], abs=1e-3)
    assert values(EfficientReasoning(0.4), [70, 70], [1, 1]) == [0.8, 0.8]


@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=8), st.floats(0, 0.99))
def test_efficient_reasoning_pays_every_right_reply_more_than_a_wrong_one(lengths, alpha):
    *right, wrong = values(EfficientReasoning(alpha), lengths, [1] * (len(lengths) - 1) + [0])
    assert min(right) > wrong == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SoftOverlong(10, 11), "margin=11"),
        (lambda: CosineLength(0), "max_tokens=0"),
        (lambda: CosineLength(10, wrong=(0.9, 0.0)), "exceeds right"),
        (lambda: EfficientReasoning(1.0), "alpha=1"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
