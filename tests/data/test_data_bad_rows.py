"""Every kind of row that cannot be used: the sentence names file, line and reason; skipping counts it."""

import json

import pytest

from rlkit.errors import DataError

GOOD = '{"prompt": "What is 1 + 1?", "reference": "2"}'
GSM = '{"question": "q", "answer": "#### 2"}'
MATH = '{"problem": "p", "solution": "so \\\\boxed{2}"}'
EVAL = {"prompt": "def f(x):\n", "entry_point": "f", "test": "def check(candidate):\n    assert candidate(1) == 1"}
MBPP = {"text": "t", "test_list": ["assert f(1) == 1"]}


def row(**columns):
    return json.dumps({"prompt": "p", "reference": "2", **columns})


def code(**reference):
    return row(reference={"mode": "function", "entry_point": "f", "tests": [{"args": [1], "expected": 1}], **reference})


BAD_JSONL = {
    "invalid JSON": (GOOD, '{"prompt": "p", ', "invalid JSON (Expecting property name enclosed in double quotes"),
    "a list": (GOOD, "[1, 2]", "a row must be a JSON object, here it is a list"),
    "a text": (GOOD, '"hello"', "a row must be a JSON object, here it is text"),
    "too deep": (GOOD, '{"prompt": ' + "[" * 100_000, "invalid JSON ("),
    "not UTF-8": (GOOD, b'{"prompt": "caf\xe9", "reference": "2"}', "not UTF-8 (byte 16 of the line)"),
    "no prompt column": (GOOD, '{"reference": "2"}', 'no column "prompt"; the row has reference'),
    "no reference column": (GOOD, '{"prompt": "p"}', 'no column "reference"; the row has prompt'),
    "empty prompt": (GOOD, row(prompt="  \n"), "empty prompt"),
    "null prompt": (GOOD, row(prompt=None), "no prompt (the column is null)"),
    "prompt is a list": (GOOD, row(prompt=["a"]), "column prompt holds a list; it must be text"),
    "prompt is a number": (GOOD, row(prompt=3), "column prompt holds a number where text is expected"),
    "NUL byte": (GOOD, row(prompt="a\0b"), "the prompt contains a NUL byte"),
    "lone surrogate": (GOOD, row(prompt="a\ud800"), "the prompt contains half of a surrogate pair"),
    "null reference": (GOOD, row(reference=None), "no reference (the column is null)"),
    "empty reference": (GOOD, row(reference=" "), "empty reference"),
    "reference is a list of lists": (GOOD, row(reference=[[1]]), "the reference is a list, not an answer"),
    "reference is an empty list": (GOOD, row(reference=[]), "the reference is an empty list"),
    "reference is an object without a mode": (
        GOOD,
        row(reference='{"value": 3}'),
        "the reference is an object with the keys value, but none of them contains tests of a program",
    ),
    "reference is NaN": (GOOD, '{"prompt": "p", "reference": NaN}', "the reference is nan, not an answer"),
    "unknown mode": (GOOD, code(mode="run"), 'the code reference\'s mode is "run", not function, asserts or stdin'),
    "no mode": (GOOD, row(reference={"tests": []}), "the code reference's mode is null"),
    "no tests": (GOOD, code(tests=[]), "the code reference has no tests"),
    "no entry point": (GOOD, code(entry_point=None), "the code reference has no entry_point"),
    "test without expected": (GOOD, code(tests=[{"args": []}]), "test 1 of the code reference lacks args and expected"),
    "stdin without stdout": (
        GOOD,
        code(mode="stdin", tests=[{"stdin": ""}]),
        "test 1 of the code reference lacks stdin and stdout",
    ),
    "no test code": (GOOD, code(mode="asserts", test_code=" "), "the code reference has no test_code"),
    "reference JSON broken": (GOOD, row(reference='{"mode": '), "the reference looks like a code reference"),
    "unknown kind": (
        GOOD,
        row(kind="maths"),
        'no judge for tasks of kind "maths" (did you mean "math"?); known kinds: ',
    ),
    "kind is a number": (GOOD, row(kind=3), "kind is 3, not a kind of task"),
    "no choices": (GOOD, row(kind="choice", reference="AB"), "without metadata.choices the reference of a choice is"),
    "one choice": (GOOD, row(kind="choice", choices=["x"]), "choices must be at least two texts"),
    "gold is no choice": (
        GOOD,
        row(kind="choice", reference="7", choices=["x", "y"]),
        "the reference '7' is neither a letter nor a text of the choices A, B",
    ),
    "gold is two choices": (
        GOOD,
        row(kind="choice", reference=0, choices=["1", "0"]),
        "the reference '0' names more than one of the choices A, B",
    ),
    "no number": (GOOD, row(kind="numeric", reference="many"), "the reference 'many' of a task of kind numeric is no"),
    "tolerance": (GOOD, row(kind="numeric", tolerance=1.5), "tolerance is '1.5', and must be a number from 0"),
    "kind against reference": (GOOD, row(kind="code"), "kind is code, but the reference is text"),
    "null id": (GOOD, row(id=None), "the id is null, not text or a number"),
    "duplicate id": (row(id="a"), row(id="a"), 'duplicate id "rows.jsonl:a" (first at '),
    "gsm8k without ####": (GSM, '{"question": "q", "answer": "2"}', 'the answer has no "####"'),
    "gsm8k ends at ####": (GSM, '{"question": "q", "answer": "a ####"}', 'there is nothing after "####"'),
    "gsm8k answer is a number": (GSM, '{"question": "q", "answer": 2}', "column answer holds a number"),
    "math box unfinished": (
        MATH,
        '{"problem": "p", "solution": "\\\\boxed{2"}',
        "the solution has no complete \\boxed{}",
    ),
    "math box empty": (MATH, '{"problem": "p", "solution": "\\\\boxed{}"}', "the solution has no complete \\boxed{}"),
    "humaneval test is no Python": (
        json.dumps(EVAL),
        json.dumps({**EVAL, "test": "def check("}),
        "column test is not Python",
    ),
    "humaneval no entry point": (json.dumps(EVAL), json.dumps({**EVAL, "entry_point": ""}), "empty entry_point"),
    "mbpp no tests": (json.dumps(MBPP), json.dumps({**MBPP, "test_list": []}), "column test_list is not a list"),
    "mbpp broken test": (
        json.dumps(MBPP),
        json.dumps({**MBPP, "test_list": ["assert f("]}),
        "column test_list is not Python",
    ),
}


@pytest.mark.parametrize("name", BAD_JSONL)
def test_bad_row_stops_with_file_line_and_reason_and_skipping_lists_it(name, write, load):
    good, bad, reason = BAD_JSONL[name]
    raw = bad if isinstance(bad, bytes) else bad.encode()
    path = write("rows.jsonl", good.encode() + b"\n\n" + raw + b"\n")

    with pytest.raises(DataError) as stopped:
        load(path)
    message = str(stopped.value)
    assert message.startswith(f"{path}:3: {reason}")
    assert message.endswith("; fix the row or set data.on_bad_row: skip")

    loaded = load(path, on_bad_row="skip")
    assert len(loaded.tasks) == 1
    assert [b.where for b in loaded.skipped] == [f"{path}:3"]
    assert loaded.skipped[0].reason.startswith(reason)


BAD_CSV = {
    "too few fields": (b"p", "1 fields where the header has 2"),
    "too many fields": (b"p,2,3", "3 fields where the header has 2"),
    "text after a quote": (b'"p"x,2', "invalid CSV"),
    "open quote": (b'"p,2', "invalid CSV"),
    "not UTF-8": (b"caf\xe9,2", "not UTF-8"),
    "no reference": (b"p,", "empty reference"),
    "no prompt": (b",2", "empty prompt"),
}


@pytest.mark.parametrize("name", BAD_CSV)
def test_bad_csv_row_costs_only_itself(name, write, load):
    bad, reason = BAD_CSV[name]
    path = write("rows.csv", b'prompt,reference\n"two\nlines",1\n' + bad + b"\nlast,3\n")
    with pytest.raises(DataError) as stopped:
        load(path)
    assert str(stopped.value).startswith(f"{path}:4: {reason}")
    loaded = load(path, on_bad_row="skip")
    assert [t.prompt for t in loaded.tasks] == ["two\nlines", "last"]
    assert [b.where for b in loaded.skipped] == [f"{path}:4"]


def test_json_list_items_are_named_by_the_line_they_begin_on(write, load):
    path = write("rows.json", '[\n  {"prompt": "a",\n   "reference": 1},\n\n  {"prompt": "b"}, 7\n]')
    loaded = load(path, on_bad_row="skip")
    assert [t.reference for t in loaded.tasks] == ["1"]
    assert [b.where for b in loaded.skipped] == [f"{path}:5", f"{path}:5"]


BROKEN_FILES = {
    "a.jsonl": (b"", "it is empty and has no rows"),
    "b.jsonl": (b"\n  \n", "it is empty and has no rows"),
    "c.json": (b"[]", "it is empty and has no rows"),
    "d.json": (b'{"prompt": "p"}', "not a list of objects; JSON lines need a name that ends in .jsonl"),
    "e.json": (b'[{"prompt": "p"}\n {"prompt": "q"}]', ":1: invalid JSON (no comma or ] after this item)"),
    "f.json": (b'[{"prompt": "p"},\n{]', ":2: invalid JSON"),
    "g.json": (b'[{"prompt": "p"}', "invalid JSON"),
    "h.json": (b'[\n"\xff"]', ":2: not UTF-8"),
    "i.csv": (b"a,a\n1,2\n", ":1: two columns have the same name"),
    "j.csv": (b"prompt,reference\n", "it is empty and has no rows"),
    "k.parquet": (b"not parquet", "not a readable Parquet file"),
    "l.txt": (b"hello", "cannot tell the format; the name must end in one of .jsonl"),
    "m.jsonl": (b'{"a": 1}\n', "cannot tell which of the columns a is the prompt"),
    "n.jsonl": (b'[\n{"prompt": "p", "reference": "1"}\n]', "a JSON list needs a name that ends in .json"),
    "o.jsonl": ('{"prompt": "p", "reference": "1"}'.encode("utf-16"), "UTF-16 or UTF-32, not UTF-8; save the file as"),
    "p.csv": ("prompt,reference\np,1\n".encode("utf-16"), "UTF-16 or UTF-32, not UTF-8; save the file as UTF-8"),
    "q.json": (b'{"a": [{}], "b": [{}]}', "the file has the lists a, b: keep only the one with the rows"),
    "r.csv": (b"prompt;reference\np;1\n", ":1: the columns are separated by ';', but must be separated by commas"),
    "s.json": (b'{"data": [{"prompt": "p"}', "not a list of objects"),
}


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_broken_file_is_named_even_when_rows_may_be_skipped(name, write, load):
    content, reason = BROKEN_FILES[name]
    path = write(name, content)
    with pytest.raises(DataError) as stopped:
        load(path, on_bad_row="skip")
    assert str(path) in str(stopped.value)
    assert reason in str(stopped.value)


@pytest.mark.parametrize("before", ["", "\n\n", "\ufeff"])
def test_rows_may_stand_in_the_only_list_of_a_json_object(before, write, load):
    path = write("rows.json", f'{before}{{"version": "[1", "data":\n[{GOOD},\n{GOOD}], "size": 2}}')
    loaded = load(path)
    assert [t.reference for t in loaded.tasks] == ["2", "2"]
    assert list(loaded.where.values()) == [f"{path}:{2 + before.count(chr(10)) + i}" for i in range(2)]


def test_truncated_gzip_is_named(write, load):
    path = write("rows.jsonl.gz", (GOOD + "\n") * 50)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match=r"cannot be read .*download it again"):
        load(path)


def test_nothing_left_after_skipping_stops_with_the_first_reason(write, load):
    path = write("rows.jsonl", [{"prompt": "", "reference": "1"}, {"prompt": "p", "reference": ""}])
    with pytest.raises(DataError, match=r"none of its 2 rows can be used; the first: .*rows.jsonl:1: empty prompt"):
        load(path, on_bad_row="skip")


def test_a_first_row_without_columns_does_not_decide_the_mapping(write, load):
    path = write("rows.jsonl", ["x", {}, {"question": "q", "answer": "#### 2"}])
    loaded = load(path, on_bad_row="skip")
    assert [t.reference for t in loaded.tasks] == ["2"]
    assert len(loaded.skipped) == 2
