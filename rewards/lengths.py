"""Published length rewards, each as a reward part; bounded, and with lengths in tokens."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Literal

from rewards.by_accuracy import without_accuracy
from rlkit import Group, Sample, Score

Shape = Literal["linear", "cosine"]


def falling(amount: float, full_until: float, nothing_from: float, shape: Shape = "linear") -> float:
    """1 up to `full_until`, 0 from `nothing_from` on, and a line or half a cosine wave between them.

    falling(125, 100, 200) -> 0.75;  falling(125, 100, 200, "cosine") -> 0.854
    """
    assert full_until < nothing_from
    progress = min(1.0, max(0.0, (amount - full_until) / (nothing_from - full_until)))
    return 1 - progress if shape == "linear" else (1 + math.cos(math.pi * progress)) / 2


def soft_overlong(num_tokens: int, max_tokens: int, margin: int) -> float:
    """DAPO's soft overlong punishment (arXiv:2503.14476, eq. 13): 0, then falling to -1 over the last `margin` tokens.

    max_tokens 100, margin 20: 80 tokens -> 0, 90 -> -0.5, 100 and more -> -1
    """
    if margin == 0:
        return -float(num_tokens > max_tokens)
    return falling(num_tokens, max_tokens - margin, max_tokens) - 1


def _right(group: Group) -> list[bool | Score]:
    """Whether each sample is right; if its accuracy has no value, the score that the sample gets instead."""
    return [without_accuracy(s) if s.value is None else s.value >= 1 for s in group.scores["accuracy"]]


@dataclass(frozen=True)
class SoftOverlong:
    """DAPO's soft overlong punishment, in [-1, 0] (arXiv:2503.14476, eq. 13). List it in `reward.combine.penalties`.

    Args:
        max_tokens: length at which it is -1.
        margin: number of tokens before `max_tokens` over which it falls from 0 to -1.
    """

    max_tokens: int
    margin: int

    def __post_init__(self) -> None:
        if not 0 <= self.margin <= self.max_tokens:
            raise ValueError(f"margin={self.margin} must be between 0 and max_tokens={self.max_tokens}")

    def score(self, group: Group) -> list[Score]:
        """One score per sample, whether right or wrong."""
        return [
            Score(soft_overlong(s.num_tokens, self.max_tokens, self.margin), "", f"{s.num_tokens} tokens")
            for s in group.samples
        ]


@dataclass(frozen=True)
class CosineLength:
    """The cosine reward (arXiv:2502.03373), counted in tokens, clamped at `max_tokens`.

    lo + (hi - lo) / 2 x (1 + cos(pi n / max_tokens)). The paper gives right replies 2 to 1, wrong ones -10 to 0, and
    -10 over the limit. By default wrong replies get 0 here, so that no wrong reply gains by being long.

    Args:
        max_tokens: the maximum length.
        right: value of a right reply with 0 tokens, and with `max_tokens`.
        wrong: the same for a wrong reply; neither may exceed the value of a right reply.
        over: value of any reply over the limit.
    """

    max_tokens: int
    right: tuple[float, float] = (1.0, 0.5)
    wrong: tuple[float, float] = (0.0, 0.0)
    over: float = 0.0
    needs = ("accuracy",)

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens={self.max_tokens} must be above 0")
        if max(*self.wrong, self.over) > min(self.right):
            raise ValueError(f"wrong={self.wrong} or over={self.over} exceeds right={self.right}")

    def score(self, group: Group) -> list[Score]:
        """One score per sample."""
        return [self._one(s, right) for s, right in zip(group.samples, _right(group), strict=True)]

    def _one(self, sample: Sample, right: bool | Score) -> Score:
        if isinstance(right, Score):
            return right
        if sample.num_tokens > self.max_tokens:
            return Score(self.over, "over", f"{sample.num_tokens} tokens, at most {self.max_tokens} are allowed")
        short, long = self.right if right else self.wrong
        value = long + (short - long) * falling(sample.num_tokens, 0, self.max_tokens, "cosine")
        return Score(value, "", f"{sample.num_tokens} of {self.max_tokens} tokens")


@dataclass(frozen=True)
class GroupLength:
    """Kimi k1.5's length reward (2.3.3, arXiv:2501.12599), in [-0.5, 0.5].

    0.5 - (length - shortest) / (longest - shortest) of the group; a wrong reply gets at most 0. In the paper a group
    without a right reply still learns to be short; here it gets 0. For the paper's warm-up use `reward.combine.ramps`.
    """

    needs = ("accuracy",)

    def score(self, group: Group) -> list[Score]:
        """One score per sample."""
        right = _right(group)
        lengths = [sample.num_tokens for sample in group.samples]
        shortest, spread = min(lengths), max(lengths) - min(lengths)
        scores = []
        for length, is_right in zip(lengths, right, strict=True):
            share = 0.5 - (length - shortest) / spread if spread and True in right else 0.0
            value = share if is_right is True else min(0.0, share)
            reason = f"{length} tokens, the group has {shortest} to {shortest + spread}"
            scores.append(is_right if isinstance(is_right, Score) else Score(value, "", reason))
        return scores


@dataclass(frozen=True)
class EfficientReasoning:
    """right x (1 - alpha x sigmoid((length - mean) / std)) over the group's right replies (arXiv:2502.04463).

    right replies of 100 and 200 tokens with alpha 0.4 -> 0.892 and 0.708; wrong ones -> 0

    Args:
        alpha: maximum loss of a right reply by its length, below 1.
    """

    alpha: float = 0.1
    needs = ("accuracy",)

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < 1:
            raise ValueError(f"alpha={self.alpha} must be in [0, 1): at 1 a long right reply scores like a wrong one")

    def score(self, group: Group) -> list[Score]:
        """One score per sample."""
        right = _right(group)
        lengths = [s.num_tokens for s, is_right in zip(group.samples, right, strict=True) if is_right is True]
        mean = statistics.fmean(lengths) if lengths else 0.0
        std = statistics.pstdev(lengths) if lengths else 0.0
        return [self._one(s.num_tokens, r, mean, std) for s, r in zip(group.samples, right, strict=True)]

    def _one(self, num_tokens: int, right: bool | Score, mean: float, std: float) -> Score:
        if isinstance(right, Score):
            return right
        if not right:
            return Score(0.0, "wrong", "only right replies get a score")
        distance = (num_tokens - mean) / std if std else 0.0
        value = 1 - self.alpha / (1 + math.exp(-distance))
        return Score(value, "", f"{num_tokens} tokens, right replies have {mean:.0f} on average")
