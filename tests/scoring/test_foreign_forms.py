"""Foreign functions in every form: TRL's own trainer code gives the same numbers, or the form is refused in words."""

import asyncio
import inspect
import math
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import trl

from rlkit import Group, Sample, Task
from rlkit.errors import PluginError
from rlkit.recipe.schema.reward_section import CombineKeys, RewardPartKeys
from rlkit.scoring.combine import score_group
from rlkit.scoring.plugins.plugin import load_part
from rlkit.scoring.plugins.reward_check import check_columns
from tests.scoring import foreign_forms as forms

HERE = Path(__file__).parent
REPLIES = ["2", "twelve", "so it is 2", "", "no", "2 and 2", "\\boxed{2}"]


def group(replies=REPLIES, **metadata):
    samples = tuple(Sample(f"t#{i}", text, 1) for i, text in enumerate(replies))
    return Group(Task("t", "math", "What is 1 + 1?", "2", metadata), samples)


def loaded(style, name, **arguments):
    plugin = {style: f"./foreign_forms.py:{name}"} if style else f"./foreign_forms.py:{name}"
    return load_part("x", RewardPartKeys.model_validate({"plugin": plugin, "weight": 1, **arguments}), HERE)


def scores(style, name, given=None, **arguments):
    given = given or group()
    return score_group(given, [loaded(style, name, **arguments)], {"x": 1.0}, CombineKeys()).parts["x"]


@pytest.fixture(scope="module")
def trls():
    """What TRL's trainer makes of functions: [sample][function], NaN where one does not apply."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    calculate = inspect.unwrap(trl.GRPOTrainer._calculate_rewards)

    def rewards(functions, replies=REPLIES, **columns):
        trainer = SimpleNamespace(
            accelerator=SimpleNamespace(device="cpu", is_main_process=True),
            args=SimpleNamespace(report_to=[]),
            reward_funcs=functions,
            reward_processing_classes=[None] * len(functions),
            reward_func_names=[str(i) for i in range(len(functions))],
            state=SimpleNamespace(global_step=0),
            environments=None,
            async_loop=loop,
            _log_completion_extra=lambda name, values: None,
            _log_metric=lambda name, value: None,
        )
        rows = [{"prompt": "What is 1 + 1?", **columns}] * len(replies)
        chat = [[{"role": "assistant", "content": text}] for text in replies]
        return calculate(trainer, rows, ["What is 1 + 1?"] * len(replies), chat, [[1]] * len(replies)).tolist()

    yield rewards
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.mark.parametrize(
    "name",
    [
        *("asynchronous", "partial", "instance", "async_instance", "tensor", "column_of_a_tensor", "list_of_tensors"),
        *("array", "array_with_nan", "numpy_scalars", "series", "generator", "values_view", "mixed", "per_reply"),
    ],
)
def test_a_trl_function_gives_the_numbers_that_trls_trainer_takes_from_it(name, trls):
    theirs = [row[0] for row in trls([getattr(forms, name)], solution="2")]
    ours = scores("trl", name)
    assert [s.applies for s in ours] == [not math.isnan(value) for value in theirs]
    assert [s.value for s in ours if s.applies] == pytest.approx([value for value in theirs if not math.isnan(value)])
    assert all(s.reason for s in ours if not s.applies)


def test_classes_and_decorated_functions_are_called_by_what_they_take():
    assert scores("trl", "Callable", factor=2)[1].value == pytest.approx(1.2)
    assert scores("trl", "AsyncCallable")[1].value == pytest.approx(0.6)
    assert scores("trl", "decorated")[1].value == pytest.approx(0.6)
    assert scores("trl", "makes_one", size=4)[0].value == 4


def test_two_functions_for_two_kinds_of_task_score_both_kinds(trls):
    both = [loaded("trl", "for_math"), loaded("trl", "for_code")]
    parts = [part.__class__(name, 1.0, part.plugin) for name, part in zip("ab", both, strict=True)]
    for task in ("math", "code"):
        theirs = trls([forms.for_math, forms.for_code], task=task)
        ours = score_group(group(task=task), parts, {"a": 1.0, "b": 1.0}, CombineKeys())
        sums = [sum(value for value in row if not math.isnan(value)) for row in theirs]
        assert ours.rewards == pytest.approx(sums)
    neither = score_group(group(task="chat"), parts, {"a": 1.0, "b": 1.0}, CombineKeys())
    assert neither.rewards == (None,) * len(REPLIES)
    assert {s.reason for s in neither.parts["a"]} == {"the function returned None: it does not apply to this sample"}


@pytest.mark.parametrize(
    ("style", "name", "reason"),
    [
        ("trl", "endless", "returned more than 7 rewards for 7 samples"),
        ("trl", "mapping", "returned dict, not a list with one reward a sample"),
        ("trl", "one_number", "returned float, not a list with one reward a sample"),
        ("trl", "texts", "returned str instead of a number as a sample's reward"),
        ("trl", "pairs", "returned list instead of a number as a sample's reward"),
        ("trl", "nothing", "returned NoneType, not a list with one reward a sample"),
        ("verl", "verl_pair", "returned tuple instead of a number as a sample's reward"),
        ("verl", "verl_none", "returned None, but its toolkit accepts only a number"),
        ("verl", "verl_nan", "returned nan, not a finite number"),
        ("verl", "verl_without_score", "returned a mapping without 'score'; it has ['acc', 'reward']"),
        ("openrlhf", "openrlhf_without_rewards", "returned a mapping without 'rewards'; it has ['scores']"),
    ],
)
def test_what_the_toolkit_would_not_take_is_said_in_words(style, name, reason):
    found = scores(style, name)
    assert {s.value for s in found} == {None}
    assert all(s.applies and reason in s.reason for s in found)


def test_verl_functions_in_their_forms():
    assert [s.value for s in scores("verl", "verl_bool")] == [float("2" in text) for text in REPLIES]
    assert scores("verl", "verl_numpy")[0].value == 0.5
    assert scores("verl", "verl_numpy")[0].evidence == {"acc": True}
    batch = scores("verl", "verl_batch")
    assert [s.value for s in batch] == [float("2" in text) for text in REPLIES]
    assert batch[1].evidence == {"n": 6}


def test_openrlhf_functions_are_called_by_position_as_there():
    assert [s.value for s in scores("openrlhf", "openrlhf_other_names")] == [len(text) + 2.0 for text in REPLIES]
    assert [s.value for s in scores("openrlhf", "openrlhf_old")] == [len(text) for text in REPLIES]
    assert [s.value for s in scores("openrlhf", "openrlhf_one")] == [len(text) for text in REPLIES]
    found = scores("openrlhf", "openrlhf_logs")
    assert [s.value for s in found] == [float(i) for i in range(len(REPLIES))]
    assert found[2].evidence == {"place": 2.0, "all": 7}


@pytest.mark.parametrize(
    ("style", "name", "message"),
    [
        (
            None,
            "mixed",
            "signature of a reward function for TRL: write plugin: {trl: ./foreign_forms.py:mixed}",
        ),
        (None, "instance", "--style trl, or trl_text where it takes the completions as plain text"),
        (None, "makes_one", "reward.x.size"),
        (None, "plain_function", "a plugin is a class with score(group) or score_one(task, sample)"),
        (None, "Callable", "plugin: {trl: ./foreign_forms.py:Callable}"),
        (None, "verl_none", "rlkit reward test ./foreign_forms.py:verl_none --style verl"),
        (None, "verl_batch", "{verl: ./foreign_forms.py:verl_batch}"),
        (None, "openrlhf_old", "{openrlhf: ./foreign_forms.py:openrlhf_old}"),
        (
            "verl",
            "mixed",
            "a reward function for TRL, not for verl: write {trl: ./foreign_forms.py:mixed}",
        ),
        ("trl", "verl_none", "write {verl: ./foreign_forms.py:verl_none}"),
        ("trl", "openrlhf_old", "write {openrlhf: ./foreign_forms.py:openrlhf_old}"),
        ("trl", "needs_trainer", "needs the argument 'trainer_state', which only TRL's trainer has"),
        ("verl", "verl_missing", "reward.x.router: ./foreign_forms.py:verl_missing needs the argument 'router'"),
        ("trl", "makes_nothing", "returns int, which cannot be called as a reward function of TRL"),
        ("trl", "NotCallable", "returns NotCallable, which cannot be called as a reward function of TRL"),
    ],
)
def test_a_wrong_style_or_signature_is_one_sentence_with_the_form_to_write(style, name, message):
    with pytest.raises(PluginError) as error:
        loaded(style, name)
    assert message in str(error.value)
    assert str(error.value).startswith("reward.x")
    assert "\n" not in str(error.value)


def test_a_made_function_without_its_style_is_recognised_too():
    with pytest.raises(PluginError, match=r"write plugin: \{trl: ./foreign_forms.py:makes_one\}"):
        loaded(None, "makes_one", size=1)


def test_the_columns_that_a_function_needs_are_looked_for_in_the_data():
    part = loaded("trl", "needs_difficulty")
    assert part.columns == ("difficulty",)
    assert loaded("trl", "needs_difficulty", difficulty=[1]).columns == ()
    assert loaded("trl", "decorated").columns == ()  # the reference goes under solution
    assert check_columns([part], {"difficulty": 3, "domain": 1}, 3) == []
    assert check_columns([part], {}, 0) == []  # a recipe of SFT stages alone
    (note,) = check_columns([part], {"difficulty": 1}, 3)
    assert "'difficulty', which 2 of 3 rows lack: it gets None for them" in note
    with pytest.raises(PluginError, match=r"'difficulty', which no row .* \(did you mean 'dificulty'\?\)"):
        check_columns([part], {"dificulty": 3}, 3)
    with pytest.raises(PluginError, match="no row of the data has; there is source: add or rename"):
        check_columns([part], {"source": 3}, 3)


def test_a_row_without_a_needed_column_gives_none_as_in_trl():
    assert [s.value for s in scores("trl", "needs_difficulty", group(difficulty=3))] == [3.0] * len(REPLIES)
    assert [s.value for s in scores("trl", "needs_difficulty", group(), factor=2.0)] == [2.0] * len(REPLIES)
