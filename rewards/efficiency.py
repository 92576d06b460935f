"""efficiency: how long a right reply is beside the shortest right reply of its group."""

from __future__ import annotations

from dataclasses import dataclass

from rlkit import Group, Score


@dataclass(frozen=True)
class Efficiency:
    """1 up to `free` tokens, falling linearly to 0 at twice as many; 0 for wrong replies.

    `free` is the length of the group's shortest right reply, or `budget` where that is more. Relative lengths of right
    replies follow Kimi k1.5, 2.3.3 (arXiv:2501.12599); wrong replies earn nothing, so that groups without a right reply
    do not learn to be short. Lengths are counted in tokens.

    right replies of 100, 150 and 250 tokens -> 1, 0.5, 0

    Args:
        budget: tokens up to which every right reply is short enough.
    """

    budget: int = 0
    needs = ("accuracy",)

    def __post_init__(self) -> None:
        if self.budget < 0:
            raise ValueError(f"budget={self.budget} must not be negative")

    def score(self, group: Group) -> list[Score]:
        """One score a sample; None where its accuracy is None."""
        values = [score.value for score in group.scores["accuracy"]]
        lengths = [s.num_tokens for s, v in zip(group.samples, values, strict=True) if v is not None and v >= 1]
        free = max([self.budget, 1, *([min(lengths)] if lengths else [])])
        return [self._one(s.num_tokens, value, free) for s, value in zip(group.samples, values, strict=True)]

    def _one(self, num_tokens: int, accuracy: float | None, free: int) -> Score:
        if accuracy is None:
            return Score(None, "unscored", "its accuracy is not known")
        if accuracy < 1:
            return Score(0.0, "wrong", "only right replies are paid for being short")
        value = min(1.0, max(0.0, 2 - num_tokens / free))
        return Score(value, "", f"{num_tokens} tokens, {free} are free", {"num_tokens": num_tokens, "free": free})
