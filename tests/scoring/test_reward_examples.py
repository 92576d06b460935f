"""On which tasks `rlkit reward test` tries a plugin: those of the recipe's kinds, its own ones among them."""

import json

import pytest

from rlkit.errors import UsageError
from rlkit.recipe.schema import Recipe
from rlkit.scoring.kit.cheats import EXAMPLES, FURTHER_EXAMPLES
from rlkit.scoring.kit.reward_examples import columns_of, first_tasks, recipe_examples

CODE = {"mode": "function", "entry_point": "f", "tests": [{"args": [1], "expected": 2}]}


def recipe(tmp_path, rows=None, reward=None, **data):
    if rows is not None:
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        data["path"] = str(tmp_path / "rows.jsonl")
    return Recipe.model_validate(
        {
            "run": {"name": "x"},
            "model": {"init": {}},
            "data": data,
            "reward": reward or {},
            "stages": [{"kind": "grpo", "steps": 1}],
        }
    )


def examples(found):
    return recipe_examples(found, first_tasks(found))


@pytest.mark.parametrize("kind", ["math", "exact", "choice", "numeric"])
def test_only_the_kinds_of_the_recipes_own_tasks_are_tried(tmp_path, kind):
    rows = [{"prompt": f"Question {i}?", "reference": "AB"[i % 2] if kind == "choice" else str(i)} for i in range(5)]
    found = examples(recipe(tmp_path, rows, kind=kind))
    assert {e.kind for e in found.checked} == {e.kind for e in found.cheated} == {kind}
    own = [e for e in found.checked if e.prompt.startswith("Question")]
    assert [(e.reference, e.right) for e in own] == [(row["reference"], row["reference"]) for row in rows[:2]]
    assert all(e.right != e.wrong for e in found.checked)
    assert not any(e.prompt.startswith("Question") for e in found.cheated)  # an honest thought is known there


def test_known_examples_have_the_columns_of_the_recipes_tasks(tmp_path):
    rows = [{"prompt": "p", "reference": "1", "difficulty": 3, "tolerance": 0.5}, {"prompt": "q", "reference": "2"}]
    given = recipe(tmp_path, rows)
    assert columns_of(first_tasks(given)) == {"difficulty": 1, "tolerance": 1}
    assert {e.metadata["difficulty"] for e in examples(given).cheated} == {3}
    assert not any("tolerance" in e.metadata for e in examples(given).cheated)  # it belongs to one reference


def test_a_program_is_known_for_code_and_an_object_of_a_kind_of_ones_own_is_shown_as_it_is(tmp_path):
    found = examples(recipe(tmp_path, [{"prompt": "p", "reference": CODE}]))
    assert {e.kind for e in found.checked} == {"code"}
    assert all("def " in e.right for e in found.checked)
    judges = {"accuracy": {"judges": {"sql": "./judges.py:sql"}}}
    own = examples(recipe(tmp_path, [{"prompt": "p", "reference": {"rows": 3}}], judges, kind="sql"))
    assert [(e.kind, e.reference) for e in own.checked] == [("sql", {"rows": 3})]
    assert own.cheated == own.checked


def test_without_the_data_the_recipes_keys_say_which_kinds_there_are(tmp_path):
    def kinds(**data):
        return {e.kind for e in examples(recipe(tmp_path, path="org/name", **data)).checked}

    assert kinds(kind="numeric") == {"numeric"}
    assert kinds(mapping="mbpp") == {"code"}
    assert kinds(mapping="gsm8k") == {"math"}
    assert kinds() == {"math", "code"}
    with pytest.raises(UsageError, match="no task of kind 'sql' to test the plugin on: set data"):
        kinds(kind="sql")


def test_every_known_example_is_judged_right_by_its_own_rules():
    from rewards.accuracy import Accuracy
    from rlkit.scoring.kit.cheats import group_of

    accuracy = Accuracy()
    for example in (*EXAMPLES, *FURTHER_EXAMPLES):
        scores = accuracy.score(
            group_of(example, [example.honest, example.cheat("<think>\n{thought}\n</think>\n{wrong}")])
        )
        assert [score.value for score in scores] == [1.0, 0.0], example
