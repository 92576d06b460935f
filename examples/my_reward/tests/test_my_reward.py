"""Tests of `Checked` with hand-computed cases, and of its entry point. Needs the package: pip install -e ."""

from importlib.metadata import entry_points

import pytest
from my_reward import Checked

from rlkit import Group, Sample, Score, Task

RIGHT = (
    "<think>\n10 * 8 = 80 and 2 * 8 = 16\nso 12 * 8 = 80 + 16 = 96\n"
    "Let me check: 96 / 8 = 12, so 96 holds.\n</think>\n\\boxed{96}"
)


def values(*replies, accuracy=1.0, **arguments):
    samples = tuple(Sample(f"t#{i}", text, 20) for i, text in enumerate(replies))
    scores = {"accuracy": tuple(Score(accuracy) for _ in samples)}
    group = Group(Task("t", "math", "What is 12 * 8?", "96"), samples, scores)
    return [score.value for score in Checked(**arguments).score(group)]


def test_a_check_that_names_the_answer_scores_1():
    assert values(RIGHT, RIGHT.replace("check", "look"), RIGHT.replace("so 96 holds", "fine")) == [1.0, 0.0, 1.0]
    assert values("<think>\n12 * 8 = 96. Let me check.\n</think>\n\\boxed{96}") == [0.0]


def test_a_wrong_reply_scores_0_and_an_unjudged_one_is_unscored():
    assert values(RIGHT, accuracy=0.0) == [0.0]
    assert values(RIGHT, accuracy=None) == [None]


def test_a_check_at_the_start_counts_only_if_last_share_allows_it():
    early = "<think>\nCheck 96 first. " + "12 * 8 = 96. " * 9 + "\n</think>\n\\boxed{96}"
    assert values(early) == [0.0]
    assert values(early, last_share=1.0) == [1.0]


def test_an_invalid_share_is_refused():
    with pytest.raises(ValueError, match="last_share=2"):
        Checked(last_share=2)


def test_rlkit_finds_it_by_name():
    (point,) = entry_points(group="rlkit.rewards", name="checked")
    assert point.load() is Checked
