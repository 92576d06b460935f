"""The explanation of a step without a learning signal."""

import pytest

from rlkit.records import Sample, Score, ScoredGroup, Task
from rlkit.watch.no_signal import broken_rules, describe_no_signal

WEIGHTS = {"accuracy": 0.4, "reasoning": 0.3, "format": 0.2, "efficiency": 0.1}
TAGS = "think tags must stand once, in order, at the start, and hold something"
BOX = "there must be exactly one box or code block, and it must not be empty"


def group(*replies, rewards, accuracy, formats=(), finish="stop"):
    samples = tuple(Sample(f"t#{i}", text, 5, finish, (1,), (0.0,), 0, 0) for i, text in enumerate(replies))
    verdicts = [
        Score(value, "correct" if value else "wrong", "" if value else f"answered '{i}', the gold answer is '7'")
        for i, value in enumerate(accuracy)
    ]
    broken = [Score(0.0, "broken", reason) if reason else Score(1.0, "ok") for reason in formats or [""] * len(replies)]
    parts = {"accuracy": tuple(verdicts), "format": tuple(broken)}
    return ScoredGroup(Task("t", "math", "p", "7"), samples, parts, WEIGHTS, tuple(rewards))


def test_a_model_that_never_saw_the_format_gets_the_broken_rule_and_remedies():
    groups = [
        group("The sum is 7.", "7", rewards=(0.0, 0.0), accuracy=(0.0, 0.0), formats=(f"{TAGS}; {BOX}", TAGS)),
        group("12", "I add.", rewards=(0.0, 0.0), accuracy=(0.0, 0.0), formats=(TAGS, f"{TAGS}; {BOX}")),
    ]
    found = describe_no_signal(groups)
    assert found.startswith("has no learning signal; the rewards differ in 0 of 2 groups, and 0 of 4 replies are right")
    assert f"format: {TAGS} (100%)" in found
    assert f"format: {BOX} (50%)" in found
    assert "'The sum is 7.'" in found
    for remedy in ("an sft stage first", "data.prompt.template", "data.prompt.force_think=false", "reward.format=null"):
        assert remedy in found


def test_rules_are_counted_without_their_figures_by_share_and_then_by_weight():
    groups = [group("a", "b", "c", rewards=(0, 0, 0), accuracy=(0.0, 0.0, 0.0), formats=(TAGS, TAGS, BOX))]
    assert broken_rules(groups) == [
        ("accuracy", "answered …, the gold answer is …", 1.0),
        ("format", TAGS, pytest.approx(2 / 3)),
        ("format", BOX, pytest.approx(1 / 3)),
    ]


def test_a_step_whose_groups_differ_and_hold_right_replies_is_not_remarked_on():
    assert not describe_no_signal([group("7", "8", rewards=(1.0, 0.2), accuracy=(1.0, 0.0))])


def test_rewards_that_differ_although_no_reply_is_right_teach_only_the_shaping_parts():
    found = describe_no_signal([group("6", "8", rewards=(0.3, 0.2), accuracy=(0.0, 0.0))])
    assert found.startswith(
        "has a signal only from the shaping parts: no reply is right; the rewards differ in 1 of 1 groups"
    )
    assert "easier tasks" in found


def test_groups_that_are_all_right_want_harder_tasks():
    found = describe_no_signal([group("7", "7.", rewards=(1.0, 1.0), accuracy=(1.0, 1.0))])
    assert "harder tasks (another data.path, or data.filter), because every reply is right" in found
    assert "lack" not in found


def test_replies_that_are_cut_want_more_tokens_and_a_long_one_is_shown_at_both_ends():
    long = "start " + "x" * 2000 + " end"
    found = describe_no_signal([group(long, "y", rewards=(0, 0), accuracy=(0.0, 0.0), finish="length")])
    assert "a larger rollout.max_tokens, because 100% of the replies are cut there" in found
    assert "start xxx" in found
    assert "xxx end" in found
    assert len(found) < 1500


def test_with_the_steps_own_baseline_rewards_are_compared_over_the_whole_step():
    groups = [
        group("7", "7", rewards=(1.0, 1.0), accuracy=(1.0, 1.0)),
        group("8", "8", rewards=(0.0, 0.0), accuracy=(0.0, 0.0)),
    ]
    assert describe_no_signal(groups).startswith("has no learning signal")
    assert not describe_no_signal(groups, whole_step=True)


def test_a_step_in_which_nothing_could_be_graded_is_left_to_the_unscored_limit():
    assert not describe_no_signal([group("7", rewards=(None,), accuracy=(1.0,))])
