"""Reward functions of other toolkits give the numbers that they give when called directly."""

from dataclasses import replace
from pathlib import Path

import pytest
import trl.rewards
from hypothesis import given
from hypothesis import strategies as st

from rlkit import Group, Sample, Task
from rlkit.errors import PluginError, RecipeError
from rlkit.recipe.schema.reward_section import CombineKeys, RewardPartKeys
from rlkit.scoring.combine import score_group
from rlkit.scoring.plugins.foreign import ForeignReward
from rlkit.scoring.plugins.plugin import load_part
from tests.scoring import foreign_rewards as theirs

HERE = Path(__file__).parent
REPLIES = [
    "<think>\n1+1=2\n</think>\n\\boxed{2}",
    "<think>\n1+1=3\n</think>\n\\boxed{3}",
    "The answer is \\boxed{\\frac{4}{2}}",
    "2",
    "<think>one <think>two</think> \\boxed{2}",
    "",
    "again again again again again again \\boxed{2}",
]
IDS = [list(range(n)) + [7] * (3 * n) for n in (12, 30, 5, 1, 9, 0, 40)]
CHAT = [[{"role": "assistant", "content": text}] for text in REPLIES]


def group(replies=REPLIES, reference="2", **metadata):
    samples = tuple(
        Sample(f"t#{i}", text, len(ids), token_ids=tuple(ids))
        for i, (text, ids) in enumerate(zip(replies, IDS, strict=False))
    )
    return Group(Task("t", "math", "What is 1 + 1?", reference, metadata), samples)


def loaded(style, spec, **arguments):
    return load_part("x", RewardPartKeys.model_validate({"plugin": {style: spec}, "weight": 1, **arguments}), HERE)


def values(style, spec, group, **arguments):
    return [score.value for score in loaded(style, spec, **arguments).plugin.score(group)]


@pytest.mark.parametrize("reference", ["2", "\\frac{4}{2}", "$\\boxed{3}$"])
@pytest.mark.parametrize("name", ["accuracy_reward", "reasoning_accuracy_reward"])
def test_trl_accuracy_rewards(name, reference):
    direct = getattr(trl.rewards, name)(completions=CHAT, solution=[reference] * len(CHAT))
    ours = values("trl", f"trl.rewards:{name}", group(reference=reference))
    assert ours == direct
    assert len({*ours}) > 1


SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize(
    ("style", "expected"),
    [("trl", [SYSTEM, {"role": "user", "content": "What is 1 + 1?"}]), ("trl_text", "What is 1 + 1?")],
)
def test_a_trl_function_is_given_the_messages_before_the_prompt(style, expected):
    shared = group()
    talk = Group(replace(shared.task, history=(SYSTEM,)), shared.samples)
    part = ForeignReward(style, lambda prompts, **_: [float(prompt == expected) for prompt in prompts])
    assert {score.value for score in part.score(talk)} == {1.0}


def test_trl_think_format():
    assert values("trl", "trl.rewards:think_format_reward", group()) == trl.rewards.think_format_reward(CHAT)


@pytest.mark.parametrize(
    ("factory", "arguments"),
    [
        ("get_soft_overlong_punishment", {"max_completion_len": 60, "soft_punish_cache": 30}),
        ("get_repetition_penalty_reward", {"ngram_size": 2, "max_penalty": -0.5}),
        ("get_cosine_scaled_reward", {"max_len": 200}),
    ],
)
def test_trl_functions_that_are_made_with_arguments(factory, arguments):
    made = getattr(trl.rewards, factory)(**arguments)
    direct = made(completions=CHAT, completion_ids=IDS, solution=["2"] * len(CHAT))
    assert values("trl", f"trl.rewards:{factory}", group(), **arguments) == direct
    assert len({*direct}) > 1


def test_a_function_that_needs_tokens_fails_by_name_where_there_are_none():
    part = loaded("trl", "trl.rewards:get_soft_overlong_punishment", max_completion_len=9, soft_punish_cache=3)
    bare = Group(group().task, (Sample("t#0", "a long reply", 12),))
    scored = score_group(bare, [part], {"x": 1.0}, CombineKeys())
    assert scored.rewards == (None,)
    assert "completion_ids" in scored.parts["x"][0].reason


def test_an_argument_of_a_trl_function_is_handed_over_with_each_call():
    cut = ["So far. ### \\boxed{2}", "\\boxed{2} ### \\boxed{3}"]
    chat = [[{"role": "assistant", "content": text}] for text in cut]
    direct = trl.rewards.reasoning_accuracy_reward(chat, ["2", "2"], reasoning_delimiters=["###"])
    spec = "trl.rewards:reasoning_accuracy_reward"
    assert values("trl", spec, group(cut), reasoning_delimiters=["###"]) == direct == [1.0, 0.0]


def test_a_trl_none_does_not_apply_and_text_style_hands_over_text():
    assert values("trl", "./foreign_rewards.py:trl_short", group(solution="?")) == [None] * len(REPLIES)
    part = loaded("trl_text", "./foreign_rewards.py:trl_async")
    scores = part.plugin.score(group(difficulty=3))
    assert [s.value for s in scores] == [14 + len(text) + 3 for text in REPLIES]
    assert scores[0].evidence["length"] == scores[0].value
    assert scores[0].evidence["mean"] == sum(s.value for s in scores) / len(scores)


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5), st.floats(-1, 1))
def test_verl_functions_give_their_own_numbers(replies, bonus):
    spec = "./foreign_rewards.py:compute_score"
    replies = [*replies, "\\boxed{2}"][-len(IDS) :]
    direct = [theirs.compute_score("math", text, "2", {}, bonus=bonus) for text in replies]
    assert values("verl", spec, group(replies), bonus=bonus) == direct
    assert direct[-1] == 1 + bonus


def test_verl_mappings_async_functions_and_functions_with_a_loop_of_their_own():
    scores = loaded("verl", "./foreign_rewards.py:compute_score_async").plugin.score(group(data_source="sums"))
    assert [s.value for s in scores] == [0.25 if "2" in text else 0 for text in REPLIES]
    assert scores[0].evidence == {"acc": True, "source": "sums"}
    spec = "./foreign_rewards.py:compute_score_with_its_own_loop"
    assert values("verl", spec, group()) == [s.value for s in scores]


def test_openrlhf_functions_give_their_own_numbers():
    assert values("openrlhf", "./foreign_rewards.py:reward_func", group()) == [len(text) + 2.0 for text in REPLIES]
    assert values("openrlhf", "./foreign_rewards.py:reward_func_dict", group()) == [0.5] * len(REPLIES)


def test_a_wrong_count_is_a_plugin_error_that_names_the_part():
    scored = score_group(
        group(), [loaded("openrlhf", "./foreign_rewards.py:reward_func_short")], {"x": 1.0}, CombineKeys()
    )
    assert {score.verdict for score in scored.parts["x"]} == {"plugin_error"}
    assert "returned 6 rewards for 7 samples" in scored.parts["x"][0].reason


@pytest.mark.parametrize(
    ("style", "spec", "arguments", "message"),
    [
        ("trl", "trl.rewards:acuracy_reward", {}, "did you mean 'accuracy_reward'"),
        ("trl", "accuracy_reward", {}, "must be module:function"),
        ("trl", "trl.rewards:get_cosine_scaled_reward", {}, "reward.x.max_len: get_cosine_scaled_reward needs this"),
        ("verl", "./foreign_rewards.py:compute_score", {"bonsu": 1}, "did you mean 'bonus'"),
        ("openrlhf", "no.such.module:f", {}, "cannot import no.such.module"),
    ],
)
def test_mistakes_are_one_sentence_that_names_the_key(style, spec, arguments, message):
    with pytest.raises(PluginError) as error:
        loaded(style, spec, **arguments)
    assert message in str(error.value)
    assert str(error.value).startswith("reward.x")


@pytest.mark.parametrize("plugin", ["{trll: a:b}", "{trl: a:b, verl: c:d}", '{trl: ""}', '""', "7"])
def test_a_wrong_style_is_refused_by_the_recipe(tmp_path, plugin):
    from rlkit.recipe.load import load_recipe

    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "run: {name: x}\nmodel: {init: {}}\ndata: {path: 'builtin:quickstart'}\n"
        f"reward: {{mine: {{plugin: {plugin}, weight: 1}}}}\nstages: [{{kind: grpo, steps: 1}}]\n"
    )
    with pytest.raises(RecipeError) as error:
        load_recipe(recipe)
    assert "reward.mine.plugin" in str(error.value)
