"""`rlkit reward` by the real command: score a file, test a plugin, start a new one."""

import json
import re
import subprocess
import sys

import pytest
import yaml

RLKIT = [sys.executable, "-m", "rlkit", "reward"]
RECIPE = {
    "run": {"name": "scores"},
    "model": {"init": {}},
    "data": {"path": "builtin:quickstart"},
    "stages": [{"kind": "grpo", "steps": 1}],
}
SUM = {"kind": "math", "prompt": "What is 348 + 275?", "reference": "623", "num_tokens": 20}
CODE = {
    "kind": "code",
    "prompt": "Write a function add(a, b) that returns the sum of a and b.",
    "reference": {"mode": "function", "entry_point": "add", "tests": [{"args": [1, 2], "expected": 3}]},
}
RIGHT = "<think>\n348 + 275 = 623\n</think>\n\\boxed{623}"
PLUGIN = """
import os, time
from rlkit import Score

class Rank:
    def __init__(self, unit: float = 1.0):
        self.unit = unit

    def score(self, group):
        if any("die" in s.response for s in group.samples):
            os.kill(os.getpid(), 9)
        if any("hang" in s.response for s in group.samples):
            time.sleep(1000)
        order = sorted(s.num_tokens for s in group.samples)
        return [Score(self.unit * order.index(s.num_tokens)) for s in group.samples]

class Changes:
    def score(self, group):
        return [Score(time.perf_counter() % 1) for _ in group.samples]

class Together:
    def score(self, group):
        return [Score(1.0) for _ in group.samples]

    def score_groups(self, groups):
        return [[Score(1.0 / len(groups)) for _ in group.samples] for group in groups]

class Fragile:
    def score(self, group):
        return [Score(float(len(s.response.encode()))) for s in group.samples]
"""


FUNCTIONS = """
def for_math(completions, kind, solution, **kwargs):
    return [float(s in c[0]["content"]) if k == "math" else None for c, k, s in zip(completions, kind, solution)]

def for_code(completions, kind, **kwargs):
    return [float("def" in c[0]["content"]) if k == "code" else None for c, k in zip(completions, kind)]

def same_text(completions, solution, **kwargs):
    return [float(c[0]["content"].endswith("{" + s.strip() + "}")) for c, s in zip(completions, solution)]

def difficulty(completions, difficulty, **kwargs):
    return [1.0 / d for d in difficulty]

def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    return 1.0
"""


JUDGES = """
from rlkit import Score

def by_length(task, sample):
    return Score(float(len(sample.response) == task.reference["length"]), "counted")
"""


def reward(*words, cwd, timeout=120):
    return subprocess.run([*RLKIT, *map(str, words)], capture_output=True, text=True, timeout=timeout, cwd=cwd)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "plugin.py").write_text(PLUGIN)
    (tmp_path / "default.yaml").write_text(yaml.safe_dump(RECIPE))
    only = dict.fromkeys(("accuracy", "reasoning", "format", "efficiency"))
    ranked = {**only, "rank": {"plugin": "./plugin.py:Rank", "weight": 1, "unit": 0.5}, "runtime": {"timeout_s": 4}}
    (tmp_path / "rank.yaml").write_text(yaml.safe_dump(RECIPE | {"reward": ranked}))
    (tmp_path / "f.py").write_text(FUNCTIONS)
    return tmp_path


def write_recipe(folder, name, parts, **data):
    """A recipe with these parts only."""
    only = dict.fromkeys(("accuracy", "reasoning", "format", "efficiency"))
    recipe = RECIPE | {"data": RECIPE["data"] | data, "reward": only | parts}
    (folder / name).write_text(yaml.safe_dump(recipe))


def score(folder, rows, recipe="default.yaml", *words):
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = reward(
        "score", "--recipe", recipe, "--input", "in.jsonl", "--output", "out.jsonl", "--workers", 2, *words, cwd=folder
    )
    out = folder / "out.jsonl"
    return done, [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def test_a_file_is_scored_with_the_default_reward(folder):
    program = "<think>\nadd returns the sum a + b\n</think>\n```python\ndef add(a, b):\n    return a + b\n```"
    rows = [
        {"id": "right", **SUM, "response": RIGHT},
        {"id": "wrong", **SUM, "response": RIGHT.replace("{623}", "{1}")},
        {"id": 3, **CODE, "response": program},
        {"id": "broken", **SUM, "response": "\ud800\0"},
    ]
    done, out = score(folder, rows)
    assert done.returncode == 0, done.stderr
    assert [row["id"] for row in out] == ["right", "wrong", 3, "broken"]
    assert set(out[0]) == {"id", "reward", "parts"}
    assert {name: part["weight"] for name, part in out[0]["parts"].items()} == pytest.approx(
        {"accuracy": 0.4, "reasoning": 0.3, "format": 0.2, "efficiency": 0.1}
    )
    assert [row["parts"]["accuracy"]["value"] for row in out] == [1.0, 0.0, 1.0, 0.0]
    assert [row["parts"]["accuracy"]["verdict"] for row in out] == ["correct", "wrong", "pass", "unparsable"]
    assert set(out[0]["parts"]["format"]) == {"value", "weight", "verdict", "reason"}
    assert out[0]["reward"] > 0.6 > 0.4 > out[1]["reward"]
    assert "4 of 4 samples scored" in done.stderr
    assert done.stdout == ""


def test_every_kind_of_task_is_judged_also_a_plugins_own(folder):
    (folder / "judges.py").write_text(JUDGES)
    own = {"accuracy": {"judges": {"length": "./judges.py:by_length"}}}
    (folder / "kinds.yaml").write_text(yaml.safe_dump(RECIPE | {"reward": own}))
    city = {"kind": "choice", "prompt": "Which?", "reference": "Paris", "metadata": {"choices": ["Rome", "Paris"]}}
    rows = [
        {"id": 0, "kind": "exact", "prompt": "Capital?", "reference": "Paris", "response": "<think>x</think>paris."},
        {"id": 1, **city, "response": "<think>x</think>\\boxed{B}"},
        {"id": 2, **city, "response": "<think>x</think>\\boxed{A}"},
        {"id": 3, "kind": "numeric", "prompt": "g?", "reference": "9.81", "response": "<think>x</think>\\boxed{9.8}"}
        | {"metadata": {"abs_tolerance": 0.05}},
        {"id": 4, "kind": "length", "prompt": "?", "reference": {"length": 3}, "response": "abc"},
    ]
    done, out = score(folder, rows, "kinds.yaml")
    assert done.returncode == 0, done.stderr
    assert [row["parts"]["accuracy"]["value"] for row in out] == [1, 1, 0, 1, 1]
    assert [row["parts"]["accuracy"]["verdict"] for row in out] == ["correct", "correct", "wrong", "correct", "counted"]
    assert "ms a sample: " in done.stderr


def test_prompts_may_be_chat_messages_and_references_lists_as_in_a_recipes_data(folder):
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1?"}]
    reply = {"response": "<think>\n1 + 1 = 2\n</think>\n\\boxed{2}"}
    rows = [
        {"id": 0, "prompt": talk, "reference": ["two", 2], **reply},
        {"id": 1, "prompt": "1 + 1?", "history": json.dumps(talk[:1]), "reference": "1 + 1 =\n#### 2", **reply},
        {"id": 2, "prompt": "Is 1 + 1 = 2?", "reference": True, "response": "<think>\nhm\n</think>\n\\boxed{Yes}"},
    ]
    done, out = score(folder, rows)
    assert done.returncode == 0, done.stderr
    assert [row["parts"]["accuracy"]["value"] for row in out] == [1, 1, 1]
    done, _ = score(folder, [{"id": 0, "prompt": talk[:1], "reference": "2", **reply}])
    assert done.returncode == 2
    assert "in.jsonl:1: prompt must end with a message of the user" in done.stderr


def test_the_last_traceback_of_a_plugin_is_shown_on_demand(folder):
    only = dict.fromkeys(("accuracy", "reasoning", "format", "efficiency"))
    (folder / "fragile.yaml").write_text(
        yaml.safe_dump(RECIPE | {"reward": {**only, "fragile": {"plugin": "./plugin.py:Fragile", "weight": 1}}})
    )
    rows = [{"id": i, **SUM, "response": "\ud800"} for i in range(3)]
    done, out = score(folder, rows, "fragile.yaml")
    assert (done.returncode, len(out)) == (1, 3)
    assert done.stderr.splitlines()[-1].endswith("--debug shows the last traceback")
    assert "Traceback" not in done.stderr
    done, _ = score(folder, rows, "fragile.yaml", "--debug")
    assert re.search(r'plugin.py", line \d+, in score\n.*\n(.*\n)*UnicodeEncodeError', done.stderr)


def test_rows_of_a_group_are_scored_together_wherever_they_stand(folder):
    def row(name, tokens, group):
        return {"id": name, **SUM, "response": "x", "num_tokens": tokens, "group": group}

    rows = [row("a", 5, 1), row("b", 7, "1"), row("c", 9, 1), row("d", 1, None), row("e", 8, "1"), row("f", 2, 1)]
    done, out = score(folder, rows, "rank.yaml")
    assert done.returncode == 0, done.stderr
    assert [(row["id"], row["reward"]) for row in out] == [
        ("a", 0.5),
        ("b", 0.0),
        ("c", 1.0),
        ("d", 0.0),
        ("e", 0.5),
        ("f", 0.0),
    ]


def test_hostile_rows_keep_their_line_and_lose_their_score_only(folder):
    rows = [
        {"id": i, **SUM, "response": "hang" if i == 3 else "die" if i == 6 else "x", "group": i // 2} for i in range(40)
    ]
    done, out = score(folder, rows, "rank.yaml")
    assert done.returncode == 0, done.stderr
    assert [row["id"] for row in out] == list(range(40))
    assert [row["id"] for row in out if row["reward"] is None] == [3, 6]
    assert out[3]["parts"]["rank"]["verdict"] == "timeout"
    assert out[6]["parts"]["rank"]["reason"] == "reward part 'rank' ended its process: signal 9 (SIGKILL)"
    assert "38 of 40 samples scored" in done.stderr
    assert "2 unscored (rank: " in done.stderr
    assert "rank: timeout x 1" in done.stderr


def test_a_reward_that_fails_too_often_fails_the_command_after_all_lines(folder):
    rows = [{"id": i, **SUM, "response": "die" if i % 3 else "x"} for i in range(6)]
    done, out = score(folder, rows, "rank.yaml")
    assert (done.returncode, len(out)) == (1, 6)
    assert (
        "4 of 6 samples could not be scored (rank: crash x 4), more than reward.runtime.max_unscored=0.5" in done.stderr
    )


def test_rows_are_read_as_the_recipes_data_would_be(folder):
    """Columns of the task's own stand beside the others, and kinds are those of data.kind, or of the reference."""
    city = {"prompt": "Which?", "reference": "A", "choices": ["Rome", "Paris"], "response": "\\boxed{Rome}"}
    rows = [
        {"kind": "choice", **city},
        {"kind": "numeric", "prompt": "?", "reference": "3.14", "tolerance": 0.01, "response": "\\boxed{3.15}"},
        {"prompt": "?", "reference": 5, "response": "\\boxed{5}"},
        {"prompt": CODE["prompt"], "reference": CODE["reference"], "response": "```python\nadd = sum\n```"},
    ]
    done, out = score(folder, rows)
    assert done.returncode == 0, done.stderr
    assert [row["parts"]["accuracy"]["verdict"] for row in out] == ["correct", "correct", "correct", "fail"]
    (folder / "choices.yaml").write_text(yaml.safe_dump(RECIPE | {"data": RECIPE["data"] | {"kind": "choice"}}))
    done, (only,) = score(folder, [city], "choices.yaml")
    assert only["parts"]["accuracy"]["value"] == 1.0


def test_two_trl_functions_score_their_own_kinds_of_task_and_the_reason_of_none_is_reported(folder):
    parts = {n: {"plugin": {"trl": f"./f.py:for_{n}"}, "weight": 1} for n in ("math", "code")}
    write_recipe(folder, "two.yaml", parts)
    rows = [
        {"id": "a", **SUM, "response": RIGHT, "group": 1},
        {"id": "b", **SUM, "response": "600", "group": 1},
        {"id": "c", **CODE, "response": "def add(a, b): ...", "group": 2},
        {"id": "d", **SUM, "kind": "exact", "response": RIGHT, "group": 3},
    ]
    done, out = score(folder, rows, "two.yaml")
    assert done.returncode == 0, done.stderr
    assert [row["reward"] for row in out] == [1.0, 0.0, 1.0, None]
    assert out[0]["parts"]["code"] | {"reason": ""} == {
        "value": None,
        "weight": 0.0,
        "verdict": "not_applicable",
        "reason": "",
    }
    assert all(part["reason"] for row in out for part in row["parts"].values() if part["value"] is None)
    done, _ = score(folder, rows[3:], "two.yaml")
    assert done.returncode == 1
    assert "the last one: the function returned None: it does not apply to this sample" in done.stderr


def test_a_column_that_a_function_needs_is_looked_for_before_anything_is_scored(folder):
    write_recipe(folder, "hard.yaml", {"hard": {"plugin": {"trl": "./f.py:difficulty"}, "weight": 1}})
    done, out = score(folder, [{"id": "a", **SUM, "response": RIGHT, "dificulty": 2}], "hard.yaml")
    assert (done.returncode, out) == (2, [])
    assert "reward.hard: its function needs the column 'difficulty', which no row of the data has" in done.stderr
    assert "did you mean 'dificulty'" in done.stderr


def test_an_input_that_would_be_lost_is_refused(folder):
    row = json.dumps({"id": "a", **SUM, "response": RIGHT}) + "\n"
    (folder / "in.jsonl").write_text(row)
    (folder / "link.jsonl").symlink_to("in.jsonl")
    for name in ("in.jsonl", "link.jsonl"):
        words = ("score", "--recipe", "default.yaml", "--input", "in.jsonl", "--output", name)
        done = reward(*words, cwd=folder)
        assert (done.returncode, done.stderr) == (
            2,
            f"rlkit: error: --output {name} is the input file: choose another output file\n",
        )
    assert (folder / "in.jsonl").read_text() == row


def test_a_plugin_that_returns_something_else_is_reported_with_what_it_returned(folder):
    (folder / "five.py").write_text("class Five:\n    def score(self, group):\n        return 5\n")
    five = {"mine": {"plugin": "./five.py:Five", "weight": 1}}
    (folder / "five.yaml").write_text(yaml.safe_dump(RECIPE | {"reward": five}))
    done, out = score(folder, [{"id": "a", **SUM, "response": RIGHT}], "five.yaml")
    assert (done.returncode, len(out)) == (1, 1)
    assert "the last one: reward part 'mine' returned int, not a list of scores" in done.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": 7}, "in.jsonl:2: kind must be a string"),
        ({"reference": None}, "in.jsonl:2: no reference (the column is null)"),
        ({"reference": float("nan")}, "in.jsonl:2: the reference is nan, not an answer"),
        ({"response": 7}, "in.jsonl:2: response is missing, or not a string"),
        ({"num_tokens": -1}, "in.jsonl:2: num_tokens must be a whole number from 0, got -1"),
        ({"token_ids": "12"}, "in.jsonl:2: token_ids must be a list of whole numbers"),
        ({"kind": "maths"}, "in.jsonl:2: no judge for tasks of kind \"maths\" (did you mean 'math'?)"),
        (
            {"kind": "numeric", "reference": "x"},
            "in.jsonl:2: the reference 'x' of a task of kind numeric is not a number",
        ),
        ({"group": []}, "in.jsonl:2: group must be a string or a number"),
        ({"group": "g", "prompt": "Another"}, "has another kind, prompt or reference than in line 1"),
    ],
)
def test_a_bad_row_is_named_before_anything_is_scored(folder, change, message):
    row = {"id": "a", **SUM, "response": RIGHT, "group": "g"}
    done, out = score(folder, [row, {**row, **change}])
    assert (done.returncode, out) == (2, [])
    (line,) = done.stderr.splitlines()
    assert message in line


def test_wrong_use_is_one_sentence(folder):
    for words, message in [
        (
            ["score", "--recipe", "default.yaml"],
            "rlkit reward score needs --input and --output (see",
        ),
        (["test"], "rlkit reward test needs PLUGIN"),
        (["new", "a", "b"], "unexpected argument 'b'"),
        (["new", "a", "--recipe", "default.yaml"], "unknown option '--recipe'"),
        (["test", "./plugin.py:Rnak"], "did you mean 'Rank'"),
        (["test", "./plugin.py:Rank", "--recipe", "default.yaml"], "has no reward part with the plugin"),
        (["test", "a:b", "--style", "trll"], "one of trl, trl_text, verl, openrlhf"),
        (["test", "./f.py:same_text"], "or rlkit reward test ./f.py:same_text --style trl"),
        (["test", "./f.py:compute_score", "--style", "trl"], "has the signature of a reward function for verl"),
        (["test", "./f.py:difficulty", "--style", "trl"], "needs the columns 'difficulty' of the data"),
        (["new", "json"], "would hide the module of that name"),
        (["new", "My-Reward"], "is not a valid module name"),
        (["new", "plugin"], "exists already"),
    ]:
        done = reward(*words, cwd=folder)
        assert done.returncode == 2, words
        (line,) = done.stderr.splitlines()
        assert message in line


def findings(done):
    report = json.loads(done.stdout)
    return {f["check"]: f for f in report["findings"]}, {c["name"]: c for c in report["cheats"]}


def test_a_sound_plugin_passes_and_its_weakness_to_cheats_is_shown(folder):
    done = reward("test", "accuracy", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    checks, cheats = findings(done)
    assert "FAIL" not in {f["status"] for f in checks.values()}
    assert checks["group"]["text"] == "scores each sample by itself"
    assert sum(name.startswith("hostile: ") for name in checks) == 13
    assert len(cheats) >= 20
    assert all(c["value"] == 0 for c in cheats.values() if c["is_wrong"])
    assert all(c["honest"] == 1 for c in cheats.values())


def test_the_recipes_arguments_are_used_and_totals_are_shown(folder):
    done = reward("test", "rank", "--recipe", "rank.yaml", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "unit=0.5" in done.stdout
    assert "compares the samples of a group" in done.stdout
    assert "total (honest)" in done.stdout
    assert "more than the honest reply on" in done.stdout  # long cheats outrank honest replies
    assert "known cheats that earn more than the honest reply on some tasks" in done.stderr


@pytest.mark.parametrize(
    ("cls", "check", "text"),
    [
        ("Changes", "same score twice", "the second scoring differs"),
        ("Together", "several groups", "the scores change when one call holds several groups: 1.0 became 0."),
        ("Fragile", "hostile: broken unicode", "raised UnicodeEncodeError"),
    ],
)
def test_a_defect_is_found(folder, cls, check, text):
    done = reward("test", f"./plugin.py:{cls}", "--json", cwd=folder)
    assert done.returncode == 1
    checks, _ = findings(done)
    assert checks[check]["status"] == "FAIL"
    assert text in checks[check]["text"]


def test_a_recipe_says_on_which_kinds_of_task_its_function_is_tried(folder):
    tasks = [("Capital of Italy?", "Rome"), ("Capital of France?", "Paris")]
    rows = [{"prompt": prompt, "reference": answer, "difficulty": 2} for prompt, answer in tasks]
    (folder / "exact.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    parts = {"same": {"plugin": {"trl": "./f.py:same_text"}, "weight": 1}}
    write_recipe(folder, "exact.yaml", parts, path="exact.jsonl", kind="exact")
    done = reward("test", "same", "--recipe", "exact.yaml", "--json", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    checks, cheats = findings(done)
    assert checks["range"]["text"] == "0 to 1 over 12 plain replies"  # two known tasks of the kind, two of the recipe's
    assert cheats["empty thought"]["value"] == 0
    done = reward("test", "./f.py:same_text", "--style", "trl", "--json", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    checks, _ = findings(done)
    assert (checks["kind: code"]["status"], checks["range"]["status"]) == ("note", "ok")


def test_a_function_of_another_toolkit_is_tested_as_it_is(folder):
    done = reward("test", "trl.rewards:think_format_reward", "--style", "trl", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    _, cheats = findings(done)
    assert cheats["empty thought"]["value"] == 1.0  # TRL pays empty tags in full


def test_a_new_plugin_passes_its_test_and_the_kits(folder):
    done = reward("new", "my_reward", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "rlkit reward test ./my_reward.py:MyReward" in done.stdout
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_reward.py"]
    own = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120)
    assert own.returncode == 0, own.stdout
    assert "3 passed" in own.stdout
    assert reward("test", "./my_reward.py:MyReward", cwd=folder).returncode == 0
    linted = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--line-length=120", "my_reward.py", "test_my_reward.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert linted.returncode == 0, linted.stdout
