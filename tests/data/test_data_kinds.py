"""Tasks of other kinds than math and code: accepted if there is a judge, inferred, and completed."""

import json

import pytest

from rlkit.data.tasks import load_demonstrations, load_tasks
from rlkit.errors import DataError
from rlkit.recipe.schema import DataKeys, PromptKeys
from rlkit.recipe.schema.reward_section import RewardKeys

CITY = {"prompt": "Which city is the capital of France?", "kind": "choice", "choices": ["Rome", "Paris"]}


def test_each_kind_keeps_its_reference_and_its_own_columns(write, load):
    rows = [
        {"prompt": "a", "reference": "Paris", "kind": "exact"},
        {"prompt": "b", "reference": 9.81, "kind": "numeric", "tolerance": 0.01},
        {**CITY, "reference": "Paris"},
        {"prompt": "d", "reference": "1/2"},
    ]
    exact, numeric, choice, math = load(write("rows.jsonl", rows)).tasks
    assert (exact.kind, exact.reference) == ("exact", "Paris")
    assert (numeric.kind, numeric.reference, numeric.metadata["tolerance"]) == ("numeric", "9.81", 0.01)
    assert (choice.kind, choice.reference, choice.metadata["choices"]) == ("choice", "B", {"A": "Rome", "B": "Paris"})
    assert math.kind == "math"


@pytest.mark.parametrize(
    ("choices", "reference"),
    [
        (["Rome", "Paris"], "B"),
        (["Rome", "Paris"], "(b)"),
        (["Rome", "Paris"], 1),
        ({"A": "Rome", "B": "Paris"}, "Paris"),
        ({"label": ["A", "B"], "text": ["Rome", "Paris"]}, "B"),
        ('["Rome", "Paris"]', "1"),
    ],
)
def test_choices_come_as_data_sets_carry_them_and_are_shown_where_the_prompt_does_not(write, load, choices, reference):
    (task,) = load(write("rows.jsonl", [{**CITY, "choices": choices, "reference": reference}])).tasks
    assert task.reference == "B"
    assert task.metadata["choices"] == {"A": "Rome", "B": "Paris"}
    assert task.prompt == "Which city is the capital of France?\n\nA. Rome\nB. Paris"
    shown = {**CITY, "prompt": "Rome (A) or Paris (B)?", "reference": reference, "choices": choices}
    assert load(write("shown.jsonl", [shown])).tasks[0].prompt == "Rome (A) or Paris (B)?"


def test_a_source_names_the_kind_of_rows_that_do_not(write, load):
    path = write("rows.csv", "question,answer,abs_tolerance\nHow long?,10,0.5\n")
    (task,) = load(path, kind="numeric", fields={"prompt": "question", "reference": "answer"}).tasks
    assert (task.kind, task.reference, task.metadata["abs_tolerance"]) == ("numeric", "10", 0.5)
    gsm = write("gsm.jsonl", [{"question": "q", "answer": "so #### 72"}])
    assert load(gsm, kind="numeric").tasks[0].kind == "numeric"
    mbpp = write("mbpp.jsonl", [{"text": "t", "test_list": ["assert f(1) == 2"]}])
    with pytest.raises(DataError, match=r"mbpp.jsonl:1: data.kind is exact, but the row is a task of kind code"):
        load(mbpp, kind="exact")
    with pytest.raises(ValueError, match="kind and filter belong to each source"):
        DataKeys.model_validate({"sources": [{"path": "a"}], "kind": "exact"})


def test_a_kind_that_nothing_judges_is_a_bad_row_with_the_nearest_one(write):
    rows = [{"prompt": "a", "reference": {"any": ["thing"]}, "kind": "sql"}, {"prompt": "b", "reference": "1"}]
    data = DataKeys.model_validate({"path": str(write("rows.jsonl", rows))})
    with pytest.raises(DataError, match=r'rows.jsonl:1: no judge for tasks of kind "sql".*reward.accuracy.judges.sql'):
        load_tasks(data, seed=0)
    own = RewardKeys.model_validate({"accuracy": {"judges": {"sql": "my_lab.judges:sql"}}})
    assert load_tasks(data, seed=0, kinds=own.kinds).tasks[0].reference == {"any": ["thing"]}
    # Another accuracy part may judge anything.
    assert RewardKeys.model_validate({"accuracy": {"plugin": "my_lab:Mine"}}).kinds is None
    assert load_tasks(data, seed=0, kinds=None).tasks[0].kind == "sql"


def test_demonstrations_may_be_of_any_kind_that_is_judged(write):
    row = {"prompt": "Capital of France?", "response": "<think>Paris</think>Paris", "kind": "exact"}
    path = write("rows.jsonl", [row])
    data = DataKeys.model_validate({"path": str(path)})
    assert load_demonstrations(data, seed=0).demonstrations[0].kind == "exact"
    path.write_text(json.dumps({**row, "kind": "exakt"}))
    with pytest.raises(DataError, match='did you mean "exact"'):
        load_demonstrations(data, seed=0)


def test_a_kind_without_a_template_takes_the_plain_one():
    prompt = PromptKeys(templates={"choice": "{prompt} One letter."})
    assert prompt.template_for("choice") == "{prompt} One letter."
    assert prompt.template_for("exact") == prompt.template_for("sql") == prompt.template
    assert prompt.template_for("code") == prompt.code_template
    assert PromptKeys(templates={"code": "{prompt}!"}).template_for("code") == "{prompt}!"
    with pytest.raises(ValueError, match="choice does not contain"):
        PromptKeys(templates={"choice": "no prompt"})


def test_a_run_reads_tasks_and_held_out_tasks_of_kinds_that_its_reward_judges(write, tiny_model, tmp_path):
    from rlkit.recipe.load import load_recipe
    from rlkit.run.inputs import read_inputs
    from rlkit.run.run_data import read_data

    write("train.jsonl", [{**CITY, "reference": "Paris"}, {"prompt": "?", "reference": {"n": 3}, "kind": "length"}])
    write("heldout.jsonl", [{"prompt": "??", "reference": {"n": 4}, "kind": "length"}])
    recipe = f"""
model: {{path: {tiny_model}}}
data: {{path: {tmp_path}/train.jsonl, prompt: {{templates: {{choice: "{{prompt}} One letter."}}}}}}
evaluation: {{sources: [{{path: {tmp_path}/heldout.jsonl}}]}}
stages: [{{kind: grpo, steps: 1}}]
rollout: {{max_tokens: 16}}
"""
    judged = "reward: {accuracy: {judges: {length: my_lab:length}}}\n"
    loaded = load_recipe(write("good.yaml", recipe + judged))
    inputs = read_inputs(loaded.recipe, read_data(loaded.recipe), tmp_path, print)
    assert [task.kind for task in inputs.train] == ["choice", "length"]
    assert [task.reference for task in inputs.heldout] == [{"n": 4}]
    shown = [inputs.renderer.render(task).text for task in inputs.train]
    assert "B. Paris One letter." in shown[0]
    assert "Put the final answer in \\boxed{}." in shown[1]
    unjudged = load_recipe(write("bad.yaml", recipe))
    with pytest.raises(DataError, match=r'train.jsonl:2: no judge for tasks of kind "length"'):
        read_data(unjudged.recipe)
