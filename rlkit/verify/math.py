"""The math judge: is an answer exactly the gold one? Plain numbers here, everything else in killable worker processes.

    gold, answer -> both plain numbers? -> cache -> worker (`answers/`, sympy; deadline by SIGKILL)

A row that hangs, exhausts its memory or kills its worker is `wrong` with that detail, or `unscored` where the gold
itself did it; the worker is replaced and no other row notices.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import select
import struct
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlkit.records import Verdict
from rlkit.verify.extract import extract_answer
from rlkit.verify.number import plain_number
from rlkit.verify.worker import MAX_MESSAGE, send

_START_TIMEOUT_S = 120.0
_UNREAD = "the gold cannot be read: "
_CRASHED_EARLY = _UNREAD + "crash"
_MAX_CHARS = 2000
_START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from rlkit.verify.worker import main; main(int(sys.argv[1]))"


class _Lost(Exception):
    """The worker gave no verdict: "timeout", "memory" or "crash"."""


class _Worker:
    """One judging process; ready when the constructor returns."""

    def __init__(self, memory_mb: int) -> None:
        root = str(Path(__file__).resolve().parents[2])
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _START, root, str(memory_mb)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            start_new_session=True,
        )
        try:
            self._receive(time.monotonic() + _START_TIMEOUT_S)
        except _Lost:
            self.kill()
            raise

    def judge(self, row: Mapping[str, Any], timeout_s: float) -> tuple[str, str]:
        """(verdict, detail); after "timeout", "memory" or "crash" as detail this worker is dead."""
        deadline = time.monotonic() + timeout_s
        gold_is_read = False
        try:
            send(self._stdin, {**row, "cpu_s": timeout_s})
            while True:
                message = self._receive(deadline)
                if "verdict" in message:
                    return message["verdict"], message["detail"]
                if "memory" in message:
                    raise _Lost("memory")
                gold_is_read = True
        except (_Lost, OSError) as e:
            self.kill()
            detail = str(e) if isinstance(e, _Lost) else "crash"
            return ("wrong", detail) if gold_is_read else ("unscored", _UNREAD + detail)

    @property
    def alive(self) -> bool:
        """Whether it can judge another row."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Ends the process at once and waits for its end."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]

    @property
    def _stdin(self) -> int:
        assert self._process.stdin is not None
        return self._process.stdin.fileno()

    def _receive(self, deadline: float) -> dict[str, Any]:
        (size,) = struct.unpack("!I", self._read(4, deadline))
        if size > MAX_MESSAGE:
            raise _Lost("crash")
        message: dict[str, Any] = json.loads(self._read(size, deadline))
        return message

    def _read(self, size: int, deadline: float) -> bytes:
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        data = b""
        while len(data) < size:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise _Lost("timeout")
            chunk = os.read(fd, size - len(data))
            if not chunk:
                raise _Lost("timeout" if self._process.wait() == -24 else "crash")  # 24: SIGXCPU
            data += chunk
        return data


class MathJudge:
    """Judges math answers exactly; safe to share between threads.

    Args:
        timeout_s: longest time for one row, in seconds.
        memory_mb: address space of a worker process, in MiB.
        num_workers: worker processes; each starts when it is first needed.
        cache_rows: verdicts that are kept, since the samples of a group repeat their answers; 0: none.
        tolerance: largest relative difference of two numbers that counts as equal; 0: exact.
        unevaluated: whether an answer may leave a sum, product, integral or limit for the judge to work out.
        last_number: whether a reply's last number counts where it marks nothing as its answer.
    """

    def __init__(
        self,
        timeout_s: float = 5.0,
        memory_mb: int = 1024,
        num_workers: int = 1,
        *,
        cache_rows: int = 20_000,
        tolerance: float = 0.0,
        unevaluated: bool = True,
        last_number: bool = True,
    ) -> None:
        assert timeout_s > 0
        assert memory_mb >= 256
        assert num_workers >= 1
        assert 0 <= tolerance < 1
        self._timeout_s = timeout_s
        self._memory_mb = memory_mb
        self._last_number = last_number
        self._options = {"tolerance": tolerance, "unevaluated": unevaluated}
        self._workers: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(num_workers):
            self._workers.put(None)
        self._cache_rows = cache_rows
        self._cache: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._lock = threading.Lock()

    def judge(
        self, gold: str, answer: str, *, choices: Mapping[str, str] | None = None, tolerance: float | None = None
    ) -> Verdict:
        """Whether a bare answer equals the gold one: "correct", "wrong" or "unscored" (the gold cannot be read).

        Args:
            gold: The reference.
            answer: Without the words round it; see `extract_answer`.
            choices: Texts of a multiple-choice task by letter: a choice's text counts as its letter.
            tolerance: This task's own, in place of the judge's.
        """
        start = time.perf_counter()
        options: dict[str, Any] = dict(self._options)
        if choices:
            options["choices"] = {str(letter): str(text) for letter, text in choices.items()}
        if tolerance is not None:
            options["tolerance"] = tolerance
        verdict, detail = self._judge(gold, answer, options)
        return Verdict(verdict, detail, time.perf_counter() - start)

    def judge_response(
        self, gold: str, response: str, *, choices: Mapping[str, str] | None = None, tolerance: float | None = None
    ) -> Verdict:
        """The same for a whole reply: its final answer is extracted first; without one it is wrong, "unparsable"."""
        answer = extract_answer(response, last_number=self._last_number) or ""
        return self.judge(gold, answer, choices=choices, tolerance=tolerance)

    def start(self) -> None:
        """Starts every worker now, in place of when it is first needed.

        Raises:
            OSError: a process could not be started.
        """
        with contextlib.ExitStack() as taken:
            for _ in range(self._workers.qsize()):
                worker = self._workers.get()
                try:
                    worker = worker if worker is not None and worker.alive else _Worker(self._memory_mb)
                except _Lost as e:
                    raise OSError(f"a judging process did not start: {e}") from e
                finally:
                    taken.callback(self._workers.put, worker)

    def close(self) -> None:
        """Ends the idle workers; the next row starts a new one."""
        for _ in range(self._workers.qsize()):
            with contextlib.suppress(queue.Empty):
                worker = self._workers.get_nowait()
                if worker is not None:
                    worker.kill()
                self._workers.put(None)

    def _judge(self, gold: str, answer: str, options: dict[str, Any]) -> tuple[str, str]:
        if len(gold) > _MAX_CHARS or not gold.strip() or "\0" in gold:
            return "unscored", _UNREAD + "empty or too long"
        # An unreadable answer to an unreadable gold is unscored, so the gold comes first.
        if len(answer) > _MAX_CHARS or not answer.strip() or "\0" in answer:
            answer = ""
        wanted = plain_number(gold)
        if wanted is not None:
            given = plain_number(answer)
            if wanted == given:
                return "correct", "equal numbers"
            if given is not None and not options["tolerance"]:
                return "wrong", "not equal"
            if not answer:
                return "wrong", "unparsable"
        return self._judge_outside({"gold": gold, "answer": answer, "options": options})

    def _judge_outside(self, row: dict[str, Any]) -> tuple[str, str]:
        key = json.dumps(row)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        found = self._ask(row)
        if found == ("unscored", _CRASHED_EARLY):
            # It may have died while it was idle, by another's hand; a gold that kills it will do so again.
            found = self._ask(row)
        # A deadline passed may be the machine's doing; it is judged anew.
        if found[0] == "unscored" or found[1] == "timeout" or not self._cache_rows:
            return found
        with self._lock:
            self._cache[key] = found
            if len(self._cache) > self._cache_rows:
                self._cache.popitem(last=False)
        return found

    def _ask(self, row: dict[str, Any]) -> tuple[str, str]:
        worker = self._workers.get()
        try:
            if worker is None or not worker.alive:
                worker = _Worker(self._memory_mb)
            return worker.judge(row, self._timeout_s)
        except (_Lost, OSError) as e:
            worker = None
            return "unscored", f"the judge could not start: {e}"
        finally:
            self._workers.put(worker if worker is not None and worker.alive else None)


_shared: dict[int, MathJudge] = {}
_shared_lock = threading.Lock()


def _shared_judge() -> MathJudge:
    with _shared_lock:
        # Keyed by process: a forked child must not talk to its parent's workers.
        if os.getpid() not in _shared:
            _shared[os.getpid()] = MathJudge()
            atexit.register(_shared[os.getpid()].close)
        return _shared[os.getpid()]


def judge_math(gold: str, answer: str | None = None, response: str | None = None) -> Verdict:
    """Judges a bare answer or a whole reply with this process's shared judge; give one of the two.

    judge_math("\\\\frac{1}{2}", "0.5").verdict -> "correct"
    """
    assert (answer is None) != (response is None), "give answer or response"
    judge = _shared_judge()
    return judge.judge(gold, answer) if answer is not None else judge.judge_response(gold, response or "")
