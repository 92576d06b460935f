"""Reading good recipes: defaults, overrides, anchors, positions, and what is written back."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rlkit.errors import RecipeError, did_you_mean
from rlkit.recipe.load import LoadedRecipe, load_recipe
from rlkit.recipe.positions import MAX_NODES, parse_value, read_yaml
from rlkit.recipe.schema import GrpoKeys, Recipe, SftKeys

MINIMAL = 'model: {init: {}}\ndata: {path: "builtin:quickstart"}\nstages: [{kind: grpo, steps: 3}]\n'


def load(tmp_path: Path, text: str, *overrides: str) -> LoadedRecipe:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    return load_recipe(path, overrides)


def test_the_smallest_recipe_loads_with_every_default(tmp_path: Path) -> None:
    loaded = load(tmp_path, MINIMAL)
    stage = loaded.recipe.stages[0]
    assert isinstance(stage, GrpoKeys)
    assert (stage.steps, stage.prompts_per_step, stage.samples_per_prompt) == (3, 32, 8)
    assert loaded.recipe.reward.weights == {"accuracy": 0.4, "reasoning": 0.3, "format": 0.2, "efficiency": 0.1}
    assert loaded.base_dir == tmp_path


@pytest.mark.parametrize("text", ["1e-5", "1E-5", "+1e-5", "0.00001", "1.0e-5"])
def test_a_learning_rate_may_be_written_without_a_dot(text: str, tmp_path: Path) -> None:
    loaded = load(tmp_path, MINIMAL.replace("steps: 3", f"steps: 3, learning_rate: {text}"))
    assert loaded.recipe.stages[0].learning_rate == 1e-5


def test_the_resolved_recipe_loads_to_an_equal_one(tmp_path: Path) -> None:
    text = MINIMAL + "reward: {format: null, mine: {plugin: 'a:B', weight: 2, limit: 7}}\nrun: {name: x}\n"
    first = load(tmp_path, text, "stages.0.betas=[0.8, 0.9]", "rollout.stop=[a, '\\n']")
    second = load(tmp_path, yaml.safe_dump(first.resolved, sort_keys=False))
    assert second.recipe == first.recipe
    assert set(second.recipe.reward.parts) == {"accuracy", "reasoning", "efficiency", "mine"}
    assert second.recipe.reward.parts["mine"].arguments == {"limit": 7}


def test_overrides_reach_maps_lists_and_sections_that_are_not_there(tmp_path: Path) -> None:
    recipe = load(
        tmp_path,
        MINIMAL,
        "stages.0.steps=5",
        "stages.0.learning_rate=1e-4",
        "run.deterministic=true",
        "rollout.stop=[a, b]",
        "reward.accuracy.weight=0.6",
        "data.prompt.template=Q: {prompt}",
        "data.max_rows=12",
    ).recipe
    assert recipe.stages[0].steps == 5
    assert recipe.stages[0].learning_rate == 1e-4
    assert recipe.run.deterministic
    assert recipe.rollout.stop == ["a", "b"]
    assert recipe.reward.weights["accuracy"] == pytest.approx(0.6 / 1.2)
    assert recipe.data.prompt.template == "Q: {prompt}"
    assert recipe.data.max_rows == 12


def test_the_last_of_two_equal_overrides_wins(tmp_path: Path) -> None:
    assert load(tmp_path, MINIMAL, "run.seed=1", "run.seed=2").recipe.run.seed == 2


@pytest.mark.parametrize(("text", "name"), [("2026", "2026"), ("1e3", "1e3"), ("no", "no"), ("0x1F", "0x1F")])
def test_a_text_override_needs_no_second_quotes(text: str, name: str, tmp_path: Path) -> None:
    assert load(tmp_path, MINIMAL, f"run.name={text}").recipe.run.name == name


def test_a_model_override_drops_the_other_way_to_give_one(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    assert load(tmp_path, MINIMAL, f"model.path={tmp_path}/m").recipe.model.init is None
    text = MINIMAL.replace("init: {}", "path: org/name")
    recipe = load(tmp_path, text, "model.init.hidden_size=64", "model.init.num_heads=2").recipe
    assert recipe.model.path is None
    assert recipe.model.init is not None
    assert recipe.model.init.hidden_size == 64


def test_two_alternatives_both_given_as_overrides_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"^override model.path=a/b: model: give exactly one of model.path"):
        load(tmp_path, MINIMAL, "model.path=a/b", "model.init={}")


def test_a_data_path_override_drops_sources_and_keeps_the_mapping(tmp_path: Path) -> None:
    text = MINIMAL.replace('path: "builtin:quickstart"', "sources: [{path: org/a}, {path: org/b}]")
    recipe = load(tmp_path, text, "data.path=org/c").recipe
    assert [source.path for source in recipe.data.all_sources()] == ["org/c"]
    text = MINIMAL.replace('"builtin:quickstart"', "org/a, mapping: gsm8k, split: test")
    recipe = load(tmp_path, text, "data.path=org/c").recipe
    assert (recipe.data.path, recipe.data.mapping, recipe.data.split) == ("org/c", "gsm8k", "test")


def test_a_steps_override_drops_epochs(tmp_path: Path) -> None:
    text = MINIMAL.replace("kind: grpo, steps: 3", "kind: sft, epochs: 2")
    stage = load(tmp_path, text, "stages.0.steps=7").recipe.stages[0]
    assert isinstance(stage, SftKeys)
    assert (stage.steps, stage.epochs) == (7, None)


def test_an_override_of_an_anchor_changes_one_place_only(tmp_path: Path) -> None:
    text = (
        "model: {init: {}}\ndata: {path: 'builtin:quickstart'}\nstages:\n"
        "  - &first {kind: grpo, steps: 3}\n  - *first\n  - {<<: *first, steps: 9}\n"
    )
    recipe = load(tmp_path, text, "stages.1.steps=5").recipe
    assert [stage.steps for stage in recipe.stages] == [3, 5, 9]


def test_a_home_folder_is_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    assert load(tmp_path, MINIMAL, "model.path=~/model").recipe.model.path == f"{tmp_path}/model"


@pytest.mark.parametrize("name", ["org/model", "org/model-1.5B", "gpt2"])
def test_a_hub_name_is_left_to_later(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(tmp_path, MINIMAL, f"model.path={name}").recipe.model.path == name


def test_a_later_check_names_the_place_of_a_key(tmp_path: Path) -> None:
    loaded = load(tmp_path, MINIMAL + "reward:\n  mine:\n    plugin: a:B\n    weight: 1\n    limit: 3\n", "run.seed=4")
    assert str(loaded.error("reward.mine.limit", "no.")) == f"{tmp_path}/r.yaml:8: reward.mine.limit: no."
    assert str(loaded.error("run.seed", "no.")) == "override run.seed=4: no."
    assert str(loaded.error("stages.0.clip_low", "no.")) == f"{tmp_path}/r.yaml:3: stages.0.clip_low: no."


def test_a_file_of_many_aliases_is_refused_in_no_time(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    (tmp_path / "r.yaml").write_text("\n".join(lines))
    with pytest.raises(RecipeError, match=f"more than {MAX_NODES} values"):
        read_yaml(tmp_path / "r.yaml")


# PyYAML writes the text "1e5" without quotes; as a value our loader reads a number there, as YAML 1.2 does.
words = st.text(max_size=8).filter(
    lambda text: not re.fullmatch(r"[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+", text)
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


@given(data=st.dictionaries(st.text(st.characters(codec="ascii"), max_size=8), plain, min_size=1, max_size=4))
def test_reading_agrees_with_pyyaml_and_knows_every_key(
    data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("yaml") / "r.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    read, positions = read_yaml(path)
    assert read == data
    assert all(positions.is_written((key,)) for key in data)
    assert all(1 <= line <= len(path.read_text(encoding="utf-8").splitlines()) for line in positions.lines.values())


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_every_way_python_writes_a_number_is_read_as_that_number(value: float) -> None:
    assert parse_value(repr(value)) == value
    assert isinstance(parse_value(repr(value)), float)


@given(key=st.sampled_from(list(Recipe.model_fields)), position=st.integers(0, 20))
def test_a_key_with_one_letter_lost_is_recognised(key: str, position: int) -> None:
    misspelt = key[: position % len(key)] + key[position % len(key) + 1 :]
    assert did_you_mean(misspelt, Recipe.model_fields) == f"; did you mean {key!r}?"


@given(junk=plain, where=st.sampled_from(["model", "data", "stages", "reward", "rollout", "run", "evaluation"]))
def test_no_value_at_all_makes_loading_crash(junk: Any, where: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("yaml") / "r.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(MINIMAL) | {where: junk}), encoding="utf-8")
    with contextlib.suppress(RecipeError):
        load_recipe(path, ())
