"""Rewards for visible form: tags and step labels. Empty, repeated and stacked marks pay nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from rewards.by_accuracy import without_accuracy
from rlkit import Group, Score, split_reply

_LABEL = re.compile(
    r"^[-*#> \t]*"
    r"(Step \d{1,3}|First(?:ly)?|Second(?:ly)?|Third(?:ly)?|Next|Then|Finally|\d{1,3}(?=\.))\b",
    re.MULTILINE,
)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class TagCount:
    """Share of the tags that stand exactly once, in order, and hold something between them (open-r1's tag count).

    The original pays "<think></think><answer></answer>" in full; here a tag counts only if at least one word stands
    between it and the tag that it opens or closes with.

    Args:
        tags: opening and closing tags in turn.
    """

    tags: tuple[str, ...] = ("<think>", "</think>", "<answer>", "</answer>")

    def __post_init__(self) -> None:
        if not self.tags or len(self.tags) % 2:
            raise ValueError(f"tags={list(self.tags)}: opening and closing tags in turn are needed")

    def score(self, group: Group) -> list[Score]:
        """One score a sample."""
        return [self._one(sample.response) for sample in group.samples]

    def _one(self, response: str) -> Score:
        position, good = 0, 0
        for opening, closing in zip(self.tags[::2], self.tags[1::2], strict=True):
            start, end = response.find(opening, position), response.find(closing, position)
            once = response.count(opening) == 1 and response.count(closing) == 1 and 0 <= start < end
            if once and _WORD.search(response[start + len(opening) : end]):
                good += 2
                position = end + len(closing)
        return Score(good / len(self.tags), "", f"{good} of {len(self.tags)} tags stand once, in order and not empty")


@dataclass(frozen=True)
class StepLabels:
    """min(1, n / 3) for n labelled steps in the thought of a right reply (open-r1's reasoning steps).

    The original pays "First,First,First," in full; here a label counts at the start of a line, once, and with at least
    `min_words` words of its own before the next one.

    Args:
        wanted: labelled steps that pay in full.
        min_words: words that make a step, none of them in a step before it counted twice.
    """

    wanted: int = 3
    min_words: int = 5
    needs = ("accuracy",)

    def __post_init__(self) -> None:
        if self.wanted < 1 or self.min_words < 1:
            raise ValueError(f"wanted={self.wanted} and min_words={self.min_words} must be above 0")

    def score(self, group: Group) -> list[Score]:
        """One score a sample."""
        accuracy = group.scores["accuracy"]
        return [self._one(s.response, given) for s, given in zip(group.samples, accuracy, strict=True)]

    def _one(self, response: str, accuracy: Score) -> Score:
        if accuracy.value is None:
            return without_accuracy(accuracy)
        if accuracy.value < 1:
            return Score(0.0, "wrong", "only right replies are paid for labels")
        steps = self._steps(split_reply(response).thought or "")
        return Score(min(1.0, steps / self.wanted), "", f"{steps} labelled steps")

    def _steps(self, thought: str) -> int:
        marks = list(_LABEL.finditer(thought))
        ends = [(mark, next_mark.start()) for mark, next_mark in pairwise(marks)] + [
            (m, len(thought)) for m in marks[-1:]
        ]
        labels: set[str] = set()
        said: set[str] = set()
        for mark, end in ends:
            own = {word.lower() for word in _WORD.findall(thought[mark.end() : end])} - said
            if len(own) >= self.min_words and mark[1] not in labels:
                labels.add(mark[1])
            said |= own
        return len(labels)
