"""Tags, step labels, language and repetition: what the published terms pay, and the hacks that they no longer do."""

from pathlib import Path

import pytest

from rewards.labels import StepLabels, TagCount
from rewards.language import LanguageConsistency, letters_by_script
from rewards.repetition import Repetition, density, repeated_ngrams
from rlkit import Group, Sample, Score, Task
from rlkit.recipe.schema.reward_section import RewardKeys
from rlkit.scoring.plugins.plugin import load_parts


def value(plugin, response, accuracy=1.0, prompt="What is 2 + 2?"):
    given = {"accuracy": (Score(accuracy),)}
    (score,) = plugin.score(Group(Task("t", "math", prompt, ""), (Sample("t#0", response, 10),), given))
    return score.value


def test_every_optional_part_is_found_by_its_entry_point():
    names = ("repetition", "language_consistency", "tag_count", "step_labels", "group_length", "efficient_reasoning")
    parts = {name: {"weight": 0.1} for name in names}
    parts |= {
        "soft_overlong": {"weight": 0.1, "max_tokens": 9, "margin": 3},
        "cosine_length": {"weight": 1, "max_tokens": 9},
    }
    judge = {"weight": 1, "base_url": "http://127.0.0.1:1/v1", "model": "m"}
    reward = RewardKeys.model_validate({**parts, "model_judge": judge})
    assert {part.name for part in load_parts(reward, Path())} == {*reward.parts}


@pytest.mark.parametrize(
    ("response", "paid"),
    [
        ("<think>a</think><answer>4</answer>", 1.0),
        ("<think></think><answer></answer>", 0.0),  # paid in full by the original
        ("<think> \n</think><answer>4</answer>", 0.5),
        ("<think>a</think><answer>4", 0.5),
        ("<think>a</think><answer>4</answer><answer>5</answer>", 0.5),
        ("<answer>4</answer><think>a</think>", 0.5),
        ("</think>a<think>", 0.0),
        ("", 0.0),
    ],
)
def test_a_tag_counts_once_in_order_and_with_content(response, paid):
    assert value(TagCount(), response) == paid


LABELLED = """\
Step 1: add the two numbers of the problem.
Step 2: compare what came out with four.
Step 3: write down that both agree."""


@pytest.mark.parametrize(
    ("thought", "accuracy", "paid"),
    [
        (LABELLED, 1, 1.0),
        (LABELLED, 0.5, 0.0),
        (LABELLED, None, None),
        (LABELLED.rpartition("\n")[0], 1, 2 / 3),
        ("First,First,First,First,", 1, 0.0),  # paid in full by the original
        ("Step 1:\nStep 2:\nStep 3:", 1, 0.0),
        (LABELLED.replace("2", "1").replace("3", "1"), 1, 1 / 3),
        ("\n".join(f"Step {i}: add the two numbers of the problem." for i in range(9)), 1, 1 / 3),
    ],
)
def test_a_step_label_counts_once_and_with_words_of_its_own(thought, accuracy, paid):
    assert value(StepLabels(), f"<think>\n{thought}\n</think>\\boxed{{4}}", accuracy) == paid


CHINESE = "我们先把所有的数加起来"


@pytest.mark.parametrize(
    ("thought", "accuracy", "paid"),
    [
        ("all of this is in one language", 1, 1.0),
        ("all of this is in one language", 0, 0.0),
        ("all of this is in one language", None, None),
        (f"abcdefghijk {CHINESE}", 1, 0.5),
        (f"abcdefghijk $x_{{{CHINESE}}}$ `{CHINESE}` \\({CHINESE}\\)", 1, 1.0),  # mathematics and code
        ("α + β = γ is abc", 1, 1.0),
        ("", 1, 0.0),
        ("1 + 1 = 2", 1, 0.0),  # no words at all
        (CHINESE * 10 + " pad" * 10_000, 1, 1 - 110 / 1000),  # padding is worth no more than `limit` letters
    ],
)
def test_language_is_counted_in_letters_of_the_problems_script(thought, accuracy, paid):
    got = value(LanguageConsistency(), f"<think>{thought}</think>\\boxed{{4}}", accuracy)
    assert got == (pytest.approx(paid) if paid is not None else None)


def test_a_problem_in_another_script_asks_for_that_one():
    response = f"<think>{CHINESE}</think>\\boxed{{4}}"
    assert value(LanguageConsistency(), response, prompt="二加二等于多少?") == 1
    assert value(LanguageConsistency(), response) == 0


def test_japanese_writes_three_scripts_as_one():
    assert letters_by_script("漢字とカタカナ") == {"CJK": 7}


PROSE = "Seventy sober sentences say something new about each of the sums that stand in this short text , do they not ?"


def test_repetition_counts_long_ngrams_only():
    assert repeated_ngrams("a b " * 10) == 0  # one 20-gram
    assert repeated_ngrams("a b " * 11) == 1
    assert repeated_ngrams(" ".join(map(str, range(1000)))) == 0
    assert value(Repetition(), PROSE) == 1.0
    # 22 words twice: 25 20-grams, 3 of them for the second time.
    assert value(Repetition(), f"{PROSE} {PROSE}") == pytest.approx(1 / (1 + 3 / 20))
    assert value(Repetition(penalty=True), f"{PROSE} {PROSE}") == pytest.approx(1 / (1 + 3 / 20) - 1)
    assert value(Repetition(ngram=40), f"{PROSE} {PROSE}") == 1.0


def test_padding_cannot_buy_repetition_back():
    loop = "so we add the two numbers and look at them once more before we go on to the next of them " * 20
    plain = " ".join(str(i * i) for i in range(5000))
    assert value(Repetition(), plain) == 1.0
    assert value(Repetition(), plain + " " + loop) <= value(Repetition(), loop) < 0.1


def test_density_sees_a_running_number():
    assert density("short") == 1.0
    assert density("I check line again. " * 200) < 0.05
    assert 0.05 < density("".join(f"I check line {i} again.\n" for i in range(200))) < 0.2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Repetition(ngram=3), "ngram=3"),
        (lambda: TagCount(("<think>",)), "tags"),
        (lambda: StepLabels(wanted=0), "wanted=0"),
        (lambda: LanguageConsistency(limit=0), "limit=0"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
