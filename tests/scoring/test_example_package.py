"""examples/my_reward as a stranger would install it: found by its entry point, in processes of their own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "my_reward"
CHECKED = (
    "<think>\n10 * 8 = 80 and 2 * 8 = 16\nso 12 * 8 = 80 + 16 = 96\n"
    "Let me check: 96 / 8 = 12, so 96 holds.\n</think>\n\\boxed{96}"
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Environment in which the package is installed, in a folder of its own."""
    folder = tmp_path_factory.mktemp("example")
    source = folder / "source"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    words = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--target"]
    pip = [sys.executable, *words, str(folder / "site"), str(source)]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return {**os.environ, "PYTHONPATH": str(folder / "site")}, folder


def run(installed, *words, cwd=None):
    env, folder = installed
    return subprocess.run(
        [sys.executable, *map(str, words)], env=env, cwd=cwd or folder, capture_output=True, text=True, timeout=200
    )


def test_its_own_tests_pass(installed):
    done = run(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", EXAMPLE / "tests")
    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout


def test_the_kit_tests_it_by_name(installed):
    done = run(installed, "-m", "rlkit", "reward", "test", "checked", "--recipe", EXAMPLE / "recipe.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "last_share=0.5" in done.stdout


def test_its_recipe_scores_with_it(installed):
    _, folder = installed
    row = {"id": "a", "kind": "math", "prompt": "What is 12 * 8?", "reference": "96", "num_tokens": 30}
    rows = [{**row, "response": CHECKED}, {**row, "response": CHECKED.replace("check", "look")}]
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["--recipe", EXAMPLE / "recipe.yaml", "--input", "in.jsonl", "--output", "out.jsonl"]
    done = run(installed, "-m", "rlkit", "reward", "score", *words)
    assert done.returncode == 0, done.stderr
    out = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert [row["parts"]["checked"]["value"] for row in out] == [1.0, 0.0]
    assert out[0]["parts"]["checked"]["weight"] == pytest.approx(0.1 / 1.1)


def test_where_it_is_not_installed_the_recipe_says_so():
    words = [sys.executable, "-m", "rlkit", "plan", EXAMPLE / "recipe.yaml"]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "reward.checked" in done.stderr
    assert "no plugin is named 'checked'" in done.stderr
