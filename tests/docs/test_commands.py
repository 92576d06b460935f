"""What README.md and the pages of docs/ tell a reader to type works, read from top to bottom in a new folder."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from rlkit.recipe.load import load_recipe
from tests.docs.pages import COMMAND_LANGUAGES, LANGUAGES, MARKS, NEEDS, PAGES, ROOT, Block, blocks_of, prose_of

LIMIT_S = {"quick": 100, "slow": 1500}
"""For one block; the quickstart takes four minutes on an idle machine."""
CHECKOUT = ("recipes", "requirements", "rewards", "tests", "Makefile", "pyproject.toml")
"""What a reader's folder, a checkout, has beside the files that the pages write."""
ALL_BLOCKS = [block for page in PAGES for block in blocks_of(page)]
READS_ONLY = re.compile(r"rlkit (doctor|plan recipes/)[^>]*$")
DONE: set[str] = set()
"""Commands that read only what every checkout has, and have worked on another page: once is enough."""
COMMAND_WORD = re.compile(r"^\s*(\$ |rlkit |make |python |pip |\.venv/)")
WHOLE_RECIPE = {
    "run": {"name": "docs"},
    "model": {"init": {}},
    "data": {"path": "builtin:quickstart"},
    "stages": [{"kind": "sft", "data": {"path": "builtin:quickstart-demos"}}, {"kind": "grpo", "steps": 1}],
}
"""What a piece of a recipe is put into."""


def ids(blocks: list[Block]) -> list[str]:
    return [block.place for block in blocks]


def languages(*names: str) -> list[Block]:
    return [block for block in ALL_BLOCKS if block.language in names]


def pages_with(*marks: str) -> list[Path]:
    """The pages that have a command with one of these marks."""
    return [p for p in PAGES if any(b.mark in marks for b in blocks_of(p) if b.language == "bash")]


@pytest.fixture
def folder(tmp_path) -> Path:
    """A reader's working folder: a checkout without runs."""
    for name in CHECKOUT:
        (tmp_path / name).symlink_to(ROOT / name)
    leftovers = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=leftovers)  # pip builds in the folder itself
    return tmp_path


@pytest.mark.parametrize("block", ALL_BLOCKS, ids=ids(ALL_BLOCKS))
def test_every_block_says_what_it_is(block):
    assert block.language in LANGUAGES, f"{block.place}: the fence names no language of {', '.join(LANGUAGES)}"
    assert block.mark in ("", *MARKS), f"{block.place}: {block.mark!r} is none of {', '.join(MARKS)}"
    if block.language not in COMMAND_LANGUAGES:
        stray = [line for line in block.text.splitlines() if COMMAND_WORD.match(line)]
        assert block.language != "text" or not stray, f"{block.place}: put these into a bash block: {stray}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_command_hides_in_an_indented_block(page):
    assert not re.findall(r"^(?: {4,}|\t)(?:\$ |rlkit |make |python |pip ).*", prose_of(page), re.MULTILINE)


@pytest.mark.parametrize("page", pages_with(""), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_commands_of_a_page_work(page, folder):
    follow(page, folder, ("",), LIMIT_S["quick"])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", pages_with("slow"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_page_works_from_top_to_bottom(page, folder):
    follow(page, folder, ("", "slow"), LIMIT_S["slow"])


def follow(page: Path, folder: Path, marks: tuple[str, ...], limit_s: float) -> None:
    """Writes the page's files and gives its commands with these marks, in its order."""
    for block in blocks_of(page):
        if block.title:
            path = folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        if block.language == "bash" and block.mark in marks:
            run(block, folder, limit_s)


def run(block: Block, folder: Path, limit_s: float) -> None:
    """Gives a block's commands to bash; `make` stands for itself, as it would set up an environment."""
    script = "".join(
        re.sub(r"^make ", f"make -n -C '{ROOT}' ", line)
        for line in block.text.splitlines(keepends=True)
        if line.strip() not in DONE
    )
    installed = folder / "installed"  # what a page installs stays out of this environment
    env = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "PIP_TARGET": str(installed),
        "PYTHONPATH": f"{installed}:{ROOT}",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=env, capture_output=True, text=True, timeout=limit_s
    )
    output = done.stdout[-3000:] + done.stderr[-3000:]
    assert done.returncode == 0, f"{block.place} ended with {done.returncode}:\n{script}\n{output}"
    DONE.update(command for command in block.commands if READS_ONLY.match(command))


COMPLETIONS = languages("fish", "zsh")


@pytest.mark.parametrize("block", COMPLETIONS, ids=ids(COMPLETIONS))
def test_lines_for_other_shells_ask_for_a_completion_that_is_there(block, folder):
    asked = [re.search(r"rlkit completion \w+", command) for command in block.commands]
    assert asked
    assert all(asked)
    for command in asked:
        assert subprocess.run(
            [sys.executable, "-m", *command[0].split()], cwd=folder, capture_output=True, check=True
        ).stdout


BENCHMARKS = [b for b in ALL_BLOCKS if b.mark == "benchmark"]


@pytest.mark.parametrize("block", BENCHMARKS, ids=ids(BENCHMARKS))
def test_a_benchmark_is_there_and_knows_its_options(block):
    for command in block.commands:
        words = command.split()
        assert words[0] in ("python", "rlkit", "make"), command
        if words[0] != "python":
            continue
        script = ROOT / (words[2].replace(".", "/") + ".py" if words[1] == "-m" else words[1])
        assert script.is_file(), command
        source = script.read_text()
        for option in re.findall(r"(?<= )--[\w-]+", command):
            assert f'"{option}"' in source, f"{command}: {script.name} has no {option}"


MARKED = [b for b in ALL_BLOCKS if b.mark in [f"needs: {what}" for what in NEEDS] and b.language == "bash"]


@pytest.mark.parametrize("block", MARKED, ids=ids(MARKED))
def test_a_command_that_is_not_run_names_files_that_are_there(block):
    for command in block.commands:
        for word in re.findall(r"(?:examples|recipes|tests|requirements)/[\w./-]+", command):
            assert (ROOT / word).exists(), f"{block.place}: {word} is missing"


YAML = languages("yaml")


@pytest.mark.parametrize("block", YAML, ids=ids(YAML))
def test_a_recipe_of_a_page_loads(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = yaml.safe_load(block.text)
    if not {"model", "stages"} <= recipe.keys():
        recipe = WHOLE_RECIPE | recipe
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    for name in re.findall(r"[\w-]+\.(?:jsonl|py)\b", block.text):
        Path(name).touch()  # loading looks whether files are there, and does not read them
    load_recipe(Path("recipe.yaml"))


PYTHON = languages("python")


@pytest.mark.parametrize("block", PYTHON, ids=ids(PYTHON))
def test_python_compiles(block):
    compile(block.text, block.place, "exec")


JSON_LINES = languages("json")


@pytest.mark.parametrize("block", JSON_LINES, ids=ids(JSON_LINES))
def test_json_is_json(block):
    for text in json_texts(block):
        json.loads(text)


def json_texts(block: Block) -> Iterator[str]:
    if block.text.lstrip().startswith("{") and all(line.startswith("{") for line in block.text.splitlines()):
        yield from block.text.splitlines()
    else:
        yield block.text
