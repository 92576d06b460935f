import json
from collections import Counter

import pytest

from rlkit.data import hub
from rlkit.data.tasks import load_demonstrations, load_sources, load_tasks
from rlkit.data.worked import last_boxed
from rlkit.errors import DataError
from rlkit.recipe.schema import DataKeys, SourceKeys

ROWS = [
    {"prompt": "a", "reference": "1", "metadata": {"domain": "algebra", "difficulty": 1}},
    {"prompt": "b", "reference": 2, "metadata": {"domain": "geometry", "difficulty": "3"}},
    {"prompt": "c", "reference": 2.5, "metadata": {"domain": "algebra", "difficulty": 3}},
]


def demos(path, **keys):
    return load_demonstrations(DataKeys.model_validate({"path": str(path), **keys}), seed=0).demonstrations


def test_every_format_gives_the_same_tasks(write, load, tmp_path):
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = json.dumps(ROWS, indent=1)
    flat = "\ufeffprompt,reference,domain,difficulty\r\n" + "".join(
        f"{r['prompt']},{r['reference']},{r['metadata']['domain']},{r['metadata']['difficulty']}\r\n" for r in ROWS
    )
    columns = {"prompt": ["a", "b", "c"], "reference": ["1", "2", "2.5"], "domain": ["algebra", "geometry", "algebra"]}
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    datasets.Dataset.from_dict(columns).save_to_disk(str(tmp_path / "saved"))
    datasets.DatasetDict({"train": datasets.Dataset.from_dict(columns)}).save_to_disk(str(tmp_path / "dict"))
    paths = [
        write("rows.jsonl", ROWS),
        write("rows.jsonl.gz", ROWS),
        write("rows.json", text),
        write("rows.json.gz", text),
        write("rows.csv", flat),
        write("rows.csv.gz", flat),
        tmp_path / "rows.parquet",
        tmp_path / "saved",
        tmp_path / "dict",
    ]
    for path in paths:
        tasks = load(path).tasks
        seen = [(t.prompt, t.kind, t.reference, t.metadata["domain"]) for t in tasks]
        assert seen == [
            ("a", "math", "1", "algebra"),
            ("b", "math", "2", "geometry"),
            ("c", "math", "2.5", "algebra"),
        ]
        assert len({t.id for t in tasks}) == 3
        assert all(t.id.startswith(path.name) for t in tasks)


def test_ids_do_not_depend_on_the_folder_and_name_the_line(write, load):
    one, two = write("x/rows.jsonl", ROWS), write("y/rows.jsonl", ROWS)
    assert [t.id for t in load(one).tasks] == [t.id for t in load(two).tasks] == [f"rows.jsonl:{n}" for n in (1, 2, 3)]
    both = load_sources([SourceKeys(path=str(one)), SourceKeys(path=str(two))], "stop", seed=0)
    assert len({t.id for t in both.tasks}) == 6
    assert both.where[both.tasks[3].id] == f"{two}:1"


def test_folder_gives_the_files_of_the_split(write, load):
    folder = write("set/gsm_train.jsonl", ROWS[:1]).parent
    write("set/gsm_test.jsonl", ROWS[1:2])
    write("set/README.md", "hello")
    write("set/.cache/train.jsonl", ROWS)
    assert [t.prompt for t in load(folder).tasks] == ["a"]
    assert [t.prompt for t in load(folder, split="test").tasks] == ["b"]
    with pytest.raises(DataError, match=r'no split "tets" \(did you mean "test"\?\); it has test, train'):
        load(folder, split="tets")


def test_folder_without_split_names_is_all_train(write, load):
    folder = write("set/a.jsonl", ROWS[:1]).parent
    write("set/more/b.csv", "prompt,reference\nz,9\n")
    tasks = load(folder).tasks
    assert [(t.id, t.prompt) for t in tasks] == [("set/a.jsonl:1", "a"), ("set/more/b.csv:2", "z")]
    with pytest.raises(DataError, match="it has train"):
        load(folder, split="test")


def test_folder_without_data_and_missing_file_are_named(write, load, tmp_path):
    write("docs/README.md", "x")
    with pytest.raises(DataError, match="no data files in this folder"):
        load(tmp_path / "docs")
    write("gsm8k_train.jsonl", ROWS)
    with pytest.raises(DataError, match=r'no such file or folder \(did you mean "gsm8k_train.jsonl"\?\)'):
        load(tmp_path / "gsm8k_trian.jsonl")
    with pytest.raises(DataError, match="nowhere does not exist either"):
        load(tmp_path / "nowhere" / "a.jsonl")


def test_saved_dataset_without_the_split_names_the_nearest(load, tmp_path):
    import datasets

    part = datasets.Dataset.from_dict({"prompt": ["a"], "reference": ["1"]})
    datasets.DatasetDict({"train": part, "test": part}).save_to_disk(str(tmp_path / "d"))
    with pytest.raises(DataError, match=r'no split "tests" \(did you mean "test"\?\); it has test, train'):
        load(tmp_path / "d", split="tests")


def test_hub_data_set_goes_through_load_dataset(load, monkeypatch):
    import datasets

    asked = []

    def fake(name, config, split):
        asked.append((name, config, split))
        return datasets.Dataset.from_dict({"question": ["q"], "answer": ["#### 1,200"]})

    monkeypatch.setattr(hub, "_probe", lambda name: None)
    monkeypatch.setattr(datasets, "load_dataset", fake)
    tasks = load("openai/gsm8k?config=main", split="test").tasks
    assert asked == [("openai/gsm8k", "main", "test")]
    assert [(t.id, t.reference) for t in tasks] == [("gsm8k?config=main/test:1", "1200")]


def test_hub_that_does_not_answer_is_one_sentence_within_the_deadline(load, monkeypatch):
    import threading

    monkeypatch.setattr(hub, "PROBE_S", 0.05)
    monkeypatch.setattr(hub, "_probe", lambda name: threading.Event().wait())
    monkeypatch.setattr(hub, "_load", lambda *_: threading.Event().wait())
    with pytest.raises(DataError, match=r"could not be loaded from the Hugging Face Hub .no answer.*give its path"):
        load("openai/gsm8k")


def test_hub_error_is_one_sentence(load, monkeypatch):
    def fail(*_):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(hub, "_probe", fail)
    monkeypatch.setattr(hub, "_load", fail)
    with pytest.raises(DataError, match=r"\(ConnectionError: no route\); check the name"):
        load("openai/gsm8k")


def test_filters_keep_matching_rows_and_list_existing_values(write, load):
    path = write("rows.jsonl", ROWS)
    assert [t.prompt for t in load(path, filter={"domain": ["algebra"]}).tasks] == ["a", "c"]
    assert [t.prompt for t in load(path, filter={"difficulty": [3]}).tasks] == ["b", "c"]
    assert [t.prompt for t in load(path, filter={"domain": ["algebra"], "difficulty": [3]}).tasks] == ["c"]
    with pytest.raises(DataError, match=r'did you mean "algebra"\?\); existing values: algebra, geometry'):
        load(path, filter={"domain": ["algebr"]})
    with pytest.raises(DataError, match=r"filter.kind code keeps none of 3 rows; existing values: math"):
        load(path, filter={"kind": ["code"]})


def test_max_rows_reads_from_the_start_and_not_further(write, load):
    path = write("rows.jsonl", [*ROWS[:2], "broken"])
    assert len(load(path, max_rows=2).tasks) == 2


def test_sources_carry_their_weights(write):
    one, two = write("one.jsonl", ROWS), write("two.jsonl", ROWS)
    data = DataKeys.model_validate({"sources": [{"path": str(one), "weight": 3.0}, {"path": str(two)}]})
    loaded = load_tasks(data, seed=0)
    assert loaded.mixture.weights == (3.0, 1.0)
    assert Counter(loaded.mixture.source_of[t.id] for t in loaded.tasks) == {0: 3, 1: 3}


def test_same_source_twice_is_a_duplicate(write):
    path = str(write("one.jsonl", ROWS))
    with pytest.raises(DataError, match=r"one.jsonl:1: duplicate id"):
        load_tasks(DataKeys.model_validate({"sources": [{"path": path}, {"path": path}]}), seed=0)


def test_fields_reach_into_nested_columns_and_join_columns(write, load):
    path = write("rows.jsonl", [{"q": {"body": "One.", "ask": "How many?"}, "a": 145.0, "n": 7, "t": "Sum"}])
    fields = {"prompt": "{q.body} {q.ask}", "reference": "a", "id": "n", "domain": "t"}
    task = load(path, fields=fields).tasks[0]
    assert (task.id, task.prompt, task.reference) == ("rows.jsonl:7", "One. How many?", "145")
    assert task.metadata["domain"] == "Sum"
    with pytest.raises(DataError, match=r'rows.jsonl:1: no column "level"'):
        load(path, fields={**fields, "difficulty": "level"})


def test_other_columns_become_metadata(write, load):
    path = write("rows.jsonl", [{"prompt": "p", "reference": "1", "hint": "h", "metadata": {"x": 1}}])
    assert load(path).tasks[0].metadata == {"x": 1, "hint": "h"}


def test_code_reference_may_be_json_text_as_csv_needs(write, load):
    reference = {"mode": "stdin", "tests": [{"stdin": "1\n", "stdout": "2\n"}]}
    quoted = json.dumps(reference).replace('"', '""')
    task = load(write("rows.csv", f'prompt,reference\np,"{quoted}"\nq,"{{1,2}}"\n')).tasks[0]
    assert (task.kind, task.reference) == ("code", reference)


def test_last_boxed_takes_the_last_balanced_one():
    assert last_boxed(r"\boxed{1} then \boxed{\frac{1}{2}}.") == r"\frac{1}{2}"
    assert last_boxed(r"\boxed{\{1, 2\}} and \boxed{3") == r"\{1, 2\}"
    assert last_boxed(r"\boxed{\left\{ x \right.}") == r"\left\{ x \right."
    assert last_boxed("none") is None


def test_math_mapping_reads_answer_subject_and_level(write, load):
    rows = [
        {"problem": "p", "solution": r"\boxed{3}", "subject": "Algebra", "level": "Level 4"},
        {"problem": "p", "answer": 12, "type": "Geometry", "level": 2},
    ]
    tasks = load(write("rows.jsonl", rows)).tasks
    assert [t.reference for t in tasks] == ["3", "12"]
    assert [dict(t.metadata) for t in tasks] == [
        {"subject": "Algebra", "level": "Level 4", "domain": "Algebra", "difficulty": 4},
        {"type": "Geometry", "level": 2, "domain": "Geometry", "difficulty": 2},
    ]


def test_gsm8k_solutions_are_demonstrations_in_r1_form(write):
    path = write("rows.jsonl", [{"question": "q", "answer": "48/2 = <<48/2=24>>24 clips\n#### 1,024"}])
    assert [d.response for d in demos(path)] == ["<think>\n48/2 = 24 clips\n</think>\n\\boxed{1024}"]


def test_demonstrations_need_a_response_and_no_reference(write):
    path = write("rows.jsonl", [{"prompt": "p", "response": "r", "kind": "code"}])
    assert [(d.prompt, d.response, d.kind) for d in demos(path)] == [("p", "r", "code")]
    with pytest.raises(DataError, match=r"rows.jsonl:1: no reference to check an answer against"):
        load_tasks(DataKeys(path=str(path)), seed=0)
    with pytest.raises(DataError, match="no response to learn from"):
        demos(write("tasks.jsonl", ROWS))


def test_gsm8k_loads_whole(real, load):
    tasks = load(real("gsm8k_train.jsonl")).tasks
    assert len(tasks) == 7473
    assert tasks[0].reference == "72"
    assert all("," not in t.reference for t in tasks)
    assert len(load(real("gsm8k_test.jsonl")).tasks) == 1319


def test_math500_loads_whole_and_its_boxes_are_its_answers(real, load):
    path = real("math500_test.jsonl")
    tasks = load(path).tasks
    assert len(tasks) == 500
    assert {t.metadata["difficulty"] for t in tasks} == {1, 2, 3, 4, 5}
    boxes = [last_boxed(json.loads(line)["solution"]) for line in path.open(encoding="utf-8")]
    agree = sum(
        b is not None and b.replace(" ", "") == t.reference.replace(" ", "") for b, t in zip(boxes, tasks, strict=True)
    )
    assert agree >= 490


def test_svamp_loads_whole_through_fields(real, load):
    fields = {"prompt": "{Body} {Question}", "reference": "Answer", "id": "ID", "domain": "Type"}
    tasks = load(real("svamp.jsonl"), fields=fields).tasks
    assert len(tasks) == 1000
    assert tasks[0].reference == "145"


def test_humaneval_and_mbpp_load_whole_and_mostly_as_cases(real, load):
    modes = {}
    for name in ("HumanEval.jsonl.gz", "mbpp.jsonl"):
        tasks = load(real(name)).tasks
        assert all(t.kind == "code" for t in tasks)
        modes[name] = Counter(t.reference["mode"] for t in tasks)
    assert modes == {
        "HumanEval.jsonl.gz": {"function": 142, "asserts": 22},
        "mbpp.jsonl": {"function": 967, "asserts": 7},
    }


def test_humaneval_references_pass_their_own_solutions(real, load):
    """The canonical solutions (trusted, of the data set) pass what the mapping made of their tests."""
    import ast
    import gzip

    path = real("HumanEval.jsonl.gz")
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    for row, task in zip(rows, load(path).tasks, strict=True):
        space: dict = {}
        exec(row["prompt"] + row["canonical_solution"], space)
        if task.reference["mode"] == "asserts":
            exec(task.reference["test_code"], space)
            continue
        for case in task.reference["tests"]:
            args = case["args"] if "args" in case else ast.literal_eval(case["args_py"])
            expected = case["expected"] if "expected" in case else ast.literal_eval(case["expected_py"])
            assert space[task.reference["entry_point"]](*args) == expected, task.id
