from pathlib import Path

import pytest

from rlkit.errors import PluginError
from rlkit.recipe.schema.reward_section import RewardKeys, RewardPartKeys
from rlkit.scoring.plugins.plugin import load_part, load_parts
from rlkit.scoring.plugins.reward_check import check_plugins

HERE = Path(__file__).parent


def part(cls, **more):
    return RewardPartKeys.model_validate({"plugin": f"./plugins.py:{cls}", "weight": 1, **more})


def test_a_file_plugin_is_built_with_its_arguments():
    loaded = load_part("short", part("ShortAnswers", limit=9), HERE)
    assert (loaded.name, loaded.weight, loaded.plugin.limit, loaded.needs) == ("short", 1, 9, ())


def test_lists_fit_tuples_and_integers_fit_floats():
    loaded = load_part("typed", part("Typed", names=["a"], share=1), HERE)
    assert (loaded.plugin.names, loaded.plugin.share) == (("a",), 1)


def test_the_built_in_parts_are_found_through_their_entry_points():
    names = [loaded.name for loaded in load_parts(RewardKeys.model_validate({}), HERE)]
    assert names == ["accuracy", "reasoning", "format", "efficiency"]


def test_a_part_runs_after_what_it_needs():
    reward = RewardKeys.model_validate({"early": {"plugin": "./plugins.py:AfterAccuracy", "weight": 1}})
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
        (part("time"), "time in ./plugins.py is of type module, and must be a class or a function"),
        (part("ExitingConstructor"), "ExitingConstructor could not be built: SystemExit: 3"),
        (RewardPartKeys(plugin="./exits.py:X", weight=1), "cannot import ./exits.py: SystemExit: 3"),
        (RewardPartKeys(plugin="./none.py:X", weight=1), "there is no file"),
        (RewardPartKeys(plugin="no.such.module:X", weight=1), "cannot import no.such.module"),
        (RewardPartKeys(plugin="acuracy", weight=1), "did you mean 'accuracy'"),
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
        load_parts(RewardKeys.model_validate(missing), HERE)
    circle = {
        "first": {"plugin": "./plugins.py:First", "weight": 1},
        "second": {"plugin": "./plugins.py:Second", "weight": 1},
    }
    with pytest.raises(PluginError, match="first and second need each other"):
        load_parts(RewardKeys.model_validate(circle), HERE)


def test_a_missing_file_says_where_it_was_looked_for_and_what_may_be_meant(tmp_path, monkeypatch):
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "plugin.py").touch()
    (tmp_path / "mine.py").touch()
    monkeypatch.chdir(tmp_path)
    looked = rf"there is no file \./{{}} in the recipe's folder {tmp_path / 'recipe'}"
    for name, hint in (
        ("other.py", "$"),
        ("plugins.py", r" \(did you mean 'plugin.py'\?\)$"),
        (
            "mine.py",
            f"; there is one in the working directory: move it there, or write {tmp_path}/mine.py$",
        ),
    ):
        with pytest.raises(PluginError, match=f"^reward.x.plugin: {looked.format(name)}{hint}"):
            load_part("x", RewardPartKeys(plugin=f"./{name}:Mine", weight=1), tmp_path / "recipe")
    (tmp_path / "mine.py").write_text("class Mine:\n    def score(self, group):\n        return []\n")
    assert load_part("x", RewardPartKeys(plugin=f"{tmp_path}/mine.py:Mine", weight=1), tmp_path / "recipe").weight == 1


def test_a_misspelt_key_of_the_part_itself_is_told_and_long_errors_are_one_line(tmp_path):
    (tmp_path / "mine.py").write_text(
        "class Mine:\n    def __init__(self, size=1):\n        raise OSError('no\\nsuch\\n\\nfile')\n"
    )
    for keys, message in (
        ({"actor": {}}, r"reward.x.actor: Mine has no such argument \(did you mean 'actors'\?\); it takes \['size'\]"),
        ({}, "reward.x: Mine could not be built: OSError: no such file$"),
    ):
        with pytest.raises(PluginError, match=message):
            load_part("x", RewardPartKeys(plugin="./mine.py:Mine", weight=1, **keys), tmp_path)


def test_a_plugin_that_is_not_there_is_named_before_another_is_imported():
    parts = {"first": {"plugin": "./exits.py:X", "weight": 1}, "mine": {"plugin": "./gone.py:Mine", "weight": 1}}
    with pytest.raises(PluginError, match=r"reward\.mine\.plugin: there is no file \./gone\.py"):
        check_plugins(RewardKeys.model_validate(parts), HERE)
