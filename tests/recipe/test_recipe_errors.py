"""Every broken recipe gets exit code 2 and one sentence: file:line (or the override), key, value, what is allowed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlkit.cli.main import main

GOOD = """\
model:
  init: {}
data:
  path: builtin:quickstart
stages:
  - kind: sft
    steps: 4
  - kind: grpo
    steps: 3
rollout:
  max_tokens: 64
"""

# (what is replaced, by what, the sentence after the file's name)
BROKEN = {
    "unknown top key": ("rollout:", "rolout:", "10: rolout: unknown key 'rolout'; did you mean 'rollout'?"),
    "unknown key": (
        "max_tokens",
        "max_token",
        "11: rollout.max_token: unknown key 'max_token'; did you mean 'max_tokens'?",
    ),
    "unknown stage key": (
        "    steps: 4",
        "    stepz: 4",
        "7: stages.0.stepz: unknown key 'stepz'; did you mean 'steps'?",
    ),
    "misspelt needed key": (
        "    steps: 3",
        "    stepz: 3",
        "9: stages.1.stepz: unknown key 'stepz'; did you mean 'steps'?",
    ),
    "key of another kind": (
        "    steps: 3",
        "    steps: 3\n    epochs: 1",
        "10: stages.1.epochs: unknown key 'epochs'; it belongs to sft stages",
    ),
    "nothing near": (
        "  init: {}",
        "  init: {}\n  qqqq: 1",
        "3: model.qqqq: unknown key 'qqqq'; known: path, init",
    ),
    "missing key": (
        "    steps: 3",
        "    kl_coef: 0.1",
        "8: stages.1.steps is missing: training steps",
    ),
    "missing section": ("model:\n  init: {}", "run: {}", "1: model is missing: the model that the run starts from"),
    "no data": (
        "data:\n  path: builtin:quickstart\n",
        "",
        "1: data.path is missing: stages.0 needs training data (or give stages.0.data)",
    ),
    "a width that cannot be divided into heads": (
        "  init: {}",
        "  init: {hidden_size: 20}",
        "2: model.init.hidden_size = 20: must be a multiple of 32, such as 32 (hidden size: a multiple of 32",
    ),
    "unknown kind": (
        "kind: grpo",
        "kind: grop",
        "8: stages.1.kind = 'grop': must be one of sft, grpo, ppo; did you mean 'grpo'?",
    ),
    "no kind": ("kind: grpo", "kl_coef: 0", "8: stages.1.kind is missing: must be one of sft, grpo"),
    "stage is text": ("  - kind: sft\n    steps: 4", "  - sft", "6: stages.0 = 'sft': must be a mapping"),
    "stages is a mapping": (
        "  - kind: sft\n    steps: 4\n  - kind: grpo\n    steps: 3",
        "  kind: grpo",
        "5: stages = {'kind': 'grpo'}: must be a list",
    ),
    "no stages": (
        "stages:\n  - kind: sft\n    steps: 4\n  - kind: grpo\n    steps: 3",
        "stages: []",
        "5: stages = []: must hold at least 1 item",
    ),
    "below": ("steps: 3", "steps: 0", "9: stages.1.steps = 0: must be at least 1"),
    "not above": (
        "steps: 3",
        "steps: 3\n    learning_rate: -1e-5",
        "10: stages.1.learning_rate = -1e-05: must be greater than 0",
    ),
    "above": ("max_tokens: 64", "temperature: 11", "11: rollout.temperature = 11: must be at most 10"),
    "infinite": ("max_tokens: 64", "temperature: .inf", "11: rollout.temperature = inf: must be a finite number"),
    "not whole": ("steps: 3", "steps: 2.5", "9: stages.1.steps = 2.5: must be a whole number"),
    "yes is no number": ("steps: 3", "steps: yes", "9: stages.1.steps = true: must be a whole number"),
    "quoted number": ("steps: 3", 'steps: "3"', "9: stages.1.steps = '3': must be a whole number"),
    "no truth": ("rollout:", "run: {deterministic: 1}\nrollout:", "10: run.deterministic = 1: must be true or false"),
    "number as text": ("rollout:", "run: {name: 7}\nrollout:", "10: run.name = 7: must be text; put it in quotes"),
    "name with a slash": (
        "rollout:",
        "run: {name: a/b}\nrollout:",
        "10: run.name = 'a/b': may contain only letters, digits, '.', '_' and '-'",
    ),
    "not one of": (
        "max_tokens: 64",
        "max_tokens: 64\nlearner: {precision: bfloat}",
        "12: learner.precision = 'bfloat': must be one of float32, bfloat16, bfloat16_autocast; "
        "did you mean 'bfloat16'?",
    ),
    "no such loss": (
        "steps: 3",
        "steps: 3\n    objective: clop",
        "10: stages.1.objective = 'clop': must be one of clip, cispo, module:function, ./file.py:function; "
        "did you mean 'clip'?",
    ),
    "empty section": (
        "  max_tokens: 64",
        "",
        "10: rollout = null: must be a mapping; leave the key out for its defaults",
    ),
    "list for a section": ("  max_tokens: 64", "  - 64", "10: rollout = [64]: must be a mapping"),
    "two alternatives": (
        "    steps: 4",
        "    steps: 4\n    epochs: 1",
        "7: stages.0: give one of steps=4 and epochs=1, not both",
    ),
    "both model ways": (
        "  init: {}",
        "  init: {}\n  path: a/b",
        "3: model: give exactly one of model.path and model.init",
    ),
    "rule over sections": (
        "init: {}",
        "init: {max_position_embeddings: 64}",
        "11: rollout.max_tokens=64 leaves no room for a prompt in model.init.max_position_embeddings=64: lower",
    ),
    "truncated sampling": ("max_tokens: 64", "top_p: 0.9", "11: rollout.top_p=0.9 truncates"),
    "heads": (
        "init: {}",
        "init: {hidden_size: 128, num_heads: 8}",
        "2: model.init: hidden_size=128 / num_heads=8 = 16 is not a head size that the engine's attention kernels "
        "support (32, 64, 96, 128, 160, 192, 224, 256): with this hidden_size set num_heads to 1, 2, 4; or",
    ),
    "limit of a key": (
        "  init: {}",
        "  init: {vocab_size: 100}",
        "2: model.init.vocab_size = 100: must be at least 320 (tokens in the vocabulary: the 256 bytes",
    ),
    "too few of a list": (
        "    steps: 3",
        "    steps: 3\n    betas: [0.9]",
        "10: stages.1.betas must hold at least 2 items",
    ),
    "too many of a list": (
        "    steps: 3",
        "    steps: 3\n    betas: [0.9, 0.9, 0.9]",
        "10: stages.1.betas = [0.9, 0.9, 0.9]: must hold at most 2 items",
    ),
    "one for a list": ("max_tokens: 64", "stop: x", "11: rollout.stop = 'x': must be a list; write ['x']"),
    "list item": (
        "    steps: 3",
        "    steps: 3\n    betas: [0.9, 1.5]",
        "10: stages.1.betas.1 = 1.5: must be less than 1",
    ),
    "written twice": (
        "  max_tokens: 64",
        "  max_tokens: 64\n  max_tokens: 65",
        "12: rollout.max_tokens is given twice, first on line 11; keep one",
    ),
    "tab": (
        "  max_tokens",
        "\tmax_tokens",
        "11: not YAML: found character '\\t' that cannot start any token (indent with spaces, not tabs)",
    ),
    "colon": (
        "max_tokens: 64",
        "stop: a: b",
        "11: not YAML: mapping values are not allowed here (quote a value that contains ': ')",
    ),
    "python tag": (
        "max_tokens: 64",
        "stop: !!python/name:os.system x",
        "11: not YAML: could not determine a constructor",
    ),
    "endless anchor": ("max_tokens: 64", "stop: &a [*a]", " not YAML: more than"),
    "part is a number": (
        "rollout:",
        "reward: {accuracy: 0.5}\nrollout:",
        "10: reward.accuracy = 0.5: must be a mapping; write reward.accuracy.weight",
    ),
    "part without weight": (
        "rollout:",
        "reward:\n  mine: {plugin: a:B}\nrollout:",
        "11: reward.mine.weight is missing: weight of the part",
    ),
    "misspelt weight of a part": (
        "rollout:",
        "reward:\n  mine: {plugin: a:B, weigth: 1}\nrollout:",
        "11: reward.mine.weight is missing: weight of the part; found 'weigth': did you mean 'weight'?",
    ),
    "misspelt weight of a default part": (
        "rollout:",
        "reward:\n  format: {weigth: 1}\nrollout:",
        "11: reward.format.weigth: unknown key 'weigth'; did you mean 'weight'?",
    ),
    "misspelt part": (
        "rollout:",
        "reward:\n  acuracy: {weight: 1}\nrollout:",
        "11: reward.acuracy: no plugin is named 'acuracy'; did you mean 'accuracy'?",
    ),
    "null part": (
        "rollout:",
        "reward:\n  mine: null\nrollout:",
        "11: reward.mine = null: must be a mapping; only the four default parts can be set to null",
    ),
    "negative weight": (
        "rollout:",
        "reward: {format: {weight: -1}}\nrollout:",
        "10: reward.format.weight = -1: must be at least 0",
    ),
    "bad template": (
        "builtin:quickstart",
        "builtin:quickstart\n  prompt:\n    template: hello",
        "6: data.prompt: template does not contain {prompt}",
    ),
    "domain of the wrong type": (
        "builtin:quickstart",
        "builtin:quickstart\n  filter: {difficulty: [[1]]}",
        "5: data.filter.difficulty.0 = [1]: must be",
    ),
}


def fails(argv: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return [line.removeprefix("rlkit: error: ") for line in err.splitlines()]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_recipe_is_reported_in_one_sentence(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new, expected = BROKEN[name]
    assert old in GOOD
    recipe = tmp_path / "r.yaml"
    recipe.write_text(GOOD.replace(old, new, 1))
    lines = fails(["plan", str(recipe)], capsys)
    assert lines[0].startswith(f"{recipe}:{expected}")
    assert len(lines) == 1 or name == "domain of the wrong type"


OVERRIDES = {
    "unknown key": ("stages.1.stepz=5", "unknown key 'stepz'; did you mean 'steps'?"),
    "unknown section": ("rolout.max_tokens=5", "rolout: unknown key 'rolout'; did you mean 'rollout'?"),
    "wrong value": ("stages.1.steps=many", "must be a whole number"),
    "made a section": (
        "learner.precison=float32",
        "unknown key 'precison'; did you mean 'precision'?",
    ),
    "no such item": ("stages.2.steps=5", "stages is a list without an item '2': its items are 0 to 1"),
    "name of an item": ("stages.grpo.steps=5", "stages is a list without an item 'grpo': its items are 0 to 1"),
    "below a scalar": ("stages.1.steps.x=5", "stages.1.steps is a whole number and has no key 'x'"),
    "broken value": (
        "stages.1.betas=[0.9",
        "the value is not YAML: expected ',' or ']', but got '<stream end>'; quote it",
    ),
    "reserved": ("rollout.top_k=5", "rollout.top_k=5 truncates the sampling distribution"),
}


@pytest.mark.parametrize("name", OVERRIDES)
def test_a_broken_override_is_named_instead_of_a_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    override, expected = OVERRIDES[name]
    recipe = tmp_path / "r.yaml"
    recipe.write_text(GOOD)
    lines = fails(["plan", str(recipe), override], capsys)
    assert len(lines) == 1
    assert lines[0].startswith(f"override {override}: {expected}")


@pytest.mark.parametrize("override", ["steps", "=3", "a..b=3", ".=3"])
def test_an_override_that_is_no_key_value_is_refused(
    override: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(GOOD)
    (line,) = fails(["plan", str(recipe), override], capsys)
    assert line == f"override {override!r} is not KEY=VALUE, such as stages.1.steps=5"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("init: {}", "path: {dir}/modle", "2: model.path = '{dir}/modle': does not exist; did you mean '{dir}/model'?"),
        ("init: {}", "path: ./no/such", "2: model.path = './no/such': does not exist"),
        (
            "builtin:quickstart",
            "{dir}/trian.jsonl",
            "4: data.path = '{dir}/trian.jsonl': does not exist; did you mean '{dir}/train.jsonl'?",
        ),
        (
            "path: builtin:quickstart",
            "sources: [{{path: '{dir}/trian.jsonl'}}]",
            "4: data.sources.0.path = '{dir}/trian.jsonl': does not exist; did you mean '{dir}/train.jsonl'?",
        ),
    ],
)
def test_a_path_that_is_not_there_names_its_nearest_neighbour(
    old: str, new: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "train.jsonl").write_text("")
    recipe = tmp_path / "r.yaml"
    recipe.write_text(GOOD.replace(old, new.format(dir=tmp_path)))
    (line,) = fails(["train", str(recipe)], capsys)
    assert line == f"{recipe}:{expected.format(dir=tmp_path)}"


def test_several_problems_come_in_the_order_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(GOOD.replace("max_tokens", "a").replace("path:", "b:").replace("steps: 3", "steps: 0"))
    lines = fails(["plan", str(recipe)], capsys)
    assert [line.split(":")[1] for line in lines] == ["4", "9", "11"]


def test_only_the_first_few_of_many_problems_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(GOOD + "".join(f"  wrong{i}: 1\n" for i in range(9)))
    lines = fails(["plan", str(recipe)], capsys)
    assert len(lines) == 6
    assert lines[-1] == "4 more problems after these"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", "is empty"), ("- 1", "holds a list"), ("just words", "holds text"), ("3", "holds a whole")],
)
def test_a_file_that_is_no_mapping_is_refused(
    text: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(text)
    (line,) = fails(["plan", str(recipe)], capsys)
    assert line.startswith(f"{recipe}: {expected}")


def test_a_recipe_that_is_not_there_names_its_nearest_neighbour(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "quickstart.yaml").write_text(GOOD)
    (line,) = fails(["train", str(tmp_path / "quikstart.yaml")], capsys)
    assert line == f"{tmp_path}/quikstart.yaml does not exist; did you mean '{tmp_path}/quickstart.yaml'?"
    (line,) = fails(["train", str(tmp_path)], capsys)
    assert line == f"{tmp_path} is a folder; a recipe is a YAML file such as {tmp_path / 'quickstart.yaml'}"


def test_bytes_that_are_no_text_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_bytes(b"\xff\xfe\x00model")
    (line,) = fails(["plan", str(recipe)], capsys)
    assert line.startswith(f"{recipe} cannot be read")


@pytest.mark.parametrize("key", ["stages.1.stepz=5", "rolout.max_tokens=3"])
def test_a_misspelt_key_is_answered_at_once_and_without_heavy_imports(key: str, tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(GOOD)
    code = (
        "import sys; from rlkit.cli.main import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'ray', 'vllm', 'transformers', 'datasets', 'trl', 'numpy', 'sympy', 'pyarrow'};"
        "print(code, *sorted(heavy & set(sys.modules)))"
    )
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, "train", str(recipe), key], capture_output=True, text=True, timeout=60, check=True
    )
    seconds = time.monotonic() - started
    assert done.stdout.split() == ["2"]
    assert "unknown key" in done.stderr
    assert seconds < 5  # 0.35 s on an idle machine; the promise is half a second
