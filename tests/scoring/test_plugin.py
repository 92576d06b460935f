from pathlib import Path

import pytest

from rlkit.errors import PluginError
from rlkit.recipe.schema.reward import Reward, RewardPart
from rlkit.scoring.plugin import load_part, load_parts

HERE = Path(__file__).parent


def part(cls, **more):
    return RewardPart.model_validate({"plugin": f"./plugins.py:{cls}", "weight": 1, **more})


def test_a_file_plugin_is_built_with_its_arguments():
    loaded = load_part("short", part("ShortAnswers", limit=9), HERE)
    assert (loaded.name, loaded.weight, loaded.plugin.limit, loaded.needs) == ("short", 1, 9, ())


def test_lists_fit_tuples_and_integers_fit_floats():
    loaded = load_part("typed", part("Typed", names=["a"], share=1), HERE)
    assert (loaded.plugin.names, loaded.plugin.share) == (("a",), 1)


def test_the_built_in_parts_are_found_through_their_entry_points():
    names = [loaded.name for loaded in load_parts(Reward.model_validate({}), HERE)]
    assert names == ["accuracy", "reasoning", "format", "efficiency"]


def test_a_part_runs_after_what_it_needs():
    reward = Reward.model_validate({"early": {"plugin": "./plugins.py:AfterAccuracy", "weight": 1}})
    names = [loaded.name for loaded in load_parts(reward, HERE)]
    assert names.index("accuracy") < names.index("early")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (part("ShortAnswers", limt=9), "reward.x.limt: ShortAnswers has no such argument (did you mean 'limit'?)"),
        (part("ShortAnswers", limit="nine"), "reward.x.limit='nine' does not fit int"),
        (part("ShortAnswers", limit=True), "reward.x.limit=True does not fit int"),
        (part("Typed"), "reward.x.names: Typed needs this argument"),
        (part("ShortAnswer"), "did you mean 'ShortAnswers'"),
        (part("NoScore"), "NoScore has no method score(group)"),
        (part("BrokenConstructor"), "BrokenConstructor could not be built: ValueError: no weights file"),
        (RewardPart(plugin="./none.py:X", weight=1), "there is no file"),
        (RewardPart(plugin="no.such.module:X", weight=1), "cannot import no.such.module"),
        (RewardPart(plugin="acuracy", weight=1), "did you mean 'accuracy'"),
    ],
)
def test_mistakes_are_one_sentence_that_names_the_key(given, message):
    with pytest.raises(PluginError) as error:
        load_part("x", given, HERE)
    assert message in str(error.value)
    assert str(error.value).startswith("reward.x")
    assert "\n" not in str(error.value)


def test_needs_that_are_missing_or_circular_are_refused():
    missing = {"accuracy": None, "efficiency": None, "x": {"plugin": "./plugins.py:AfterAccuracy", "weight": 1}}
    with pytest.raises(PluginError, match="needs the scores of part 'accuracy'"):
        load_parts(Reward.model_validate(missing), HERE)
    circle = {
        "first": {"plugin": "./plugins.py:First", "weight": 1},
        "second": {"plugin": "./plugins.py:Second", "weight": 1},
    }
    with pytest.raises(PluginError, match="first and second need each other"):
        load_parts(Reward.model_validate(circle), HERE)
