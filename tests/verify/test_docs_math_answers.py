"""The examples of docs/math-answers.md: each one is judged, extracted or run as the page says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlkit.verify.extract import extract_answer
from rlkit.verify.math.math_judge import MathJudge

PAGE = (Path(__file__).parents[2] / "docs/math-answers.md").read_text(encoding="utf-8")
MAX_LINES = 255


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def rows(language: str, separator: str) -> list[list[str]]:
    lines = [line for block in blocks(language) for line in block.splitlines()]
    return [[cell.strip() for cell in line.split(separator)] for line in lines]


def commands(block: str) -> Iterator[tuple[str, list[str]]]:
    """(command, lines that it prints) of a block of shell."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *printed = part.splitlines()
        yield command, printed


def without_seconds(line: str) -> dict[str, Any]:
    return {key: value for key, value in json.loads(line).items() if key != "seconds"}


JUDGED = rows("judged", " | ")
EXTRACTED = rows("extracted", " -> ")


@pytest.fixture(scope="module")
def judge() -> Iterator[MathJudge]:
    judge = MathJudge(timeout_s=20)
    yield judge
    judge.close()


@pytest.mark.parametrize("row", JUDGED, ids=lambda row: " | ".join(row[:2]))
def test_an_example_has_the_verdict_that_the_page_tells(judge: MathJudge, row: list[str]) -> None:
    gold, answer, verdict = row
    assert judge.judge(gold, answer).verdict == verdict


@pytest.mark.parametrize("row", EXTRACTED, ids=lambda row: row[0])
def test_a_reply_has_the_answer_that_the_page_tells(row: list[str]) -> None:
    reply, answer = row
    assert (extract_answer(reply) or "(none)") == answer


@pytest.mark.parametrize("block", blocks("console"))
def test_the_commands_print_what_the_page_tells(block: str, tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for command, printed in commands(block):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        assert [without_seconds(line) for line in done.stdout.splitlines()] == [without_seconds(p) for p in printed]


@pytest.mark.parametrize("block", blocks("python"))
def test_the_python_runs(block: str) -> None:
    exec(block, {})


def test_the_page_has_examples_of_every_kind_and_stays_short() -> None:
    assert len(JUDGED) > 50
    assert {verdict for _, _, verdict in JUDGED} == {"correct", "wrong", "unscored"}
    assert len(EXTRACTED) > 10
    assert [len(list(commands(block))) for block in blocks("console")] == [2, 4]
    assert blocks("python")
    assert len(PAGE.splitlines()) <= MAX_LINES
