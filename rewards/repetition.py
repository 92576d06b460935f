"""repetition: what a text says again and again, told by long n-grams and by compression."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from rlkit import Group, Score

NGRAM = 20
"""Words. At 20 and more honest mathematics repeats nothing; at 3 it would lose a third of its pay."""
_MAX_CHARS = 200_000
_WINDOW = 2000
"""Bytes that are compressed at a time, so that padding with other text cannot hide a repetitive stretch."""
_DENSE, _EMPTY = 0.2, 0.05
"""Compressed size over size: from the first on nothing is lost, at the second everything."""


def repeated_ngrams(text: str, n: int = NGRAM) -> int:
    """How many n-grams of words stood in the text before: 0 for a text that never repeats n words in a row."""
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
    """1 for a text that repeats nothing, towards 0 with every repeated n-gram, 0 where it is all but one phrase.

    What counts is how much is repeated, not its share: padding cannot buy it back. n repeated n-grams halve it.
    """
    said_again = 1 / (1 + repeated_ngrams(text, n) / n)
    return said_again * min(1.0, max(0.0, (density(text) - _EMPTY) / (_DENSE - _EMPTY)))


@dataclass(frozen=True)
class Repetition:
    """1 for a reply without repetition, else less: originality of n-grams and of compression (arXiv:2502.03373).

    The n-gram penalty of the source counts 3-grams, which punishes honest mathematics; here n is at least 10, the sizes
    that lose nothing on real replies are 20 and 40. As a penalty, name it in `reward.combine.penalties`.

    Args:
        ngram: words of an n-gram.
        penalty: give the loss, originality - 1 in [-1, 0], instead of the originality.
    """

    ngram: int = NGRAM
    penalty: bool = False

    def __post_init__(self) -> None:
        if self.ngram < 10:
            raise ValueError(f"ngram={self.ngram}: shorter than 10 words punishes honest mathematics")

    def score(self, group: Group) -> list[Score]:
        """One score a sample."""
        return [self._one(sample.response) for sample in group.samples]

    def _one(self, response: str) -> Score:
        value = originality(response, self.ngram)
        evidence = {"repeated": repeated_ngrams(response, self.ngram), "density": round(density(response), 4)}
        reason = f"{evidence['repeated']} repeated {self.ngram}-grams, density {evidence['density']}"
        return Score(value - self.penalty, "", reason, evidence)
