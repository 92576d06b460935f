"""Rewards for tags and step labels. Empty, repeated and adjacent marks do not count."""

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
    """Share of the tags that occur exactly once, in order, with text between them (open-r1's tag count).

    The original gives "<think></think><answer></answer>" the full reward. Here a pair of tags counts only with at least
    one word between them.

    Args:
        tags: alternately opening and closing tags.
    """

    tags: tuple[str, ...] = ("<think>", "</think>", "<answer>", "</answer>")

    def __post_init__(self) -> None:
        if not self.tags or len(self.tags) % 2:
            raise ValueError(f"tags={list(self.tags)}: give alternately opening and closing tags")

    def score(self, group: Group) -> list[Score]:
        """One score per sample."""
        return [self._one(sample.response) for sample in group.samples]

    def _one(self, response: str) -> Score:
        position, good = 0, 0
        for opening, closing in zip(self.tags[::2], self.tags[1::2], strict=True):
            start, end = response.find(opening, position), response.find(closing, position)
            once = response.count(opening) == 1 and response.count(closing) == 1 and 0 <= start < end
            if once and _WORD.search(response[start + len(opening) : end]):
                good += 2
                position = end + len(closing)
        return Score(good / len(self.tags), "", f"{good} of {len(self.tags)} tags occur once, in order and not empty")


@dataclass(frozen=True)
class StepLabels:
    """min(1, n / 3) for n labelled steps in the thought of a right reply (open-r1's reasoning steps).

    The original gives "First,First,First," the full reward. Here a label counts only once, at the start of a line, and
    if at least `min_words` new words follow it before the next label.

    Args:
        wanted: number of labelled steps for the full reward.
        min_words: minimum number of words in a step that no earlier step contains.
    """

    wanted: int = 3
    min_words: int = 5
    needs = ("accuracy",)

    def __post_init__(self) -> None:
        if self.wanted < 1 or self.min_words < 1:
            raise ValueError(f"wanted={self.wanted} and min_words={self.min_words} must be above 0")

    def score(self, group: Group) -> list[Score]:
        """One score per sample."""
        accuracy = group.scores["accuracy"]
        return [self._one(s.response, given) for s, given in zip(group.samples, accuracy, strict=True)]

    def _one(self, response: str, accuracy: Score) -> Score:
        if accuracy.value is None:
            return without_accuracy(accuracy)
        if accuracy.value < 1:
            return Score(0.0, "wrong", "only right replies get a score for labels")
        steps = self._steps(split_reply(response).thought or "")
        return Score(min(1.0, steps / self.wanted), "", f"{steps} labelled steps")

    def _steps(self, thought: str) -> int:
        marks = list(_LABEL.finditer(thought))
        ends = [(mark, next_mark.start()) for mark, next_mark in pairwise(marks)] + [
            (m, len(thought)) for m in marks[-1:]
        ]
        labels: set[str] = set()
        earlier: set[str] = set()
        for mark, end in ends:
            new = {word.lower() for word in _WORD.findall(thought[mark.end() : end])} - earlier
            if len(new) >= self.min_words and mark[1] not in labels:
                labels.add(mark[1])
            earlier |= new
        return len(labels)
