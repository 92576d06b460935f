"""Plugins that behave badly, each in its own way; the scoring tests load them as a stranger's file would be."""

import asyncio
import os
import signal
import subprocess
import time
from dataclasses import dataclass

from rlkit import Group, Score


@dataclass(frozen=True)
class ShortAnswers:
    limit: int = 200

    def score(self, group: Group) -> list[Score]:
        return [
            Score(1.0 if s.num_tokens <= self.limit else 0.0, reason=f"{s.num_tokens} tokens") for s in group.samples
        ]


class TellsWhatItSees:
    """Evidence: a sample's fields, token ids as the arrays that they are."""

    def score(self, group):
        return [Score(1.0, evidence=[s.token_ids, s.token_ids[0], len(s.logprobs)]) for s in group.samples]


@dataclass
class Typed:
    names: tuple[str, ...]
    share: float = 0.5

    def score(self, group):
        return [Score(self.share)] * len(group.samples)


class AfterAccuracy:
    needs = ("accuracy",)

    def score(self, group):
        return [Score(score.value) for score in group.scores["accuracy"]]


class First:
    needs = ("second",)

    def score(self, group):
        return []


class Second:
    needs = ("first",)

    def score(self, group):
        return []


class NoScore:
    pass


class BrokenConstructor:
    def __init__(self):
        raise ValueError("no weights file")


class ExitingConstructor:
    def __init__(self):
        raise SystemExit(3)


class OnPrompt:
    """Does what the prompt says."""

    def score(self, group):
        word = group.task.prompt
        good = [Score(0.5) for _ in group.samples]
        if word == "raise":
            raise ZeroDivisionError("a mistake")
        if word == "exit":
            raise SystemExit(3)
        if word == "hang":
            time.sleep(10_000)
        if word == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return {
            "count": good[1:],
            "nan": [Score(float("nan"))] * len(good),
            "type": 7,
            "text": [Score("1")] * len(good),
        }.get(word, good)


class OnReply:
    """Does to the whole group what one of its replies says."""

    def score(self, group):
        return [self._one(s.response) for s in group.samples if s.response != "few"]

    def _one(self, word):
        if word == "raise":
            raise ZeroDivisionError("a mistake")
        if word == "hang":
            time.sleep(10_000)
        if word == "compute":
            return Score(float(len(str(7 ** (10**9)))))  # one call of C that holds the interpreter
        if word == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "exit":
            os._exit(0)
        if word == "eat":
            held = [bytearray(2**24) for _ in range(640)]  # 10 GB
            return Score(float(len(held)))
        while word == "flood":
            print("x" * 10_000)
        return {"nan": Score(float("nan")), "text": Score("1"), "type": 7}.get(word, Score(0.5, reason="well"))


class Shares:
    """Compares a group's replies: each one's share of all their tokens. Raises on "raise"."""

    def score(self, group):
        if any(s.response == "raise" for s in group.samples):
            raise ValueError("poison")
        total = sum(s.num_tokens for s in group.samples)
        return [Score(s.num_tokens / total) for s in group.samples]


class OneByOne:
    """Scores a sample at a time."""

    def score_one(self, task, sample):
        return Score(float(len(sample.response)), reason=task.id)


class OneByOneAsync:
    """All samples of a group at once."""

    def __init__(self):
        self._waiting = 0

    async def score_one(self, task, sample):
        self._waiting += 1
        while self._waiting < 2:  # goes on only once the other sample is being scored too
            await asyncio.sleep(0)
        return Score(float(len(sample.response)))


class GroupAsync:
    async def score(self, group):
        await asyncio.sleep(0)
        return [Score(1.0) for _ in group.samples]


class Clock:
    """Says something else each time."""

    def score(self, group):
        return [Score(time.perf_counter() % 1) for _ in group.samples]


class Keeps:
    """Never gives back what it takes: 64 MB for each sample that says "keep"."""

    def __init__(self):
        self._kept = []

    def score(self, group):
        self._kept += [bytearray(2**26) for s in group.samples if s.response == "keep"]
        return [Score(1.0) for _ in group.samples]


class Where:
    """Says in which process it scores, and which GPUs that may see."""

    def score(self, group):
        found = {"pid": os.getpid(), "gpus": os.environ.get("CUDA_VISIBLE_DEVICES")}
        return [Score(1.0, evidence=found) for _ in group.samples]


class Several(OnReply):
    """Scores several groups in a call, says how many, and does to all of them what one reply says."""

    def score_groups(self, groups):
        count = len(groups)
        scores = [[self._one(s.response) for s in group.samples] for group in groups]
        return [[Score(s.value, "", f"{count} groups") for s in some] for some in scores]


class Gated(Several):
    """The same, once a file is there."""

    def __init__(self, gate: str):
        self.gate = gate

    def score_groups(self, groups):
        while not os.path.exists(self.gate):
            time.sleep(0.01)
        return super().score_groups(groups)


class AddsOne:
    """One more than the part that it needs."""

    def __init__(self, to: str):
        self.needs = (to,)

    def score(self, group):
        (scores,) = group.scores.values()
        return [Score(score.value + 1, evidence={"pid": os.getpid()}) for score in scores]


class HoldsMuch:
    """Loads 200 MB before it scores."""

    def start(self):
        self._held = bytearray(200 << 20)

    def score(self, group):
        return [Score(float(len(self._held) >> 20)) for _ in group.samples]


class NoWeights:
    def start(self):
        raise OSError("no weights file")

    def score(self, group):
        return [Score(1.0) for _ in group.samples]


class Slow:
    """Takes a twentieth of a second a sample."""

    def score(self, group):
        until = time.perf_counter() + 0.05 * len(group.samples)
        while time.perf_counter() < until:
            pass
        return [Score(1.0) for _ in group.samples]


class Terminates:
    """Starts a program, asks it to end, and pays what became of it: 1 where it heard."""

    def score(self, group):
        program = subprocess.Popen(["sleep", "1000"])
        program.terminate()
        try:
            heard = program.wait(timeout=5) == -signal.SIGTERM
        except subprocess.TimeoutExpired:
            program.kill()
            heard = False
        return [Score(float(heard)) for _ in group.samples]
