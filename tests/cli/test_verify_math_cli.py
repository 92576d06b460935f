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


BAD_LINES = [
    (b'{"id": 7, "gold": "1"}', "exactly one of answer and response is needed"),
    (b'{"id": 7, "gold": "1", "answer": "1", "response": "1"}', "exactly one of answer and response is needed"),
    (b'{"id": 7, "gold": "1", "answer": 1}', "exactly one of answer and response is needed"),
    (b'{"id": 7, "gold": 1, "answer": "1"}', "gold is missing, or not a string"),
    (b'{"id": 7, "answer": "1"}', "gold is missing, or not a string"),
    (b'{"id": 7, "gold": "1", "answer": "1", "tolerance": 2}', "tolerance must be"),
    (b'{"id": 7, "gold": "1", "answer": "1", "tolerance": NaN}', "tolerance must be"),
    (b'{"id": 7, "gold": "1", "answer": "1", "choices": ["A"]}', "choices must be"),
    (b"[1]", "not a JSON object"),
    (b"NaN", "not a JSON object"),
    (b"{", "not JSON"),
    (b'{"id": 7, "gold": "1", "answer": "\xff"}', "not UTF-8"),
    (b'{"id": NaN, "gold": "1", "answer": "1"}', "id holds NaN"),
    (b"[" * 100_000, "not JSON"),
    (b'{"id": ' + b"1" * 5000 + b"}", "not JSON"),
]


def test_bad_rows_are_unscored_in_their_place_and_stop_no_other(tmp_path):
    good = b'{"id": "ok", "gold": "1", "answer": "1", "choices": null, "response": null}'
    lines = [line for bad, _ in BAD_LINES for line in (bad, good, b"  ")]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join([b"", *lines]) + b"\n\n")
    done = run("--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl", "--workers", 2)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    out = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["verdict"] for row in out] == ["unscored", "correct"] * len(BAD_LINES)
    for row, (line, reason) in zip(out[::2], BAD_LINES, strict=True):
        assert reason in row["detail"]
        assert row["id"] == (7 if line.startswith(b'{"id": 7,') and reason != "not UTF-8" else None)
    before, _, after = done.stderr.partition("15 correct, 0 wrong, 15 unscored\n")
    assert "15 of 30 rows cannot be judged (lines 2, 5, 8, 11, 14 and 10 more); judging the others" in before
    assert after.count("\n") == 1
    assert "15 of 30 rows could not be judged and are unscored (lines 2, 5, 8, 11, 14 and 10 more)" in after
    assert "the first, 7: exactly one of answer and response is needed" in after


def test_a_gold_that_cannot_be_read_is_no_bad_row(tmp_path):
    (tmp_path / "in.jsonl").write_text('{"gold": "\\\\frac{", "answer": "1"}\n')
    done = run("--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl")
    assert (done.returncode, done.stderr) == (0, "0 correct, 0 wrong, 1 unscored\n")


def test_a_file_that_could_not_be_read_twice_or_would_be_lost_is_refused(tmp_path):
    source, empty, fifo = tmp_path / "in.jsonl", tmp_path / "empty.jsonl", tmp_path / "fifo"
    row = '{"gold": "1", "answer": "1"}\n'
    source.write_text(row)
    empty.touch()
    os.mkfifo(fifo)
    for where, out, reason in [
        (source, source, "is the input file: choose another output file"),
        (fifo, tmp_path / "out.jsonl", "rlkit reads it twice"),
        (empty, tmp_path / "out.jsonl", "holds no rows"),
    ]:
        done = run("--input", where, "--output", out)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert reason in done.stderr
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
