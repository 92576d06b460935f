"""A plugin's code is known by what its files say, wherever they lie."""

from dataclasses import dataclass

from rewards.accuracy import Accuracy
from rlkit.provenance import code_hashes, library_versions
from rlkit.scoring.plugin import load_parts
from tests.recipe.test_recipe_load import load

RECIPE = """
model: {init: {}}
data: {path: "builtin:quickstart"}
stages: [{kind: grpo, steps: 3}]
reward:
  mine: {plugin: ./mine.py:Mine, weight: 1}
  theirs: {plugin: {trl: "./theirs.py:reward"}, weight: 1}
"""
MINE = """
from rlkit import Score
class Mine:
    def score(self, group):
        return [Score(1.0) for _ in group.samples]
"""
THEIRS = "def reward(completions, **columns):\n    return [1.0] * len(completions)\n"


def hashes(tmp_path, mine, theirs):
    (tmp_path / "mine.py").write_text(mine)
    (tmp_path / "theirs.py").write_text(theirs)
    loaded = load(tmp_path, RECIPE)
    return code_hashes((part.name, part.plugin) for part in load_parts(loaded.recipe.reward, tmp_path))


def test_the_hash_follows_the_code_and_nothing_else(tmp_path):
    first = hashes(tmp_path, MINE, THEIRS)
    assert set(first) == {"mine", "theirs", "accuracy", "reasoning", "format", "efficiency"}
    assert hashes(tmp_path, MINE, THEIRS) == first
    other = hashes(tmp_path, MINE.replace("1.0", "2.0"), THEIRS)
    assert {name for name in first if other[name] != first[name]} == {"mine"}
    other = hashes(tmp_path, MINE, THEIRS.replace("1.0", "2.0"))
    assert {name for name in first if other[name] != first[name]} == {"theirs"}


def test_a_package_counts_whole():
    """Another file of the plugin's package changes what it does as well."""
    assert code_hashes([("a", Accuracy)]) == {
        "a": code_hashes([("b", __import__("rewards.format").format.Format)])["b"]
    }


def test_what_has_no_source_still_has_a_hash():
    namespace = {}
    exec("class Made:\n    pass", namespace)
    assert len(code_hashes([("made", dataclass(namespace["Made"])())])["made"]) == 32


def test_versions_name_what_is_installed():
    found = library_versions()
    assert {"python", "torch", "ray", "transformers"} <= set(found)
