"""The command: exit codes, sentences and speed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest

import rlkit
from rlkit.cli.main import main
from rlkit.errors import ClusterError, Stopped

RECIPE = 'model: {init: {}}\ndata: {path: "builtin:quickstart"}\nstages: [{kind: grpo, steps: 3}]\n'


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(RECIPE)
    return "r.yaml"


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stands in for rlkit.run.start; gives what it was called with, and raises what is put second."""
    calls: list[Any] = []

    def run_recipe(loaded: Any, **keys: Any) -> int:
        if calls:
            raise calls[0]
        calls.append((loaded, keys))
        return 0

    monkeypatch.setitem(sys.modules, "rlkit.run.start", types.SimpleNamespace(run_recipe=run_recipe))  # type: ignore[arg-type]
    return calls


def errors(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


def test_train_hands_the_checked_recipe_to_the_pipeline(recipe: str, pipeline: list[Any]) -> None:
    words = ["run.name=a", "--resume", "never", "stages.0.steps=9", "--address", "auto", "--allow", "run.seed"]
    assert main(["train", recipe, *words]) == 0
    loaded, keys = pipeline[0]
    assert keys.pop("data").tasks is not None
    assert keys.pop("recipe").rollout.threads is not None
    assert loaded.recipe.rollout.threads is None
    assert loaded.recipe.stages[0].steps == 9
    assert keys == {"run_dir": Path("runs/a"), "resume": "never", "address": "auto", "allow": ["run.seed"]}


def test_train_defaults(recipe: str, pipeline: list[Any]) -> None:
    assert main(["train", recipe, "--run-dir", "here"]) == 0
    assert pipeline[0][1].pop("data").tasks is not None
    assert pipeline[0][1].pop("recipe").run.name == "run"
    assert pipeline[0][1] == {"run_dir": Path("here"), "resume": "auto", "address": None, "allow": []}


@pytest.mark.parametrize(
    ("raised", "code", "sentence"),
    [
        (ClusterError("an actor died"), 1, "rlkit: error: an actor died\n"),
        (Stopped("stopped as you asked after step 4"), 130, "rlkit: stopped as you asked after step 4\n"),
        (KeyboardInterrupt(), 130, "rlkit: stopped as you asked\n"),
        (
            ZeroDivisionError("division\nby zero"),
            1,
            "rlkit: error: ZeroDivisionError: division by zero (a bug in rlkit; "
            "run again with --debug for the traceback)\n",
        ),
    ],
)
def test_what_is_raised_becomes_one_sentence_and_an_exit_code(
    raised: BaseException,
    code: int,
    sentence: str,
    recipe: str,
    pipeline: list[Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    pipeline.append(raised)
    assert main(["train", recipe]) == code
    assert errors(capsys) == sentence


def test_debug_shows_the_traceback(recipe: str, pipeline: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    pipeline.append(ClusterError("an actor died"))
    assert main(["train", recipe, "--debug"]) == 1
    assert "Traceback" in errors(capsys)


def test_train_refuses_what_plan_refuses(recipe: str, pipeline: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    key = "rollout.engine.max_model_len=100"
    assert main(["plan", recipe, key]) == 2
    planned = errors(capsys)
    assert "rollout.max_tokens=256 leaves no room" in planned
    assert main(["train", recipe, key]) == 2
    assert errors(capsys) == planned
    assert pipeline == []


def test_the_plan_is_printed_and_as_json(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", recipe]) == 0
    printed = capsys.readouterr().out
    assert "stage-0-grpo" in printed
    assert "837,760 parameters" in printed
    assert main(["plan", recipe, "--json", "stages.0.steps=2"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["stages"][0]["samples"] == 512
    assert plan["refusals"] == []


def test_the_schema_documents_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["properties"]["rollout"]["description"]
    rollout = schema["$defs"][schema["properties"]["rollout"]["$ref"].rpartition("/")[2]]["properties"]
    assert rollout["max_tokens"]["description"] == "Maximum length of a reply, in tokens."


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["trian"], "unknown command 'trian'; did you mean 'train'?"),
        (["--versoin"], "unknown option '--versoin'; did you mean '--version'?"),
        (["train", "r.yaml", "--resum", "auto"], "unknown option '--resum'; did you mean '--resume'?"),
        (["train", "r.yaml", "--stages.0.steps=3"], "write an override without dashes: stages.0.steps=3"),
        (["train", "r.yaml", "--resume", "maybe"], "--resume 'maybe': must be one of auto, must, never (see"),
        (
            ["train"],
            "rlkit train needs RECIPE, a YAML file: rlkit train RECIPE [KEY=VALUE ...] (see rlkit train --help)",
        ),
        (["plan"], "rlkit plan needs RECIPE, a YAML file: rlkit plan RECIPE [KEY=VALUE ...] (see rlkit plan --help)"),
        (["train", "r.yaml", "--resume"], "--resume needs a value: auto or must or never (see"),
        (["train", "r.yaml", "--run-dir"], "--run-dir needs a value: DIR (see"),
        (["verify", "math", "--workers", "many"], "--workers 'many': must be a whole number (see"),
    ],
)
def test_wrong_use_ends_with_2_and_names_the_nearest(
    argv: list[str], sentence: str, recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    err = errors(capsys)
    assert sentence in err
    assert "--help" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run.seed=1", "RECIPE"], "the recipe comes first: rlkit plan RECIPE run.seed=1"),
        (["run.seed=1"], "'run.seed=1' is an override, not a recipe: rlkit plan RECIPE [KEY=VALUE ...]"),
        (["RECIPE", "RECIPE"], "rlkit plan takes one recipe, but 'RECIPE' is a second file"),
        (["RECIPE", "run.seed", "=", "3"], "write an override without spaces around the equals sign: run.seed=3"),
        (["RECIPE", "run.seed"], "override 'run.seed' is not KEY=VALUE"),
    ],
)
def test_words_in_another_order_are_answered_with_the_right_one(
    words: list[str], sentence: str, recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *(recipe if word == "RECIPE" else word for word in words)]) == 2
    assert sentence.replace("RECIPE run", f"{recipe} run").replace("'RECIPE'", f"'{recipe}'") in errors(capsys)


def test_a_folder_in_place_of_a_recipe_is_answered_with_one_inside(
    recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(Path(recipe).parent)]) == 2
    assert "is a folder; a recipe is a YAML file such as" in errors(capsys)


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert re.search(r"commands:\n  train +Run a recipe", capsys.readouterr().out)
    assert main(["train", "--help"]) == 0
    assert "--resume" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"rlkit {rlkit.__version__}\n"
    assert main([]) == 2


def test_help_answers_at_once_and_without_pydantic() -> None:
    code = (
        "import sys; from rlkit.cli.main import main; main(['--help']);"
        "print(sorted({'pydantic', 'yaml', 'torch'} & set(sys.modules)))"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert time.monotonic() - started < 5  # 0.1 s on an idle machine; the promise is half a second


def test_the_module_runs_like_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rlkit", "plna"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "did you mean 'plan'?" in done.stderr


def test_a_closed_pipe_is_no_error(recipe: str) -> None:
    done = subprocess.run(
        f"{sys.executable} -m rlkit plan --schema | head -1", shell=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "{\n"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("data.path=builtin:quikstart", 'did you mean "quickstart"'),
        ("data.path=builtin:quickstart?foo=2", "no parameter 'foo'"),
        ("data.split=test", 'no split "test"'),
        ("cluster.address=ray://head:10001", "Ray Client cannot stream samples"),
        ("stages.0={kind: ppo, steps: 3, critic: {path: ./nope}}", "does not exist"),
    ],
)
def test_plan_refuses_what_cannot_start(
    recipe: str, override: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", recipe, override]) == 2
    assert reason in errors(capsys)


def test_a_control_character_in_a_recipe_is_reported_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("model: {init: {}}\n# colour \x1b[0m\n")
    assert main(["plan", str(path)]) == 2
    assert errors(capsys) == f"rlkit: error: {path}:2: not YAML: the character #x001b is not allowed; remove it\n"


def test_an_output_without_room_is_one_sentence(recipe: str) -> None:
    words = [sys.executable, "-u", "-m", "rlkit", "plan", recipe]
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "rlkit: error: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["verify", "code", "--input", "i", "--output", "o", "--gold", "3"], "unknown option '--gold'"),
        (["verify", "math", "--tier", "wasm"], "unknown option '--tier'"),
        (["verify", "maths"], "unknown command 'maths'; did you mean 'math'? (see rlkit verify --help)"),
        (["verify", "--input", "i"], "unknown option '--input'; known: math, code, --help (see rlkit verify"),
        (["verify", "code"], "rlkit verify code needs --input and --output (see rlkit verify code --help)"),
        (["reward", "--version"], "unknown option '--version'; known: score, test, new, --help"),
        (["doctor", "all"], "unexpected argument 'all'"),
    ],
)
def test_a_word_knows_its_own_options_only(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    (line,) = errors(capsys).splitlines()
    assert message in line


def test_a_family_tells_its_members(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: rlkit verify COMMAND ...")
    assert re.findall(r"^  (\w+)  ", shown, re.MULTILINE) == ["math", "code"]
    assert main(["verify"]) == 2
    assert errors(capsys) == shown


BAD_PARTS = {
    "{plugin: ./gone.py:Mine, weight: 1}": "reward.mine.plugin: there is no file ./gone.py in the recipe's folder",
    "{plugin: 'gone.module:Mine', weight: 1}": "cannot import gone.module: there is no module named 'gone'",
    "{plugin: acuracy, weight: 1}": "no installed plugin is named 'acuracy' (did you mean 'accuracy'?)",
    "{plugin: ./mine.py:Min, weight: 1}": "has no class or function 'Min' (did you mean 'Mine'?)",
    "{plugin: {trl: ./mine.py:gone}, weight: 1}": "./mine.py has no class or function 'gone'",
    "{plugin: ./mine.py:Mine, weight: 1, sise: 3}": "reward.mine.sise: Mine has no such argument",
    "{plugin: ./mine.py:Mine, weight: 1, size: x}": "reward.mine.size='x' does not fit int",
    "{plugin: ./mine.py:Mine, weight: 1, size: -1}": "Mine could not be built: ValueError: size=-1",
    "{plugin: ./mine.py:Mine, weight: 1, size: 7}": "needs the scores of part 'seven', which is not in this recipe",
    "{plugin: ./mine.py:f, weight: 1}": "write plugin: {trl: ./mine.py:f} in the recipe",
    "{plugin: {verl: ./mine.py:f}, weight: 1}": "signature of a reward function for TRL, not for verl",
}
MINE = """
class Mine:
    def __init__(self, size: int = 1):
        if size < 0:
            raise ValueError(f"{size=}")
        self.needs = ("seven",) if size == 7 else ()

    def score(self, group):
        return []

def f(completions, **kwargs):
    return []
"""


def test_plan_and_train_check_plugins_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    for i, part in enumerate(BAD_PARTS):
        (tmp_path / f"{i}.yaml").write_text(f"run: {{name: x}}\n{RECIPE}reward: {{mine: {part}}}\n")
    code = (
        "import sys; from rlkit.cli.main import main;"
        f"codes = [main([word, f'{{i}}.yaml']) for i in range({len(BAD_PARTS)}) for word in ('plan', 'train')];"
        "heavy = {'torch', 'ray', 'vllm', 'transformers', 'datasets', 'trl', 'numpy', 'sympy', 'pyarrow'};"
        "print(*codes, *sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.stdout.split() == ["2"] * 2 * len(BAD_PARTS), done.stderr
    lines = done.stderr.splitlines()
    for line, message in zip(lines, [m for m in BAD_PARTS.values() for _ in range(2)], strict=True):
        assert message in line
