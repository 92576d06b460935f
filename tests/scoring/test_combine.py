import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlkit import Group, Sample, Score, ScoredGroup, Task
from rlkit.errors import ScoringError
from rlkit.recipe.schema.reward import Reward, RewardPart
from rlkit.scoring.combine import check_unscored, combine, score_group
from rlkit.scoring.plugin import load_part

DEFAULT = Reward.model_validate({})
SHARES = st.floats(0, 1)
PARTS = ("accuracy", "reasoning", "format", "efficiency")


def one(**values):
    return {name: (Score(value),) for name, value in values.items()}


@pytest.mark.parametrize(
    ("values", "total"),
    [
        ((1, 1, 1, 1), 1.0),
        ((1, 0, 0, 0), 0.40),
        ((0, 1, 1, 1), 0.35),
        ((0, 0.4, 0.5, 0), 0.22),
        ((1, 0.5, 1, 0.5), 0.8),
    ],
)
def test_totals_with_the_default_weights(values, total):
    parts = one(**dict(zip(PARTS, values, strict=True)))
    assert combine(parts, DEFAULT.weights, DEFAULT.combine.wrong_caps) == (pytest.approx(total),)


@given(st.tuples(SHARES, SHARES, SHARES), st.tuples(SHARES, SHARES, SHARES))
def test_no_wrong_reply_outscores_a_right_one_by_default(wrong, right):
    parts = {name: (Score(w), Score(r)) for name, w, r in zip(PARTS, (0.0, *wrong), (1.0, *right), strict=True)}
    low, high = combine(parts, DEFAULT.weights, DEFAULT.combine.wrong_caps)
    assert low is not None
    assert high is not None
    assert low <= 0.35 + 1e-12 < 0.40 - 1e-12 <= high


@given(
    st.lists(st.floats(-10, 10), min_size=3, max_size=3),
    st.lists(st.floats(0.01, 10), min_size=3, max_size=3),
    st.floats(0.1, 9),
)
def test_totals_are_linear_in_values_and_do_not_depend_on_the_weights_scale(values, weights, factor):
    names = ("a", "b", "c")
    weighed = dict(zip(names, weights, strict=True))
    (total,) = combine(one(**dict(zip(names, values, strict=True))), weighed, {})
    (scaled,) = combine(
        one(**dict(zip(names, [v * factor for v in values], strict=True))),
        {n: w * factor for n, w in weighed.items()},
        {},
    )
    want = sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)
    assert total == pytest.approx(want, abs=1e-9)
    assert scaled == pytest.approx(want * factor, abs=1e-8)


def test_an_unscored_part_makes_the_total_unscored_unless_it_has_no_weight():
    assert combine(one(a=1.0, b=None), {"a": 1, "b": 1}, {}) == (None,)
    assert combine(one(a=1.0, b=None), {"a": 1, "b": 0}, {}) == (1.0,)


def group(prompt="ok", size=2):
    task = Task("t", "math", prompt, "7")
    return Group(task, tuple(Sample(f"t#{i}", "7", 10) for i in range(size)))


def on_prompt():
    part = RewardPart(plugin="./plugins.py:OnPrompt", weight=1)
    return load_part("bad", part, Path(__file__).parent)


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("raise", "reward part 'bad' raised ZeroDivisionError: a mistake"),
        ("exit", "reward part 'bad' raised SystemExit: 3"),
        ("count", "reward part 'bad' returned 1 scores for 2 samples"),
        ("nan", "reward part 'bad' returned nan, not a finite number"),
        ("type", "reward part 'bad' returned int, not a list of scores"),
        ("text", "reward part 'bad' returned a value of type str, not a number or None"),
    ],
)
def test_a_bad_plugin_leaves_its_samples_unscored_with_a_reason(prompt, reason):
    scored = score_group(group(prompt), [on_prompt()], {"bad": 1.0}, {})
    assert scored.rewards == (None, None)
    assert [(s.verdict, s.reason) for s in scored.parts["bad"]] == [("plugin_error", reason)] * 2


def test_a_good_plugin_scores():
    scored = score_group(group(), [on_prompt()], {"bad": 2.0}, {})
    assert scored.rewards == (0.5, 0.5)
    assert scored.weights == {"bad": 1.0}


def scored(values):
    scores = tuple(Score(v, "" if v is not None else "timeout", "too slow") for v in values)
    samples = tuple(Sample(f"t#{i}", "", 1) for i in range(len(values)))
    return ScoredGroup(group().task, samples, {"a": scores}, {"a": 1.0}, tuple(values))


def test_too_many_unscored_samples_stop_the_run_naming_the_part():
    check_unscored([scored([1.0, None])], 0.5)
    check_unscored([], 0.0)
    with pytest.raises(ScoringError, match=r"3 of 4 samples .75%.*'a' failed on 3.*timeout: too slow"):
        check_unscored([scored([1.0, None]), scored([None, None])], 0.5)


def test_totals_are_finite():
    (total,) = combine(one(a=1e308, b=-1e308), {"a": 1, "b": 1}, {})
    assert total is not None
    assert math.isfinite(total)
