"""Tasks of other kinds than math and code, in each of the four parts."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rewards.accuracy import Accuracy
from rewards.efficiency import Efficiency
from rewards.labels import StepLabels
from rewards.language import LanguageConsistency
from rewards.lengths import CosineLength, EfficientReasoning, GroupLength
from rlkit import Group, Sample, Score, Task
from rlkit.errors import PluginError
from rlkit.recipe.schema.data_section import TASK_KINDS
from rlkit.recipe.schema.reward_section import RewardKeys, RewardPartKeys
from rlkit.scoring.combine import score_group
from rlkit.scoring.plugins.plugin import load_part, load_parts

CITIES = {"A": "Rome", "B": "Paris"}
JUDGES = """
from rlkit import Score

def by_length(task, sample):
    return Score(float(len(sample.response) == task.reference["length"]), "counted")

def twice(task, sample):
    return Score(2.0)

def nothing(task, sample):
    return None

def of_a_text(response):
    return Score(1.0)

def open_question(task, sample):
    return Score.not_applicable("an open question")
"""


@pytest.fixture(scope="module")
def accuracy():
    return Accuracy(abs_tolerance=0.5)


def values(plugin, kind, reference, *answers, **metadata):
    samples = tuple(Sample(str(i), f"<think>\nhm\n</think>\n{a}", 9) for i, a in enumerate(answers))
    return [score.value for score in plugin.score(Group(Task("t", kind, "?", reference, metadata), samples))]


def test_every_kind_that_data_may_hold_has_a_judge(accuracy):
    assert sorted(accuracy._by_kind) == sorted(TASK_KINDS)


def test_texts_are_found_in_a_box_after_a_phrase_or_alone(accuracy):
    answers = ("\\boxed{Paris}", "\\boxed{\\text{paris}}", "The answer is Paris.", "Paris", "<answer>Paris</answer>")
    assert values(accuracy, "exact", "Paris", *answers) == [1] * 5
    assert values(accuracy, "exact", "Paris", "\\boxed{Rome}", "Paris\nor Rome", "", "Rome, not Paris") == [0] * 4


def test_choices_are_letters_texts_or_formulas_of_equal_value(accuracy):
    answers = ("\\boxed{B}", "\\boxed{\\text{(B)}}", "B", "(B) Paris", "Paris", "The answer is B.")
    assert values(accuracy, "choice", "B", *answers, choices=CITIES) == [1] * 6
    assert values(accuracy, "choice", "B", "\\boxed{A}", "A or B", "B. Rome", "", choices=CITIES) == [0] * 4
    formulas = {"A": "\\frac{1}{2}", "B": "\\frac{1}{3}"}
    assert values(accuracy, "choice", "A", "\\boxed{0.5}", "\\boxed{1/3}", choices=formulas) == [1, 0]
    assert values(accuracy, "choice", "Athens", "\\boxed{A}", choices=CITIES) == [None]


def test_numbers_lie_within_the_tasks_tolerance_else_the_recipes(accuracy):
    assert values(accuracy, "numeric", "100", "\\boxed{100.5}", "\\boxed{100.6}", "It is 100.2 then.") == [1, 0, 1]
    assert values(accuracy, "numeric", "100", "\\boxed{109}", "\\boxed{111}", tolerance=0.1) == [1, 0]
    assert values(accuracy, "numeric", "100", "\\boxed{100.5}", abs_tolerance=0.1) == [0]
    assert values(accuracy, "numeric", "2\\sqrt{3}", "\\boxed{\\sqrt{12}}", "\\boxed{3}") == [1, 0]
    assert values(accuracy, "numeric", "5", "\\boxed{5 million}") == [0]


@pytest.mark.parametrize(
    ("kind", "golds", "answers", "expected"),
    [
        ("math", ["1/2", "2/3"], ["\\boxed{0.5}", "\\boxed{\\frac{2}{3}}", "\\boxed{3}"], [1, 1, 0]),
        ("exact", ["true", "yes"], ["\\boxed{Yes}", "\\boxed{True}", "\\boxed{no}"], [1, 1, 0]),
        ("math", ["false", "no"], ["\\boxed{No}", "\\boxed{\\text{False}}", "\\boxed{Yes}"], [1, 1, 0]),
        ("numeric", ["5 km", "5000 m"], ["\\boxed{5000 m}", "\\boxed{7 km}"], [1, 0]),
        # A gold that nothing can read does not cost the others their say.
        ("math", ["\\frac{1}{", "7"], ["\\boxed{7}", "\\boxed{8}"], [1, 0]),
    ],
)
def test_an_answer_is_right_where_it_is_one_of_the_golds(accuracy, kind, golds, answers, expected):
    assert values(accuracy, kind, golds, *answers) == expected


def test_a_kind_without_a_judge_is_unscored_with_the_known_kinds(accuracy):
    (score,) = accuracy.score(Group(Task("t", "sql", "?", "1"), (Sample("a", "x", 1),)))
    assert (score.value, score.verdict) == (None, "unscored")
    assert score.reason == "no judge for tasks of kind 'sql'; known kinds: choice, code, exact, math, numeric"


def with_judges(tmp_path, **judges):
    (tmp_path / "judges.py").write_text(JUDGES)
    return load_part("accuracy", RewardPartKeys(weight=1, judges=judges), tmp_path)


def test_a_recipe_adds_kinds_by_file_and_by_module(tmp_path):
    part = with_judges(tmp_path, length="./judges.py:by_length", math="./judges.py:by_length")
    samples = (Sample("a", "12345", 1), Sample("b", "1", 1))
    for kind in ("length", "math"):  # a built-in kind may be replaced
        scores = part.plugin.score(Group(Task("t", kind, "?", {"length": 5}), samples))
        assert scores == [Score(1.0, "counted"), Score(0.0, "counted")]


def test_what_a_judge_does_not_judge_is_not_paid_by_accuracy_either(tmp_path):
    part = with_judges(tmp_path, open="./judges.py:open_question")
    group = Group(Task("t", "open", "?", "x"), (Sample("t#0", "hello", 1),))
    (accuracy,) = part.plugin.score(group)
    assert (accuracy.applies, accuracy.reason) == (False, "an open question")
    given = replace(group, scores={"accuracy": (accuracy,)})
    by_length = (Efficiency(), CosineLength(9), GroupLength(), EfficientReasoning())
    for follower in (*by_length, StepLabels(), LanguageConsistency()):
        (score,) = follower.score(given)
        assert (score.applies, score.reason) == (False, "its accuracy does not apply")
        (score,) = follower.score(replace(group, scores={"accuracy": (Score(None, "unscored", "?"),)}))
        assert (score.value, score.applies) == (None, True)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("./judges.py:by_lenght", r"^reward.accuracy.judges.mine: ./judges.py has no class or function 'by_lenght'"),
        (
            "./judge.py:f",
            r"^reward.accuracy.judges.mine: there is no file ./judge.py in the recipe's folder .*'judges.py'",
        ),
        ("by_length", r"^reward.accuracy.judges.mine: 'by_length' must be module:function or ./file.py:function"),
        (3, r"^reward.accuracy.judges={'mine': 3} does not fit"),
        ("./judges.py:of_a_text", r"^reward.accuracy.judges.mine: ./judges.py:of_a_text must take \(task, sample\)"),
    ],
)
def test_a_judge_that_cannot_be_found_is_named_by_its_key(tmp_path, spec, message):
    with pytest.raises(PluginError, match=message):
        with_judges(tmp_path, mine=spec)


def test_a_judge_that_returns_what_no_accuracy_is_fails_by_name(tmp_path):
    part = with_judges(tmp_path, twice="./judges.py:twice", nothing="./judges.py:nothing")
    for kind, message in (("twice", "returned 2.0, not a value in"), ("nothing", "returned NoneType, not a Score")):
        with pytest.raises((TypeError, ValueError), match=f"the judge of kind '{kind}' {message}"):
            part.plugin.score(Group(Task("t", kind, "?", "1"), (Sample("a", "x", 1),)))


def test_an_installed_package_adds_a_kind_by_its_entry_point(tmp_path, monkeypatch):
    (tmp_path / "lab_judges.py").write_text(JUDGES)
    info = tmp_path / "lab-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lab\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[rlkit.judges]\nlength = lab_judges:by_length\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert "length" in (RewardKeys.model_validate({}).kinds or ())
    task = Task("t", "length", "?", {"length": 1})
    assert Accuracy().score(Group(task, (Sample("a", "x", 1),))) == [Score(1.0, "counted")]


GOOD = "<think>\n12 boxes of 8 pens: 12 * 8 = 96 pens.\n96 - 30 = 66, the answer is 66.\n</think>\n\\boxed{{{}}}"


@pytest.mark.parametrize(
    ("kind", "reference", "answer", "metadata"),
    [
        ("numeric", "66", "66", {}),
        ("choice", "B", "B", {"choices": {"A": "126", "B": "66"}}),
        ("exact", "66", "66", {}),
    ],
)
def test_the_other_parts_judge_a_reply_of_another_kind_as_they_judge_math(kind, reference, answer, metadata):
    reward = RewardKeys.model_validate({})
    prompt = "Tom has 12 boxes with 8 pens each. He gives away 30 pens. How many are left? A. 126 B. 66"
    replies = (GOOD.format(answer), f"<think>\nI guess.\n</think>\n{answer}")
    group = Group(Task("t", kind, prompt, reference, metadata), tuple(Sample(r, r, 30) for r in replies))
    scored = score_group(group, load_parts(reward, Path.cwd()), reward.weights, reward.combine)
    good, guess = ({name: scores[i].value for name, scores in scored.parts.items()} for i in range(2))
    assert (good["accuracy"], good["format"], good["efficiency"]) == (1, 1, 1)
    assert good["reasoning"] > 0.9 > 0.3 > guess["reasoning"]
    assert guess["format"] < 1
