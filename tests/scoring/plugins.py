"""Plugins that behave badly, each in its own way; the scoring tests load them as a stranger's file would be."""

import os
import signal
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
