"""repetition: measures repetition in a text by long n-grams and by compression."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from rlkit import Group, Score

NGRAM = 20
"""Words of an n-gram. Honest mathematics repeats no 20-grams; with 3-grams it would lose a third of its score."""
_MAX_CHARS = 200_000
_WINDOW = 2000
"""Bytes that are compressed at a time, so that padding with other text cannot hide a repetitive passage."""
_DENSE, _EMPTY = 0.2, 0.05
"""Compressed size over size: from the first value on the score is full, at the second it is 0."""


def repeated_ngrams(text: str, n: int = NGRAM) -> int:
    """Number of n-grams of words that occurred earlier in the text; 0 if no n consecutive words are repeated."""
    words = text[:_MAX_CHARS].split()
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return len(grams) - len(set(grams))


def density(text: str) -> float:
    """Compressed size over size of the most compressible 2000 bytes; 1 for a shorter text.

    English with formulas has 0.4 to 0.6, a phrase with a running number 0.1, one letter 0.01.
    """
    raw = text[:_MAX_CHARS].encode("utf-8", "replace")
    windows = [raw[i : i + _WINDOW] for i in range(0, len(raw) - _WINDOW + 1, _WINDOW // 2)]
    return min((len(zlib.compress(window)) / _WINDOW for window in windows), default=1.0)


def originality(text: str, n: int = NGRAM) -> float:
    """1 for a text without repetition, falling towards 0 with every repeated n-gram; 0 if it repeats one phrase.

    Depends on the amount of repetition, not its share, so padding does not help. n repeated n-grams halve the score.
    """
    repetition = 1 / (1 + repeated_ngrams(text, n) / n)
    return repetition * min(1.0, max(0.0, (density(text) - _EMPTY) / (_DENSE - _EMPTY)))


@dataclass(frozen=True)
class Repetition:
    """1 for a reply without repetition, less with repetition: by n-grams (arXiv:2502.03373) and compression.

    The paper's penalty counts 3-grams, which punishes honest mathematics. Here n is at least 10; 20 and 40 give real
    replies the full score. As a penalty, list the part in `reward.combine.penalties`.

    Args:
        ngram: number of words of an n-gram.
        penalty: return originality - 1, in [-1, 0], instead of the originality.
    """

    ngram: int = NGRAM
    penalty: bool = False

    def __post_init__(self) -> None:
        if self.ngram < 10:
            raise ValueError(f"ngram={self.ngram}: shorter than 10 words punishes honest mathematics")

    def score(self, group: Group) -> list[Score]:
        """One score per sample."""
        return [self._one(sample.response) for sample in group.samples]

    def _one(self, response: str) -> Score:
        value = originality(response, self.ngram)
        evidence = {"repeated": repeated_ngrams(response, self.ngram), "density": round(density(response), 4)}
        reason = f"{evidence['repeated']} repeated {self.ngram}-grams, density {evidence['density']}"
        return Score(value - self.penalty, "", reason, evidence)
