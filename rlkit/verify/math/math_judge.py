"""The math judge: is an answer equal to the gold one? Plain numbers here, everything else in killable processes.

    gold, answer -> both plain numbers? -> cache -> a worker process (`verdict`; ended by SIGKILL at the deadline)

A row that hangs, runs out of memory or ends its worker is `wrong` with that detail, or `unscored` where the gold itself
did it. The worker is replaced, and no other row is affected.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from rlkit.records import Verdict
from rlkit.verify.extract import extract_answer
from rlkit.verify.math.math_process import START_TIMEOUT_S, UNREAD, JudgeLost, Worker
from rlkit.verify.number import plain_number

_CRASHED_EARLY = UNREAD + "crash"
_MAX_CHARS = 2000
"""Longer texts are compared as text and never read."""


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
        self._workers: queue.LifoQueue[Worker | None] = queue.LifoQueue()
        for _ in range(num_workers):
            self._workers.put(None)
        self._spares: queue.SimpleQueue[Worker | None] = queue.SimpleQueue()
        self._num_spares = 0
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
                    worker = worker if worker is not None and worker.alive else Worker(self._memory_mb)
                except JudgeLost as e:
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
        while (spare := self._take_spare()) is not None:
            spare.kill()

    def _prepare_spare(self) -> None:
        """Starts a worker beside a row that is slow, so that the next one need not wait for its start."""
        with self._lock:
            if self._num_spares:
                return
            self._num_spares += 1
        threading.Thread(target=self._start_spare, daemon=True).start()

    def _start_spare(self) -> None:
        try:
            self._spares.put(Worker(self._memory_mb))
        except (JudgeLost, OSError):
            self._spares.put(None)

    def _take_spare(self) -> Worker | None:
        """The spare worker, once it has started; None where none was asked for or it did not start."""
        with self._lock:
            if not self._num_spares:
                return None
            self._num_spares -= 1
        return self._spares.get(timeout=2 * START_TIMEOUT_S)

    def _judge(self, gold: str, answer: str, options: dict[str, Any]) -> tuple[str, str]:
        """The verdict by the cheapest way that can tell: as text, as plain numbers, or in a worker."""
        if max(len(gold), len(answer)) > _MAX_CHARS and _bare(gold) == _bare(answer) != "":
            return "correct", "same text"
        if len(gold) > _MAX_CHARS or not gold.strip() or "\0" in gold:
            return "unscored", UNREAD + "empty or too long"
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
        """The verdict from the cache or a worker."""
        key = json.dumps(row)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        deadline = time.monotonic() + self._timeout_s
        found = self._ask(row, self._timeout_s)
        left = deadline - time.monotonic()
        if found == ("unscored", _CRASHED_EARLY) and left > self._timeout_s / 2:
            # The worker may have been killed while it was idle; a gold that ends a worker will do so again.
            found = self._ask(row, left)
        # A row may have been late because the machine was busy, so it is judged again next time.
        if found[0] == "unscored" or found[1] == "timeout" or not self._cache_rows:
            return found
        with self._lock:
            self._cache[key] = found
            if len(self._cache) > self._cache_rows:
                self._cache.popitem(last=False)
        return found

    def _ask(self, row: dict[str, Any], timeout_s: float) -> tuple[str, str]:
        """The verdict of a worker, which is started if need be."""
        worker = self._workers.get()
        try:
            if worker is None or not worker.alive:
                worker = self._take_spare() or Worker(self._memory_mb)
            return worker.judge(row, timeout_s, self._prepare_spare)
        except (JudgeLost, OSError) as e:
            worker = None
            return "unscored", f"the judge could not start: {e}"
        finally:
            self._workers.put(worker if worker is not None and worker.alive else None)


def _bare(text: str) -> str:
    """A long text without runs of blanks, and without blanks, dollar signs and full stops round it."""
    return " ".join(text.split()).strip("$ .")


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
