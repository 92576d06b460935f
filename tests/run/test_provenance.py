"""A plugin's code is known by what its files say, wherever they lie."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from huggingface_hub import HfApi

from rewards.accuracy import Accuracy
from rlkit.run.provenance import code_hashes, library_versions, model_hashes
from rlkit.scoring.plugins.plugin import load_parts
from rlkit.stages.registry import stages_of
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


def test_the_code_of_a_loss_of_ones_own_counts_by_its_recipe_key(tmp_path):
    loss = (
        "from rlkit import PolicyLoss\ndef mine(tokens, ratio_C, clip):\n    return PolicyLoss(-ratio_C, ratio_C > 1)\n"
    )
    (tmp_path / "loss.py").write_text(loss)
    loaded = load(tmp_path, RECIPE.replace("steps: 3}", "steps: 3}, {kind: grpo, steps: 3, objective: ./loss.py:mine}"))
    hashed = code_hashes(named for stage in stages_of(loaded.recipe) for named in stage.user_code(tmp_path))
    assert set(hashed) == {"stages.1.objective"}
    (tmp_path / "loss.py").write_text(loss + "# changed\n")
    again = code_hashes(named for stage in stages_of(loaded.recipe) for named in stage.user_code(tmp_path))
    assert again != hashed


@pytest.mark.parametrize("form", ["functools.partial(score, 1.0)", "Made()", "timed(bare)"])
def test_the_code_of_a_foreign_function_counts_in_every_form(tmp_path, form):
    theirs = f"""
import functools
from tests.scoring.foreign_forms import timed

def score(value, completions, **kwargs):
    return [value] * len(completions)

def bare(completions, **kwargs):
    return score(1.0, completions)

class Made:
    def __call__(self, completions, **kwargs):
        return score(1.0, completions)

reward = {form}
"""
    first, other = hashes(tmp_path, MINE, theirs), hashes(tmp_path, MINE, theirs.replace("1.0", "2.0"))
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


def test_a_start_model_is_known_by_its_files_wherever_it_lies(tmp_path):
    path, big = tmp_path / "model", bytearray(100 * 2**20)
    text = RECIPE.replace("{init: {}}", "{path: model}")

    def written(config=b"{}", readme=b"", at=None):
        path.mkdir(exist_ok=True)
        (path / "config.json").write_bytes(config)
        (path / "README.md").write_bytes(readme)
        with (path / "model.safetensors").open("wb") as file:
            file.write(big)
            if at is not None:
                file.seek(at)
                file.write(b"x" * 2**18)  # training changes all of it; of large files blocks are read
        return model_hashes(load(tmp_path, text, f"model.path={path}").recipe)

    first = written()
    assert list(first) == ["model.path"]
    assert written(readme=b"more") == first
    changed = [written(config=b"[]"), *(written(at=at) for at in (0, 40 * 2**20, len(big) - 2**18))]
    assert len({tuple(found.items()) for found in (first, *changed)}) == 5
    path = path.rename(tmp_path / "moved")
    assert written() == first


def test_a_model_made_from_nothing_has_no_hash(tmp_path):
    assert model_hashes(load(tmp_path, RECIPE).recipe) == {}


def test_a_model_of_the_hub_is_known_by_its_files_and_not_by_its_card(tmp_path, monkeypatch):
    def hashed(**files):
        def model_info(api, name, **keys):
            return SimpleNamespace(siblings=[SimpleNamespace(rfilename=n, blob_id=blob) for n, blob in files.items()])

        monkeypatch.setattr(HfApi, "model_info", model_info)
        return model_hashes(load(tmp_path, RECIPE.replace("{init: {}}", "{path: some/model}")).recipe)

    first = hashed(**{"config.json": "a", "model.safetensors": "b", "README.md": "c"})
    assert list(first) == ["model.path"]
    assert hashed(**{"model.safetensors": "b", "config.json": "a", "README.md": "d", ".gitattributes": "e"}) == first
    assert hashed(**{"config.json": "a", "model.safetensors": "c", "README.md": "c"}) != first


def test_a_hub_that_does_not_answer_is_no_answer(tmp_path, monkeypatch):
    def model_info(api, name, **keys):
        raise RuntimeError("no route to host")

    monkeypatch.setattr(HfApi, "model_info", model_info)
    assert model_hashes(load(tmp_path, RECIPE.replace("{init: {}}", "{path: some/model}")).recipe) == {}
