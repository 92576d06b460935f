import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlkit import Group, Sample, Score, ScoredGroup, Task
from rlkit.errors import ScoringError
from rlkit.recipe.schema.reward_section import CombineKeys, RewardKeys, RewardPartKeys
from rlkit.scoring.combine import check_unscored, combine, make_scored_group, score_group
from rlkit.scoring.plugins.plugin import LoadedPart, load_part

DEFAULT = RewardKeys.model_validate({})
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
        ((0.5, 1, 1, 1), 0.4 * 0.5 * 0.125 + 0.35),
    ],
)
def test_totals_with_the_default_weights(values, total):
    parts = one(**dict(zip(PARTS, values, strict=True)))
    assert combine(parts, DEFAULT.weights, DEFAULT.combine) == (pytest.approx(total),)


@given(st.floats(0, 0.999), st.tuples(SHARES, SHARES, SHARES), st.tuples(SHARES, SHARES, SHARES))
def test_no_wrong_reply_outscores_a_right_one_by_default(partial, wrong, right):
    """Wrong is whatever is not fully right: a program that passes 999 of 1000 tests, too."""
    parts = {name: (Score(w), Score(r)) for name, w, r in zip(PARTS, (partial, *wrong), (1.0, *right), strict=True)}
    low, high = combine(parts, DEFAULT.weights, DEFAULT.combine)
    assert low is not None
    assert high is not None
    assert low <= 0.35 + 0.05 * partial + 1e-12
    assert low < 0.40 - 1e-12 <= high


@given(st.floats(0.001, 0.999), st.floats(0.001, 0.999), st.tuples(SHARES, SHARES))
def test_more_tests_passed_pay_more(one, other, rest):
    parts = {name: (Score(v), Score(v)) for name, v in zip(PARTS[1:3], rest, strict=True)}
    parts |= {"accuracy": (Score(one), Score(other)), "efficiency": (Score(0.0), Score(0.0))}
    a, b = combine(parts, DEFAULT.weights, DEFAULT.combine)
    assert a is not None
    assert b is not None
    assert (a >= b) == (one >= other) or abs(one - other) < 1e-9


def test_partial_credit_in_full_is_a_choice():
    rules = CombineKeys(partial_accuracy=1.0)
    (total,) = combine(one(accuracy=0.5, format=1.0), {"accuracy": 0.5, "format": 0.5}, rules)
    assert total == pytest.approx(0.75)


def gated(**rules):
    return CombineKeys.model_validate({"gates": {"efficiency": {"part": "format", "at_least": 1.0}}, **rules})


@pytest.mark.parametrize(("form", "total"), [(1.0, 0.5 + 0.5 * 0.8), (0.99, 0.5), (0.0, 0.5), (None, None)])
def test_a_gated_part_counts_only_where_another_is_above_its_bound(form, total):
    parts = one(accuracy=1.0, efficiency=0.8, format=form)
    weights = {"accuracy": 0.5, "efficiency": 0.5, "format": 0.0}
    assert combine(parts, weights, gated()) == (pytest.approx(total) if total is not None else None,)


def test_a_gate_shuts_out_losses_too():
    parts = one(accuracy=1.0, efficiency=-1.0, format=0.0)
    assert combine(parts, {"accuracy": 0.5, "efficiency": 0.5, "format": 0.0}, gated()) == (0.5,)


def test_penalties_take_away_beside_weights_that_add_to_1():
    reward = RewardKeys.model_validate(
        {
            "overlong": {"plugin": "soft_overlong", "weight": 0.5, "max_tokens": 100, "margin": 20},
            "combine": {"penalties": ["overlong"]},
        }
    )
    assert reward.weights == pytest.approx({"overlong": 0.5, **dict(zip(PARTS, (0.4, 0.3, 0.2, 0.1), strict=True))})
    values = {**one(accuracy=1.0, reasoning=1.0, format=1.0, efficiency=1.0), "overlong": (Score(-0.5),)}
    assert combine(values, reward.weights, reward.combine) == (pytest.approx(0.75),)
    # A penalty never pays.
    assert combine({**values, "overlong": (Score(3.0),)}, reward.weights, reward.combine) == (pytest.approx(1.0),)


def test_parts_are_normalized_in_their_group():
    """GDPO: a part with small differences says as much as one with large ones."""
    parts = {"a": (Score(1.0), Score(0.0), Score(None)), "b": (Score(0.51), Score(0.49), Score(0.3))}
    assert combine(parts, {"a": 1, "b": 3}, CombineKeys(normalize="group")) == (
        pytest.approx(1),
        pytest.approx(-1),
        None,
    )
    flat = {"a": (Score(1.0), Score(0.0)), "b": (Score(0.3), Score(0.3))}
    assert combine(flat, {"a": 1, "b": 1}, CombineKeys(normalize="group")) == (0.5, -0.5)


@given(st.lists(st.tuples(SHARES, SHARES), min_size=1, max_size=8), st.floats(0.01, 9), st.floats(-3, 3))
def test_normalized_totals_do_not_depend_on_a_parts_scale_and_add_to_nothing(values, scale, shift):
    rules, weights = CombineKeys(normalize="group"), {"a": 0.7, "b": 0.3}
    parts = {name: tuple(Score(round(v[i], 3)) for v in values) for i, name in enumerate("ab")}
    moved = {**parts, "b": tuple(Score(s.value * scale + shift) for s in parts["b"])}
    totals, other = combine(parts, weights, rules), combine(moved, weights, rules)
    assert math.fsum(t for t in totals if t is not None) == pytest.approx(0, abs=1e-6)
    assert other == pytest.approx(totals, abs=1e-5)


@given(st.permutations(range(5)), st.sampled_from(["none", "group"]))
def test_permuting_a_group_permutes_its_totals(order, normalize):
    rules = gated(normalize=normalize)
    values = [
        (1.0, 0.5, 1.0, 0.3),
        (0.0, 1.0, 0.6, 0.0),
        (0.4, 0.2, 1.0, 0.9),
        (None, 1.0, 1.0, 1.0),
        (1.0, 1.0, 0.2, 1.0),
    ]
    parts = {name: tuple(Score(v[i]) for v in values) for i, name in enumerate(PARTS)}
    moved = {name: tuple(scores[i] for i in order) for name, scores in parts.items()}
    totals = combine(parts, DEFAULT.weights, rules)
    assert combine(moved, DEFAULT.weights, rules) == pytest.approx([totals[i] for i in order])


def test_weights_follow_a_ramp_over_steps():
    reward = RewardKeys.model_validate({"combine": {"ramps": {"efficiency": {"from_step": 10, "to_step": 20}}}})
    raw = {step: reward.weights_at(step)["efficiency"] for step in (1, 10, 15, 20, 99)}
    assert raw == pytest.approx({1: 0, 10: 0, 15: 0.05 / 0.95, 20: 0.1, 99: 0.1})
    assert all(math.fsum(reward.weights_at(step).values()) == pytest.approx(1) for step in (1, 15, 99))
    assert reward.weights == reward.weights_at(20)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"gates": {"nonsense": {"part": "format", "at_least": 1.0}}}, "combine.gates.nonsense names 'nonsense'"),
        ({"gates": {"format": {"part": "nonsense", "at_least": 1.0}}}, "combine.gates.format names 'nonsense'"),
        ({"gates": {"format": {"part": "format", "at_least": 1.0}}}, "gates the part by itself"),
        ({"penalties": ["nonsense"]}, "combine.penalties names 'nonsense'"),
        ({"penalties": list(PARTS)}, "at least one part that is not a penalty needs a weight above 0"),
        ({"ramps": {"nonsense": {"to_step": 5}}}, "combine.ramps names 'nonsense'"),
        ({"ramps": {"format": {"from_step": 5, "to_step": 5}}}, "to_step=5 must come after from_step=5"),
        ({"ramps": {name: {"to_step": 5} for name in PARTS}}, "no part has a weight above 0 at step 1"),
        ({"wrong_caps": {"nonsense": 0.5}}, "combine.wrong_caps names 'nonsense'"),
        ({"normalize": "batch"}, "normalize"),
    ],
)
def test_rules_that_make_no_sense_are_refused(rules, message):
    with pytest.raises(ValueError, match=message):
        RewardKeys.model_validate({"combine": rules})


@given(
    st.lists(st.floats(-10, 10), min_size=3, max_size=3),
    st.lists(st.floats(0.01, 10), min_size=3, max_size=3),
    st.floats(0.1, 9),
)
def test_totals_are_linear_in_values_and_do_not_depend_on_the_weights_scale(values, weights, factor):
    names = ("a", "b", "c")
    weighed = dict(zip(names, weights, strict=True))
    (total,) = combine(one(**dict(zip(names, values, strict=True))), weighed, CombineKeys())
    (scaled,) = combine(
        one(**dict(zip(names, [v * factor for v in values], strict=True))),
        {n: w * factor for n, w in weighed.items()},
        CombineKeys(),
    )
    want = sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)
    assert total == pytest.approx(want, abs=1e-9)
    assert scaled == pytest.approx(want * factor, abs=1e-8)


def test_an_unscored_part_makes_the_total_unscored_unless_it_has_no_weight():
    assert combine(one(a=1.0, b=None), {"a": 1, "b": 1}, CombineKeys()) == (None,)
    assert combine(one(a=1.0, b=None), {"a": 1, "b": 0}, CombineKeys()) == (1.0,)


NA = Score.not_applicable("of another kind")
MAYBE = st.one_of(st.none(), st.floats(-5, 5))


def column(*values):
    """A part's scores: a number, "n/a" or None."""
    return tuple(NA if v == "n/a" else Score(v) for v in values)


@given(st.lists(st.tuples(MAYBE, MAYBE, MAYBE), min_size=1, max_size=6), st.tuples(*[st.floats(0.1, 3)] * 3))
def test_the_totals_of_a_group_are_trls_sums_up_to_one_factor(rows, weights):
    """TRL 1.16.0: (rewards_per_func * weights).nansum(dim=1), NaN where every function returned None."""
    names = ("a", "b", "c")
    parts = {n: column(*("n/a" if row[k] is None else row[k] for row in rows)) for k, n in enumerate(names)}
    totals = combine(parts, dict(zip(names, weights, strict=True)), CombineKeys())
    theirs = (
        torch.tensor([[math.nan if v is None else v for v in row] for row in rows]) * torch.tensor(weights)
    ).nansum(1)
    applying = sum(w for k, w in enumerate(weights) if any(row[k] is not None for row in rows))
    for row, total, sum_ in zip(rows, totals, theirs.tolist(), strict=True):
        if all(value is None for value in row):
            assert total is None
        else:
            assert total * applying == pytest.approx(sum_, abs=1e-4)


@pytest.mark.parametrize(
    ("parts", "totals"),
    [
        ({"a": (1.0, 0.0), "b": ("n/a", "n/a")}, (1.0, 0.0)),
        ({"a": (1.0, 1.0), "b": ("n/a", 0.5)}, (0.5, 0.75)),
        ({"a": (1.0, "n/a"), "b": ("n/a", 0.5)}, (0.5, 0.25)),
        ({"a": (1.0, "n/a"), "b": ("n/a", "n/a")}, (1.0, None)),
        ({"a": (1.0, None), "b": ("n/a", "n/a")}, (1.0, None)),
        ({"a": (1.0, 1.0), "b": ("n/a", None)}, (0.5, None)),
    ],
)
def test_a_part_that_does_not_apply_leaves_the_sum_and_one_that_failed_leaves_none(parts, totals):
    assert combine({name: column(*v) for name, v in parts.items()}, {"a": 1, "b": 1}, CombineKeys()) == totals


def test_the_weights_of_a_group_leave_out_what_applies_to_none_of_it():
    group = Group(Task("t", "math", "?", "7"), tuple(Sample(f"t#{i}", "7", 10) for i in range(2)))
    parts = {"a": column(1.0, 0.5), "b": column("n/a", "n/a"), "less": column(-1.0, "n/a")}
    rules = CombineKeys(penalties=["less"])
    scored = make_scored_group(group, parts, {"a": 0.3, "b": 0.7, "less": 0.2}, rules, {})
    assert scored.weights == {"a": 1.0, "b": 0.0, "less": 0.2}
    assert scored.rewards == (pytest.approx(1.0 - 0.2), 0.5)


def test_gates_caps_and_group_normalisation_where_a_part_does_not_apply():
    weights = {"accuracy": 0.5, "efficiency": 0.5, "format": 0.0}
    shut = {"accuracy": column(1.0), "efficiency": column(0.8), "format": column("n/a")}
    assert combine(shut, weights, gated()) == (1.0,)  # the gate's opener does not apply, nor does what it opens
    wrong = {"accuracy": column("n/a"), "reasoning": column(1.0)}
    assert combine(wrong, {"accuracy": 0.5, "reasoning": 0.5}, CombineKeys()) == (1.0,)  # nothing is known to be wrong
    parts = {"a": column(1.0, 0.0, "n/a"), "b": column(1.0, 1.0, 0.0)}
    totals = combine(parts, {"a": 1, "b": 1}, CombineKeys(normalize="group"))
    half, third = 0.5 * (1 / 3) / math.sqrt(2 / 9), -0.5 * (2 / 3) / math.sqrt(2 / 9)
    assert totals == pytest.approx((0.5 + half, -0.5 + half, third))


@given(st.tuples(*[st.sampled_from(["applies", "n/a"])] * 3), st.tuples(SHARES, SHARES, SHARES), SHARES)
def test_no_wrong_reply_gains_by_what_does_not_apply_to_it(which, values, other):
    wrong = {n: "n/a" if w == "n/a" else v for n, w, v in zip(PARTS[1:], which, values, strict=True)}
    parts = {n: column(wrong[n], other) for n in PARTS[1:]} | {"accuracy": column(0.0, 1.0)}
    low, high = combine(parts, DEFAULT.weights, DEFAULT.combine)
    assert low < high


def group(prompt="ok", size=2):
    task = Task("t", "math", prompt, "7")
    return Group(task, tuple(Sample(f"t#{i}", "7", 10) for i in range(size)))


def on_prompt():
    part = RewardPartKeys(plugin="./plugins.py:OnPrompt", weight=1)
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
    scored = score_group(group(prompt), [on_prompt()], {"bad": 1.0}, CombineKeys())
    assert scored.rewards == (None, None)
    assert [(s.verdict, s.reason) for s in scored.parts["bad"]] == [("plugin_error", reason)] * 2


def test_a_good_plugin_scores():
    scored = score_group(group(), [on_prompt()], {"bad": 2.0}, CombineKeys())
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


def test_the_reason_is_never_empty():
    unsaid = Group(Task("t", "math", "?", "7"), (Sample("t#0", "7", 10),))
    for score, reason in ((Score(None), "could not grade this sample"), (Score.not_applicable(" "), "does not apply")):
        plugin = SimpleNamespace(score=lambda group, score=score: [score])
        scored = score_group(unsaid, [LoadedPart("mine", 1.0, plugin)], {"mine": 1.0}, CombineKeys())
        (found,) = scored.parts["mine"]
        assert found.verdict in ("unscored", "not_applicable")
        assert reason in found.reason
        with pytest.raises(ScoringError, match=f"'mine' .*{reason}.* and gives no reason"):
            check_unscored([scored], 0.5)


def test_no_part_that_applies_is_a_reason_to_stop_too():
    parts = {"a": column("n/a"), "b": column("n/a")}
    found = make_scored_group(group(size=1), parts, {"a": 1.0, "b": 1.0}, CombineKeys(), {})
    with pytest.raises(
        ScoringError, match="'a' does not apply to 1, and no other part does: not_applicable: of another kind"
    ):
        check_unscored([found], 0.5)


def test_a_gates_opener_that_fails_is_named_though_its_weight_is_0():
    weights = {"accuracy": 0.5, "efficiency": 0.5, "format": 0.0}
    parts = {"accuracy": column(1.0), "efficiency": column(0.8), "format": (Score(None, "crash", "it died"),)}
    found = make_scored_group(group(size=1), parts, weights, gated(), {})
    with pytest.raises(ScoringError, match="'format' failed on 1, last with crash: it died"):
        check_unscored([found], 0.5)


def test_totals_are_finite():
    (total,) = combine(one(a=1e308, b=-1e308), {"a": 1, "b": 1}, CombineKeys())
    assert total is not None
    assert math.isfinite(total)
