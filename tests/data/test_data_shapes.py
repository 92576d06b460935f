"""Rows as data sets and other toolkits have them: what is taken for what, by the stage that reads it."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit.data.chat_messages import conversation_of, messages_of
from rlkit.data.tasks import load_demonstrations, load_tasks
from rlkit.errors import DataError
from rlkit.recipe.schema import DataKeys

SYSTEM = {"role": "system", "content": "Be brief."}


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


BY_VALUE = {"compare": {"numbers": True}}
VERL = {
    "data_source": "openai/gsm8k",
    "prompt": [SYSTEM, user("1 + 1?")],
    "ability": "math",
    "reward_model": {"style": "rule", "ground_truth": "2"},
    "extra_info": {"index": 0},
}
TASKS = {
    # row: kind, prompt, reference, contents of the history
    "verl": (VERL, ("math", "1 + 1?", "2", ["Be brief."])),
    "messages, earlier turns": (
        {"prompt": [user("Hi"), assistant("Hello"), user("1 + 1?")], "answer": 2},
        ("math", "1 + 1?", "2", ["Hi", "Hello"]),
    ),
    "messages as JSON text": (
        {"prompt": json.dumps([SYSTEM, user("1 + 1?")]), "reference": 2.0},
        ("math", "1 + 1?", "2", ["Be brief."]),
    ),
    "messages in parts": (
        {"messages": [user([{"type": "text", "text": "1 + "}, {"type": "text", "text": "1?"}])], "answer": "2"},
        ("math", "1 + 1?", "2", []),
    ),
    "a conversation with its reply": (
        {"messages": [user("1 + 1?"), assistant("2!")], "answer": "2"},
        ("math", "1 + 1?", "2", []),
    ),
    "OpenRLHF": ({"input": "1 + 1?", "label": "2"}, ("math", "1 + 1?", "2", [])),
    "question without ####": ({"question": "1 + 1?", "answer": "2"}, ("math", "1 + 1?", "2", [])),
    "expected_answer": ({"problem": "1 + 1?", "expected_answer": "2"}, ("math", "1 + 1?", "2", [])),
    "solution with a box": ({"prompt": "1 + 1?", "solution": r"so \boxed{2}"}, ("math", "1 + 1?", "2", [])),
    "TRL, a formula as the solution": ({"prompt": [user("p")], "solution": "$x + 1$"}, ("math", "p", "$x + 1$", [])),
    "TRL, a number as the solution": ({"prompt": [user("p")], "solution": "1,024"}, ("math", "p", "1,024", [])),
    "SYNTHETIC-1, math": ({"prompt": "p", "verification_info": '{"ground_truth": "2"}'}, ("math", "p", "2", [])),
    "#### under any column": ({"prompt": "p", "ground_truth": "9 * 120 =\n#### $1,080"}, ("math", "p", "1080", [])),
    "#### keeps a pair": ({"prompt": "p", "reference": "#### (1,2)"}, ("math", "p", "(1,2)", [])),
    "true": ({"question": "Is it?", "answer": True}, ("exact", "Is it?", ["true", "yes"], [])),
    "false, math": ({"question": "Is it?", "answer": False, "kind": "math"}, ("math", "Is it?", ["false", "no"], [])),
    "accepted answers": ({"prompt": "p", "reference": ["1/2", 0.5, "1/2"]}, ("math", "p", ["1/2", "0.5"], [])),
    "one accepted answer": ({"prompt": "p", "reference": [3]}, ("math", "p", "3", [])),
    "accepted answers as JSON text": (
        {"prompt": "p", "reference": '["NYC", "New York"]'},
        ("math", "p", ["NYC", "New York"], []),
    ),
    "an interval is no list": ({"prompt": "p", "reference": "[1, 2]"}, ("math", "p", "[1, 2]", [])),
    "a set is no object": ({"prompt": "p", "reference": "{1, 2}"}, ("math", "p", "{1, 2}", [])),
    "MMLU": (
        {"question": "Which?", "choices": ["x", "y"], "answer": 1},
        ("choice", "Which?\n\nA. x\nB. y", "B", []),
    ),
    "ARC": (
        {"question": "Which?", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answerKey": "B"},
        ("choice", "Which?\n\nA. x\nB. y", "B", []),
    ),
    "true among the choices": (
        {"question": "Is it?", "answer": True, "choices": ["False", "True"]},
        ("choice", "Is it?\n\nA. False\nB. True", "B", []),
    ),
    "verl, code": (
        {"prompt": [user("Add.")], "reward_model": {"ground_truth": '{"inputs": ["1\\n"], "outputs": ["2\\n"]}'}},
        ("code", "Add.", {"mode": "stdin", "tests": [{"stdin": "1\n", "stdout": "2\n"}], **BY_VALUE}, []),
    ),
    "tests alone": (
        {"problem": "Add.", "input_output": {"inputs": ["1\n"], "outputs": ["2\n"]}},
        ("code", "Add.", {"mode": "stdin", "tests": [{"stdin": "1\n", "stdout": "2\n"}], **BY_VALUE}, []),
    ),
    "a worked answer among the choices": (
        {"question": "1 + 2?", "answer": "so #### 3", "choices": ["1", "2", "3", "4"]},
        ("choice", "1 + 2?\n\nA. 1\nB. 2\nC. 3\nD. 4", "C", []),
    ),
    "an answer in text among the choices": (
        {"problem": "1 + 2?", "answer": "3", "choices": ["1", "2", "3", "4"]},
        ("choice", "1 + 2?\n\nA. 1\nB. 2\nC. 3\nD. 4", "C", []),
    ),
    "a worked answer does not count the choices": (
        {"problem": "p", "solution": r"\boxed{1}", "choices": ["x", "y"]},
        ("math", "p", "1", []),
    ),
    "choices that do not hold the answer": (
        {"problem": "1 + 1?", "answer": "2", "choices": ["x", "y"]},
        ("math", "1 + 1?", "2", []),
    ),
}


@pytest.mark.parametrize("name", TASKS)
def test_tasks_are_read_from_the_columns_that_data_sets_use(name, write, load):
    row, expected = TASKS[name]
    (task,) = load(write("rows.jsonl", [row])).tasks
    assert (task.kind, task.prompt, task.reference, [m["content"] for m in task.history]) == expected


DEMONSTRATIONS = {
    # row: prompt, response, contents of the history
    "prompt and response": ({"prompt": "p", "response": "r"}, ("p", "r", [])),
    "prompt and completion": ({"prompt": "p", "completion": "r"}, ("p", "r", [])),
    "prompt and answer": ({"prompt": "p", "answer": "r"}, ("p", "r", [])),
    "question and a number": ({"question": "p", "answer": 2}, ("p", "2", [])),
    "Alpaca": ({"instruction": "Add.", "input": "1, 2", "output": "3"}, ("Add.\n\n1, 2", "3", [])),
    "Alpaca without input": ({"instruction": "p", "input": "", "output": "r"}, ("p", "r", [])),
    "messages": (
        {"messages": [SYSTEM, user("a"), assistant("b"), user("p"), assistant("r")]},
        ("p", "r", ["Be brief.", "a", "b"]),
    ),
    "ShareGPT": (
        {
            "conversations": [
                {"from": "system", "value": "s"},
                {"from": "human", "value": "p"},
                {"from": "gpt", "value": "r"},
            ]
        },
        ("p", "r", ["s"]),
    ),
    "messages beside their first prompt": (
        {"prompt": "a", "messages": [user("a"), assistant("b"), user("p"), assistant("r")]},
        ("p", "r", ["a", "b"]),
    ),
    "TRL, conversational": ({"prompt": [SYSTEM, user("p")], "completion": [assistant("r")]}, ("p", "r", ["Be brief."])),
    "an unusable reference": ({"prompt": "p", "response": "r", "reference": None}, ("p", "r", [])),
    "GSM8K by another name": (
        {"prompt": "p", "answer": "1+1=<<1+1=2>>2\n#### 2"},
        ("p", "<think>\n1+1=2\n</think>\n\\boxed{2}", []),
    ),
    "a solution without a box": ({"problem": "p", "solution": "It is clear."}, ("p", "It is clear.", [])),
    "own replies to GSM8K": ({"question": "p", "answer": "#### 2", "response": "r"}, ("p", "r", [])),
}


@pytest.mark.parametrize("name", DEMONSTRATIONS)
def test_demonstrations_are_read_from_the_columns_that_data_sets_use(name, write):
    row, expected = DEMONSTRATIONS[name]
    data = DataKeys(path=str(write("rows.jsonl", [row])))
    (demo,) = load_demonstrations(data, seed=0).demonstrations
    assert (demo.prompt, demo.response, [m["content"] for m in demo.history]) == expected


REFUSED_TASKS = {
    "only a reply": (
        {"prompt": "p", "response": "r"},
        "no reference to check an answer against: none of the columns prompt, response is known to hold one; name its "
        "column with data.fields.reference",
    ),
    "nearly the usual names": (
        {"promt": "p", "refrence": "1"},
        "cannot tell which of the columns promt, refrence is the prompt; name them with "
        "data.fields, such as {prompt: promt, reference: refrence}",
    ),
    "columns in capitals": (
        {"Question": "q", "Answer": 1},
        "name them with data.fields, such as {prompt: Question, reference: Answer}",
    ),
    "a question about a passage": (
        {"context": "c", "question": "q", "answer": "a"},
        'data.fields.prompt, such as "{context}\\n\\n{question}"',
    ),
    "two right choices": (
        {"prompt": "p", "reference": ["A", "B"], "choices": ["x", "y"], "kind": "choice"},
        "the reference ['A', 'B'] names more than one of the choices A, B",
    ),
    "text": ({"text": "t"}, "prompt and reply must be separate columns"),
    "an image": (
        {"prompt": [user([{"type": "image"}])], "answer": "1"},
        "message 1 of prompt has a part that is not text",
    ),
    "a role of its own": ({"prompt": [{"role": "robot", "content": "x"}], "answer": "1"}, "has the role 'robot'"),
    "the system last": ({"prompt": [user("a"), SYSTEM], "answer": "1"}, "must end with a message of the user"),
    "no user": ({"prompt": [assistant("a")], "answer": "1"}, "right before the reply; there is no other"),
    "an empty message": ({"prompt": [user(" ")], "answer": "1"}, "the user's last message of prompt is empty"),
    "an object of answers": (
        {"question": "q", "answer": {"value": "x"}},
        "the reference is an object with the keys value, but none of them contains tests of a program",
    ),
    "a solution that marks nothing": (
        {"prompt": "p", "solution": "It is x."},
        "if the whole solution is the answer, set reference: solution",
    ),
    "an empty list of messages": ({"prompt": [], "answer": "1"}, "or messages that each have role and content"),
    "a solution without a box": ({"problem": "p", "solution": "s"}, "name the columns of your own with data.fields"),
}


@pytest.mark.parametrize("name", REFUSED_TASKS)
def test_a_shape_that_is_not_taken_is_refused_with_the_way_out(name, write, load):
    row, expected = REFUSED_TASKS[name]
    with pytest.raises(DataError) as refused:
        load(write("rows.jsonl", [row]))
    assert expected in str(refused.value)
    assert "on_bad_row" not in str(refused.value)


def test_fields_reach_items_of_lists_and_json_text(write, load):
    rows = [{"turns": [{"text": "a"}, {"text": "b"}], "gold": '{"final": ["7"]}', "a.b": "column"}]
    fields = {"prompt": "turns.0.text", "reference": "gold.final.0"}
    (task,) = load(write("rows.jsonl", rows), fields=fields).tasks
    assert (task.prompt, task.reference) == ("a", "7")
    assert load(write("rows.jsonl", rows), fields={**fields, "prompt": "turns.-1.text"}).tasks[0].prompt == "b"
    assert load(write("rows.jsonl", rows), fields={**fields, "prompt": "a.b"}).tasks[0].prompt == "column"
    with pytest.raises(DataError, match=r'no column "turns\.2\.text"; the row has .*with data\.fields\.prompt'):
        load(write("rows.jsonl", rows), fields={**fields, "prompt": "turns.2.text"})


TEXTS = st.text(min_size=1).filter(str.strip)
TURNS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3)


@settings(max_examples=50, deadline=None)
@given(TURNS, st.none() | TEXTS, st.booleans(), st.booleans(), st.booleans())
def test_a_conversation_keeps_every_word_however_it_is_written(turns, system, replied, as_json, sharegpt):
    turns = [("system", system)] if system else []
    for asked, answered in turns:
        turns += [("user", asked), ("assistant", answered)]
    turns = turns if replied else turns[:-1]
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    ours = [
        {"from": names[role], "value": text} if sharegpt else {"role": role, "content": text} for role, text in turns
    ]
    messages = messages_of(json.dumps(ours) if as_json else ours)
    talk = conversation_of(messages, "messages")
    assert (talk.prompt, talk.response) == (turns[-1][0], turns[-1][1] if replied else None)
    earlier = turns[: -2 if replied else -1]
    assert [(message["role"], message["content"]) for message in talk.history] == earlier


def test_parquet_holds_messages_and_nested_references(load, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist([VERL, {**VERL, "prompt": [user("2 + 2?")]}]), tmp_path / "rows.parquet")
    first, second = load(tmp_path / "rows.parquet").tasks
    assert (first.prompt, first.history, first.reference) == ("1 + 1?", (SYSTEM,), "2")
    assert (second.prompt, second.history) == ("2 + 2?", ())


def test_missing_fields_are_inferred_from_the_columns(write, load):
    rows = [{"question": "q", "answer": "1", "level": "hard"}]
    (task,) = load(write("rows.jsonl", rows), fields={"difficulty": "level"}).tasks
    assert (task.prompt, task.reference, task.metadata["difficulty"]) == ("q", "1", "hard")


READY = {
    "gsm8k": {"question": "q", "answer": "#### 2"},
    "math": {"problem": "p", "answer": "2", "solution": "s", "subject": "Algebra", "level": 3},
    "humaneval": {
        "prompt": "def f(x):\n",
        "entry_point": "f",
        "test": "def check(candidate):\n    assert candidate(1) == 1",
    },
    "mbpp": {"text": "t", "test_list": ["assert f(1) == 1"]},
    "plain": {"prompt": "p", "reference": "2"},
    "fields": {"prompt": "p", "reference": "2"},
}


@pytest.mark.parametrize("name", READY)
def test_every_column_that_a_mapping_does_not_read_is_kept(name, write, load):
    further = {"source": "s", "tolerance": 0.1, "choices": {"A": "x", "B": "y"}, "note": None, "metadata": {"topic": 5}}
    keys = {"fields": {"prompt": "prompt"}} if name == "fields" else {} if name == "plain" else {"mapping": name}
    for how in (keys, {} if name != "fields" else keys):
        (task,) = load(write("rows.jsonl", [{**READY[name], **further}]), **how).tasks
        assert {
            "source": "s",
            "tolerance": 0.1,
            "choices": {"A": "x", "B": "y"},
            "topic": 5,
        }.items() <= task.metadata.items()
        assert not task.metadata.keys() & READY[name].keys() & {"question", "answer", "problem", "prompt", "reference"}


@pytest.mark.parametrize("row", [{"question": "Which?", "answer": "#### B"}, {"problem": "Which?", "answer": "B"}])
def test_options_reach_the_prompt_with_every_mapping(row, write, load):
    path = write("rows.jsonl", [{**row, "choices": ["x", "y"]}])
    assert load(path, kind="choice").tasks[0].prompt == "Which?\n\nA. x\nB. y"
    numeric = write("numeric.jsonl", [{**row, "answer": "#### 2", "tolerance": 0.25}])
    assert load(numeric, kind="numeric").tasks[0].metadata["tolerance"] == 0.25


def test_the_columns_that_tell_domain_and_difficulty_are_kept_too(write, load):
    path = write("rows.jsonl", [{**READY["math"], "type": "Geometry"}])
    metadata = load(path).tasks[0].metadata
    assert metadata == {"subject": "Algebra", "type": "Geometry", "level": 3, "domain": "Algebra", "difficulty": 3}


@pytest.mark.parametrize(
    ("row", "kind", "expected"),
    [
        ({"question": "q", "answer": "#### 2"}, "code", "data.kind is code, but the row has an answer"),
        ({"question": "q", "input_output": '{"inputs": ["1"], "outputs": ["2"]}'}, "math", "leave data.kind out"),
        ({"prompt": "p", "reference": '{"inputs": 1}'}, "math", "kind is math, but the reference is an object"),
    ],
)
def test_a_kind_that_the_rows_are_not_of_is_refused(row, kind, expected, write, load):
    with pytest.raises(DataError) as refused:
        load(write("rows.jsonl", [row]), kind=kind)
    assert expected in str(refused.value)


def test_the_message_names_the_key_of_the_section_that_mends_it(write):
    tasks = str(write("tasks.jsonl", [{"prompt": "p", "reference": "1"}]))
    other = str(write("other.jsonl", [{"q": "p", "a": "1"}, {"q": "p", "a": "1"}]))
    one, several = {"path": other}, {"sources": [{"path": tasks}, {"path": other}]}
    for data, key, expected in (
        (one, "data", "data.fields.prompt and data.fields.reference"),
        (several, "data", "data.sources.1.fields.prompt and data.sources.1.fields.reference"),
    ):
        with pytest.raises(DataError) as refused:
            load_tasks(DataKeys.model_validate(data), seed=0, key=key)
        assert str(refused.value).startswith(
            f"{other}:1: cannot tell which of the columns a, q is the prompt; name them with {expected}"
        )
        assert str(refused.value).endswith("(2 of the 2 rows read so far cannot be used)")
    with pytest.raises(DataError, match=r"name its column with stages\.0\.data\.fields\.response"):
        load_demonstrations(DataKeys(path=tasks), seed=0, key="stages.0.data")
    mostly = write("mostly.jsonl", [{"prompt": "p", "response": "r"}, {"prompt": "p", "response": ""}])
    with pytest.raises(DataError, match=r"fix the row or set stages\.0\.data\.on_bad_row: skip"):
        load_demonstrations(DataKeys(path=str(mostly)), seed=0, key="stages.0.data")


def test_demonstrations_without_a_thought_are_refused_where_the_recipe_forces_one(write):
    data = DataKeys(path=str(write("rows.jsonl", [{"prompt": "p", "response": "r"}])))
    with pytest.raises(DataError, match=r"does not begin with <think>.*set data\.prompt\.force_think: false"):
        load_demonstrations(data, seed=0, must_think=True)
    assert load_demonstrations(data, seed=0).demonstrations[0].response == "r"


@pytest.mark.parametrize(("num_bad", "advised"), [(1, True), (80, True), (95, False), (100, False)])
def test_skipping_is_advised_only_where_it_leaves_something(num_bad, advised, write, load):
    rows = [{"prompt": "p", "reference": None}] * num_bad + [{"prompt": "p", "reference": "1"}] * (100 - num_bad)
    with pytest.raises(DataError) as refused:
        load(write("rows.jsonl", [{"prompt": "p", "reference": "1"}, *rows] if num_bad < 100 else rows))
    assert ("set data.on_bad_row: skip" in str(refused.value)) == advised
    assert ("data.fields.reference" in str(refused.value)) == (not advised)
