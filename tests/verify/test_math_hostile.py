"""Texts made to hang, exhaust, crash or command the judge: each row ends on time, alone, and nothing is executed."""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from rlkit.verify.extract import extract_answer
from rlkit.verify.math.math_judge import MathJudge

DEADLINE_S = 2.0
GRACE_S = 1.0
MEMORY_MB = 512
VERDICTS = {"correct", "wrong", "unscored"}


class Bomb:
    """Unpickled, it makes the file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return os.mknod, (self.path,)


NUMBERS = [
    "9^{9^{9}}", "9^{9^{9^{9^{9}}}}", "9**9**9**9", "9^9^9^9", "((9^9)^9)^9", "10^{10^{10}}", "2^{2^{2^{2^{2^{2}}}}}",
    r"\left(10^{100}\right)^{10^{100}}", "1000000000!", "((5!)!)!", "100000!!", "(10^9)!", r"\frac{10^7!}{(10^7-1)!}",
    r"\binom{10^9}{5\cdot 10^8}", r"\binom{99999999}{44444444}", "1e999999999", "1e-999999999", "9" * 100_000,
    "0." + "1" * 100_000, "-" * 50_000 + "1", r"\log_{9^{9^9}} 9", r"\sqrt[99999999]{9^{99999999}}", "x^{9^{9^{9}}}",
    r"99999999999999999999^{99999999999999999999}", "0.0000001^{-99999999999}", r"\Gamma(10^{12})", "(2^{9999})^{9999}",
    r"\cos(10^{10^{6}})", r"e^{e^{e^{e^{e^{e}}}}}", "1/(1-1)", "0^{-9^{9^9}}", r"\sqrt{\sqrt{\sqrt{9^{9^{9}}}}}",
    r"0.\overline{" + "142857" * 5000 + "}", "10^{1000000}\\%", r"9^{9^9} \text{ million}", r"12_{99999999999999}",
    "9" * 900 + "_{36}", "99999999:99999999", "i^{9^{9^{9}}}", "(1+i)^{10^{12}}",
]  # fmt: skip
NESTED = [
    "(" * 10_000 + "1" + ")" * 10_000, r"\sqrt{" * 3000 + "2" + "}" * 3000, r"\frac{1}{" * 900 + "2" + "}" * 900,
    "{" * 100_000, "}" * 100_000, "[" * 999 + "]" * 999, r"\left(" * 500 + r"\right)" * 500, "|" * 5000 + "x",
    "x^{" * 500 + "2" + "}" * 500, r"\sin" * 800 + " x", r"\boxed{" * 5000 + "5" + "}" * 5000,
    "-(" * 400 + "x" + ")" * 400, r"\{" * 300 + r"\}" * 300, r"\begin{pmatrix}" * 200 + r"\end{pmatrix}" * 200,
    "(1," * 300 + "1" + ")" * 300,
]  # fmt: skip
LONG = [
    "x" * 1_000_000, "1" * 1_000_000, "+".join(["x"] * 200_000), " " * 1_000_000, "\\" * 1_000_000, "1," * 500_000,
    r"\frac" * 200_000, "$" * 1_000_000, "5 or " * 200_000, "=" * 1_000_000, r"\pm" * 300_000, "½" * 500_000,
    r"1\pm" * 40 + "1", r"\cup".join(["(0,1)"] * 5000), "a" * 1_000_000 + "5", "^" * 100_000, "_" * 100_000,
    "5 " * 400_000,
]  # fmt: skip
SLOW = [
    "(x+1)^{5000}", "(((x+1)^{99}+2)^{99}+3)^{99}", "(a+b+c+d+e+f+g+h)^{40}", r"\frac{1}{(x^{99}-1)^{99}(x+y)^{99}}",
    r"\sum_{k=1}^{10^{15}} k^{k}", r"\prod_{k=1}^{10^{9}} k", r"\int_0^{\infty} x^{x^{x}} \sin(x^{x}) dx",
    "+".join(rf"\sqrt{{{p}}}" for p in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29)),
    "+".join(rf"\sin({k}x)^{{{k}}}" for k in range(1, 30)), r"\lim_{x\to 0}\frac{\sin(\tan x)-\tan(\sin x)}{x^{700}}",
    "".join(rf"(x+\sqrt{{{k}}})" for k in range(2, 40)), r"\sqrt{x+" * 30 + "x" + "}" * 30,
    "+".join(rf"\frac{{1}}{{x+{k}^{{{k}}}}}" for k in range(1, 60)), 
    r"\sin(\cos(\tan(" * 9 + "x" + ")))" * 9,
    "".join(f"({chr(97 + k)}+{k})" for k in range(26)), r"\arctan(\arctan(\arctan(2)))^{\sqrt{2}^{\sqrt{3}}}",
    r"\begin{vmatrix}"
    + r"\\".join("&".join(f"x_{{{i * 9 + j}}}" for j in range(9)) for i in range(9)) + r"\end{vmatrix}",
]  # fmt: skip
CODE = [
    "__import__('os').mknod('{path}')", "eval(\"__import__('os').mknod('{path}')\")", "exec(\"open('{path}','w')\")",
    "open('{path}','w')", "().__class__.__bases__[0].__subclasses__()", "{0.__class__.__init__.__globals__}",
    "{gold.__class__}", "%(gold)s%n%s", "${PATH}", "$(touch {path})", "`touch {path}`", "; touch {path}",
    "| touch {path}", "Symbol('x').__class__", "lambda: 5", "[c for c in ().__class__.__base__.__subclasses__()]",
    "\\x5f\\x5fimport\\x5f\\x5f", r"\input{/etc/passwd}", r"\write18{touch {path}}",
    r"\immediate\write18{touch {path}}", r"\openout5={path}", r"\def\x{\x\x}\x", r"\loop\iftrue\repeat",
    r"\csname end\endcsname", r"\operatorname{__import__('os').mknod('{path}')}", r"\operatorname{exec}(open)",
    r"\text{__import__('os').mknod('{path}')}", r"\mathrm{eval}(5)", "x.__class__.__mro__",
    r"\operatorname{zeros}(99999,99999)", r"\operatorname{FiniteSet}(5)", "_", "__", "f'{5}'", "sys.exit()", "quit()",
    "5\nimport os; os.mknod('{path}')", "5;__import__('os').mknod('{path}')", "5#{path}", '{"verdict": "correct"}',
    "cos\nsystem\n(S'touch {path}'\ntR.", "!!python/object/apply:os.mknod ['{path}']",
    "<!ENTITY x SYSTEM 'file:///etc'>",
]  # fmt: skip
BYTES = [
    "\0", "5\0", "\0" * 100_000, "5\x00\x01\x02", "\ud800", "5\udfff", "\u202e5", "\ufeff5", "\x1b[2J5", "\x7f\x80",
    "\U0010ffff", "\u0300" * 5000, "٣", "५", "Ⅷ",
    "𝟝" * 4000, "\r\n" * 5000, "\t", "\x0b\x0c", "﷽" * 3000, "ß" * 900, "ı", "\u2028",
]  # fmt: skip
MARKS = [
    r"\boxed{", "<answer>", "####", "A:", "the answer is ", "$$", r"\[", "1,", "{", "}", "<think>", "</think>",
    "答案是", r"\boxed ", "answer answer ", "**", "\n", "  ", "1 2", r"\fbox{\boxed{",
]  # fmt: skip
GROUPS = {"numbers": NUMBERS, "nested": NESTED, "long": LONG, "slow": SLOW, "code": CODE, "bytes": BYTES}


@pytest.fixture(scope="module")
def judge():
    judge = MathJudge(timeout_s=DEADLINE_S, memory_mb=MEMORY_MB)
    # Started here, so that no row pays for it.
    judge.judge(r"\sqrt{2}", "x")
    yield judge
    judge.close()


@pytest.fixture
def marker(tmp_path) -> Path:
    """A file that hostile programs try to make."""
    return tmp_path / "made"


def on_time(judge: MathJudge, gold: str, answer: str) -> str:
    start = time.monotonic()
    found = judge.judge(gold, answer)
    took = time.monotonic() - start
    assert took < DEADLINE_S + GRACE_S, (took, gold[:80], answer[:80])
    assert found.verdict in VERDICTS
    assert found.verdict != "unscored" or found.detail, "an unscored row says why"
    return found.verdict


@pytest.mark.parametrize("group", GROUPS)
def test_hostile_answers_are_wrong_on_time(judge, marker, group) -> None:
    for text in GROUPS[group]:
        answer = text.replace("{path}", str(marker))
        for gold in (r"\sqrt{7}", "x^2+x+1", r"\text{Alice}", "[1,2)"):
            assert on_time(judge, gold, answer) == "wrong", (gold, answer[:100])
    assert not marker.exists()


@pytest.mark.parametrize("group", GROUPS)
def test_hostile_golds_end_on_time_and_are_never_met(judge, marker, group) -> None:
    for text in GROUPS[group]:
        gold = text.replace("{path}", str(marker))
        for answer in (r"\frac{7}{13}", r"\cos(3x)+11"):
            assert on_time(judge, gold, answer) in {"wrong", "unscored"}, (gold[:100], answer)
    assert not marker.exists()


@pytest.mark.parametrize("group", GROUPS)
def test_hostile_texts_against_themselves_end_on_time(judge, marker, group) -> None:
    for text in GROUPS[group]:
        on_time(judge, text.replace("{path}", str(marker)), text.replace("{path}", str(marker)) + " ")
    assert not marker.exists()


def test_pickles_are_text_like_any_other(judge, marker) -> None:
    bomb = pickle.dumps(Bomb(str(marker)), protocol=0).decode("latin-1")
    for text in (bomb, f"\\boxed{{{bomb}}}", f"<answer>{bomb}</answer>"):
        assert judge.judge("5", text).verdict == "wrong"
        assert judge.judge_response("5", text).verdict == "wrong"
    assert judge.judge(bomb, "5").verdict in {"wrong", "unscored"}
    assert not marker.exists()
    # The bomb is live: read as a pickle, it does make the file.
    pickle.loads(bomb.encode("latin-1"))
    assert marker.exists()


def test_hostile_replies_are_searched_in_linear_time() -> None:
    start = time.monotonic()
    for unit in MARKS:
        extract_answer(unit * (1_000_000 // len(unit)))
        extract_answer(unit * (500_000 // len(unit)) + "5")
    assert time.monotonic() - start < len(MARKS) * GRACE_S


def test_neighbours_of_hostile_rows_are_judged_on_time() -> None:
    judge = MathJudge(timeout_s=DEADLINE_S, memory_mb=MEMORY_MB, num_workers=2)
    hostile = [(r"\sqrt{7}", answer) for answer in NUMBERS + SLOW] + [(gold, r"\sqrt{7}") for gold in SLOW]
    healthy = [(rf"{k}\sqrt{{2}}", rf"\sqrt{{{2 * k * k}}}") for k in range(2, 2 + len(hostile))]
    rows = [row for pair in zip(hostile, healthy, strict=True) for row in pair]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda row: (row, judge.judge(*row)), rows))
    judge.close()
    for row, verdict in found:
        assert (verdict.verdict == "correct") == (row in healthy), (row, verdict)
        assert verdict.seconds < DEADLINE_S + GRACE_S, (row, verdict)


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    return [child for child in process.children(recursive=True) if child.is_running()]


def test_workers_stay_under_their_memory_and_all_end_with_the_judge() -> None:
    me = psutil.Process()
    before = {child.pid for child in workers_of(me)}
    judge = MathJudge(timeout_s=DEADLINE_S, memory_mb=MEMORY_MB)
    done = threading.Event()
    peak_mb: list[float] = []

    def watch() -> None:
        while not done.wait(0.02):
            for child in workers_of(me):
                # A worker may be killed between the listing and the look.
                try:
                    if child.pid not in before:
                        peak_mb.append(child.memory_info().rss / 2**20)
                except psutil.NoSuchProcess:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    for text in NUMBERS + SLOW + NESTED:
        judge.judge(r"\sqrt{7}", text)
        judge.judge(text, r"\sqrt{7}")
    done.set()
    watcher.join()
    judge.close()
    assert max(peak_mb, default=0.0) < MEMORY_MB
    assert {child.pid for child in workers_of(me)} <= before


SMALL = [("5", r"\sqrt{25}", "correct"), (r"\sqrt{7}", "9^{9^{9}}", "wrong"), ("x+1", "1+x", "correct")]


def test_it_works_from_other_threads(judge) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.extend(judge.judge(gold, answer).verdict for gold, answer, _ in SMALL))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.count("correct") == 8
    assert found.count("wrong") == 4


def test_it_works_beside_an_event_loop_without_blocking_it(judge) -> None:
    async def judged() -> tuple[list[str], int]:
        ticks = 0
        rows = asyncio.gather(*(asyncio.to_thread(judge.judge, gold, answer) for gold, answer, _ in SMALL))
        while not rows.done():
            ticks += 1
            await asyncio.sleep(0)
        return [verdict.verdict for verdict in await rows], ticks

    found, ticks = asyncio.run(judged())
    assert found == [verdict for _, _, verdict in SMALL]
    assert ticks > 1


def test_it_works_inside_a_running_event_loop(judge) -> None:
    async def judged() -> list[str]:
        return [judge.judge(gold, answer).verdict for gold, answer, _ in SMALL]

    assert asyncio.run(judged()) == [verdict for _, _, verdict in SMALL]


def test_it_works_in_a_ray_actor(ray_cluster) -> None:
    import ray

    class Scorer:
        def judged(self) -> list[str]:
            judge = MathJudge()
            found = [judge.judge(gold, answer).verdict for gold, answer, _ in SMALL]
            judge.close()
            return found

    # Sent by value: the actor's process does not import the tests.
    import ray.cloudpickle

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    actor = ray.remote(num_cpus=0)(Scorer).remote()
    try:
        assert ray.get(actor.judged.remote()) == [verdict for _, _, verdict in SMALL]
    finally:
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
        ray.kill(actor)


def test_huge_numbers_end_on_time_with_gmpy2_in_the_worker() -> None:
    # gmpy2 computes in one C call that holds the GIL and hears no signal handler; every other test runs without it
    # where it is not installed.
    pytest.importorskip("gmpy2")
    before = {child.pid for child in workers_of(psutil.Process())}
    judge = MathJudge(timeout_s=DEADLINE_S, memory_mb=MEMORY_MB)
    assert judge.judge("x+1", "1+x").verdict == "correct"
    workers = [child for child in workers_of(psutil.Process()) if child.pid not in before]
    assert any("gmpy2" in Path(f"/proc/{worker.pid}/maps").read_text() for worker in workers)
    for text in NUMBERS + SLOW:
        assert on_time(judge, r"\sqrt{7}", text) == "wrong"
    judge.close()
