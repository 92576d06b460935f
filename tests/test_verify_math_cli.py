"""`rlkit verify math` as a user calls it."""

import json
import os
import subprocess
import sys

import pytest

RLKIT = [sys.executable, "-m", "rlkit", "verify", "math"]


def run(*words):
    return subprocess.run([*RLKIT, *map(str, words)], capture_output=True, text=True, timeout=120)


def test_one_answer_and_one_reply():
    done = run("--gold", r"\frac{1}{2}", "--answer", "0.5")
    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (0, "correct")
    done = run("--gold", "72", "--response", r"<think>\boxed{72}</think>\boxed{71}")
    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (0, "wrong")


def test_a_file_keeps_its_rows_and_their_order(tmp_path):
    rows = [{"id": k, "gold": rf"\sqrt{{{k * k}}}", "answer": str(k + k % 2)} for k in range(40)]
    rows[7] = {"id": "tower", "gold": "5", "answer": r"\int_0^1 x^{x^{x^x}} dx"}
    rows[8] = {"id": "unread", "gold": r"\frac{", "answer": "1"}
    rows[9] = {"id": "reply", "gold": "3", "response": "<think>3"}
    rows[10] = {"id": "choice", "gold": "B", "answer": "12", "choices": {"A": "11", "B": "12"}}
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = run("--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl", "--workers", 2, "--timeout", 2)
    assert done.returncode == 0, done.stderr
    out = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["id"] for row in out] == [row["id"] for row in rows]
    found = {row["id"]: (row["verdict"], row["detail"]) for row in out}
    assert found["tower"] == ("wrong", "timeout")
    assert found["unread"][0] == "unscored"
    assert found["reply"] == ("wrong", "unparsable")
    assert found["choice"][0] == "correct"
    assert all(found[k][0] == ("wrong" if k % 2 else "correct") for k in range(40) if k in found)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"gold": "1"}', "either answer or response is needed"),
        ('{"gold": "1", "answer": "1", "response": "1"}', "either answer or response is needed"),
        ('{"gold": 1, "answer": "1"}', "gold is missing, or no text"),
        ('{"gold": "1", "answer": "1", "tolerance": 2}', "tolerance must be"),
        ('{"gold": "1", "answer": "1", "choices": ["A"]}', "choices must be"),
        ("[1]", "not a JSON object"),
        ("{", "not JSON"),
    ],
)
def test_a_bad_row_is_named_before_anything_is_judged(tmp_path, line, says):
    (tmp_path / "in.jsonl").write_text('{"gold": "1", "answer": "1"}\n' + line + "\n")
    done = run("--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl")
    assert done.returncode == 2
    assert "in.jsonl:2: " in done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.jsonl").exists()


def test_a_file_that_could_not_be_read_twice_or_would_be_lost_is_refused(tmp_path):
    source, empty, fifo = tmp_path / "in.jsonl", tmp_path / "empty.jsonl", tmp_path / "fifo"
    row = '{"gold": "1", "answer": "1"}\n'
    source.write_text(row)
    empty.touch()
    os.mkfifo(fifo)
    for where, out, says in [
        (source, source, "is the input: give another file"),
        (fifo, tmp_path / "out.jsonl", "is read twice"),
        (empty, tmp_path / "out.jsonl", "holds no rows"),
    ]:
        done = run("--input", where, "--output", out)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert says in done.stderr
    assert source.read_text() == row


@pytest.mark.parametrize(
    "words",
    [
        ["--gold", "1", "--answer", "1", "--timeout", "nan"],
        ["--gold", "1"],
        ["--gold", "1", "--answer", "1", "--response", "1"],
        [],
        ["--input", "x"],
        ["--gold"],
    ],
)
def test_wrong_use_is_one_sentence(words):
    done = run(*words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
