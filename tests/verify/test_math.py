import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlkit.verify.math import math_process
from rlkit.verify.math.math_judge import MathJudge


@pytest.fixture(scope="module")
def judge():
    judge = MathJudge()
    yield judge
    judge.close()


CORRECT = [
    ("72", "72.0"), ("1,234", "1234"), (r"\frac{1}{2}", "0.5"), (r"\frac12", "50%"), ("18", r"\$18.00"), ("-3", "−3"),
    ("2.5", "2½"), ("10000", "10{,}000"), ("5", "5 cm"), ("2000000", "2 million"), (r"2\sqrt{2}", r"\sqrt{8}"),
    ("(1,2)", "( 1 , 2 )"), (r"\{1,2\}", "2, 1"), ("[1,2)", r"1 \le x < 2"), (r"x=5", "5"), ("x^2+2x+1", "(x+1)^2"),
    (r"\frac{\pi}{4}", r"\pi/4"), ("3+4i", "4i+3"), (r"1\pm\sqrt2", r"1-\sqrt{2},1+\sqrt{2}"), 
    ("Alice", r"\text{alice}"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{bmatrix} 1 \\ \frac{4}{2} \end{bmatrix}"), ("12_8", "12_{8}"),
    (r"\sin^2 x+\cos^2 x", "1"), ("(B)", "B"), (r"(-\infty,2)\cup(3,\infty)", r"(3,\infty)\cup(-\infty,2)"),
]  # fmt: skip
WRONG = [
    ("10000", "9999"), (r"\frac13", "0.3333333333"), ("0.5", "50"), ("5", "5 or 6"), ("5 m", "5 cm"), ("12_8", "12_9"),
    ("(1,2)", "(2,1)"), ("(1,2)", "[1,2]"), ("Alice", "Bob"), ("listen", "silent"), ("5", "Alice"), ("3.14", r"\pi"),
    (r"\{1,2\}", r"\{1,2,3\}"), ("x^2", "x^2+10^{-30}"), ("37", "3 7"),
]  # fmt: skip
HOSTILE = [
    "9^{9^{9^9}}", "9**9**9**9", "1000000000!", "((" * 200 + "1" + "))" * 200, "a\0b", "1" * 1_000_000, "{" * 1999, "",
    "__import__('os').system('touch {path}')", r"\operatorname{{zeros}}(99999,99999)", r"\sum_{k=1}^{100} k",
    "(((x+1)^{99}+2)^{99}+3)^{99}", r"10^{10^{10}}", r"\binom{10^9}{10^8}", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize(("gold", "answer"), CORRECT)
def test_equal_answers_are_correct(judge, gold, answer):
    assert judge.judge(gold, answer).verdict == "correct"


@pytest.mark.parametrize(("gold", "answer"), WRONG)
def test_other_answers_are_wrong(judge, gold, answer):
    assert judge.judge(gold, answer).verdict == "wrong"


@pytest.mark.parametrize("answer", HOSTILE)
def test_hostile_answers_are_wrong_in_time_and_never_run(judge, tmp_path, answer):
    path = tmp_path / "ran"
    start = time.monotonic()
    verdict = judge.judge(r"\sqrt{7}", answer.replace("{path}", str(path)))
    assert verdict.verdict == "wrong"
    assert verdict.detail in ("unparsable", "not shown equal", "not equal")
    assert time.monotonic() - start < 10
    assert not path.exists()


@pytest.mark.parametrize("gold", ["", "9^{9^{9^9}}", r"\foo{", "x" * 5000])
def test_a_gold_that_cannot_be_read_is_unscored(judge, gold):
    assert judge.judge(gold, "5").verdict == "unscored"


@pytest.mark.parametrize("size", [401, 1001, 2001, 100_000])
def test_a_long_text_equals_itself_and_no_other_text(judge, size):
    gold = "7" * size
    assert judge.judge(gold, f" ${gold}$ ").verdict == "correct"
    assert judge.judge(gold, gold[:-1] + "8").verdict != "correct"
    assert judge.judge("5", gold).verdict == "wrong"


def test_a_whole_reply_is_judged_by_its_final_answer(judge):
    assert judge.judge_response("72", r"<think>\boxed{1}</think>\boxed{72}").verdict == "correct"
    assert judge.judge_response("72", r"<think>\boxed{72}").detail == "unparsable"


@given(st.fractions(max_denominator=10**6), st.fractions(max_denominator=10**6))
def test_plain_fractions_are_judged_exactly_and_without_a_worker(a, b):
    judge = MathJudge()
    judge._judge_outside = None
    verdict = judge.judge(str(a), rf"\frac{{{b.numerator}}}{{{b.denominator}}}").verdict
    assert (verdict == "correct") == (a == b)


def _worker_of(judge):
    """A live worker, started by a row that no other test has."""
    judge.judge(r"\sqrt{3}", f"x+{time.monotonic_ns()}")
    worker = judge._workers.get()
    judge._workers.put(worker)
    return worker


def test_a_worker_that_hangs_before_it_read_the_gold_leaves_the_row_unscored(judge, monkeypatch):
    worker = _worker_of(judge)
    # A stopped process stands for one C call that never returns: only a kill from outside helps.
    os.kill(worker._process.pid, signal.SIGSTOP)
    monkeypatch.setattr(judge, "_timeout_s", 0.5)
    verdict = judge.judge(r"\sqrt{7}", "y+1")
    assert (verdict.verdict, verdict.detail) == ("unscored", "the gold cannot be read: timeout")
    assert not worker.alive
    monkeypatch.undo()
    assert judge.judge(r"2\sqrt2", r"\sqrt 8").verdict == "correct"


def test_a_worker_that_died_is_replaced(judge):
    os.kill(_worker_of(judge)._process.pid, signal.SIGKILL)
    assert judge.judge("5", r"\sqrt{25}").verdict == "correct"


@pytest.mark.parametrize(
    ("does", "detail"),
    [("[x for x in iter(int, 1)]", "timeout"), ("'a' * 10**12", "memory"), ("os._exit(0)", "crash")],
)
def test_what_an_answer_does_to_its_worker_is_named_and_costs_its_row_only(monkeypatch, does, detail):
    # A real worker whose comparison of y misbehaves: what checks let through stands behind the limits.
    patch = (
        "import os; import rlkit.verify.math.verdict as v; right = v.same_answer; "
        f"v.same_answer = lambda g, a: {does} if 'y' in str(a) else right(g, a); "
        "from rlkit.verify.math.math_worker import main"
    )
    monkeypatch.setattr(
        math_process, "_START", math_process._START.replace("from rlkit.verify.math.math_worker import main", patch)
    )
    judge = MathJudge(timeout_s=1.0)
    verdict = judge.judge(r"\sqrt{7}", "y")
    assert (verdict.verdict, verdict.detail) == ("wrong", detail)
    assert judge.judge(r"\sqrt{7}", r"\frac{7}{\sqrt{7}}").verdict == "correct"
    judge.close()


def test_a_worker_ends_with_its_parent():
    script = (
        "import os; from rlkit.verify.math.math_judge import MathJudge; j = MathJudge(); j.judge('x', r'\\sqrt{x}');"
        "print(j._workers.get()._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    pid = int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60).stdout)
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}") and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline


def test_threads_share_a_judge(judge):
    found = []

    def work(k):
        found.append(judge.judge(rf"{k}\sqrt{{2}}", rf"\sqrt{{{2 * k * k}}}").verdict)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["correct"] * 8
