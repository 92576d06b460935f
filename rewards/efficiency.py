"""efficiency: compares the length and CPU time of a right reply with the other right replies of its group."""

from __future__ import annotations

from dataclasses import dataclass

from rewards.by_accuracy import without_accuracy
from rewards.lengths import Shape, falling, soft_overlong
from rlkit import Group, Sample, Score, extract_code, judge_code

_SLOW = 4.0
"""A program that takes this many times the CPU time of the group's cheapest program gets 0 for its CPU time."""
_NOISE_S = 0.01
"""CPU seconds per test below which programs count as equal; starting a process takes about half of that."""


@dataclass(frozen=True)
class Efficiency:
    """1 up to `free` tokens, falling to 0 at twice as many; 0 for wrong replies.

    `free` is the length of the group's shortest right reply, or `budget` if that is larger. Comparing the lengths of
    right replies follows Kimi k1.5, 2.3.3 (arXiv:2501.12599). Wrong replies get 0, so that groups without a right reply
    do not learn to be short. Lengths are in tokens. A reply is right if its accuracy is 1.

    right replies of 100, 150 and 250 tokens -> linear: 1, 0.5, 0; cosine: 1, 0.5, 0 (125 tokens: 0.75 and 0.85)

    Args:
        budget: length up to which every right reply gets 1, in tokens.
        shape: how the value falls: "linear", or "cosine", which is flat at both ends (arXiv:2502.03373).
        max_tokens: maximum length, enforced by DAPO's soft overlong penalty (arXiv:2503.14476, eq. 13); 0: none.
        overlong_tokens: number of tokens before `max_tokens` over which that penalty grows to 1.
        cpu_time_share: for programs, share of the value that depends on CPU time: full for the group's cheapest right
            program, 0 at four times its CPU time. It is measured in one more run of each right program, so leave it at
            0 in deterministic runs.
        packages: installed packages that programs may import in that run; use those of the accuracy part.
    """

    budget: int = 0
    shape: Shape = "linear"
    max_tokens: int = 0
    overlong_tokens: int = 0
    cpu_time_share: float = 0.0
    packages: tuple[str, ...] = ()
    needs = ("accuracy",)

    def __post_init__(self) -> None:
        for name, value in (("budget", self.budget), ("max_tokens", self.max_tokens)):
            if value < 0:
                raise ValueError(f"{name}={value} must not be negative")
        if not 0 <= self.overlong_tokens <= self.max_tokens:
            raise ValueError(
                f"overlong_tokens={self.overlong_tokens} must be between 0 and max_tokens={self.max_tokens}"
            )
        if not 0 <= self.cpu_time_share <= 1:
            raise ValueError(f"cpu_time_share={self.cpu_time_share} must be between 0 and 1")

    def score(self, group: Group) -> list[Score]:
        """One score per sample; unscored or not applicable if its accuracy is."""
        accuracies = group.scores["accuracy"]
        right = [score.value is not None and score.value >= 1 for score in accuracies]
        lengths = [sample.num_tokens for sample, is_right in zip(group.samples, right, strict=True) if is_right]
        free = max([self.budget, 1, *([min(lengths)] if lengths else [])])
        timed = group.task.kind == "code" and self.cpu_time_share > 0
        cpu = [self._cpu_time(group, s) if timed and r else None for s, r in zip(group.samples, right, strict=True)]
        least = min((seconds for seconds in cpu if seconds is not None), default=None)
        rows = zip(group.samples, accuracies, cpu, strict=True)
        return [self._one(sample.num_tokens, accuracy, free, seconds, least) for sample, accuracy, seconds in rows]

    def _one(self, num_tokens: int, accuracy: Score, free: int, cpu: float | None, least_cpu: float | None) -> Score:
        if accuracy.value is None:
            return without_accuracy(accuracy)
        if accuracy.value < 1:
            return Score(0.0, "wrong", "only right replies get a score for their length")
        value = falling(num_tokens, free, 2 * free, self.shape)
        evidence: dict[str, float] = {"num_tokens": num_tokens, "free": free}
        if cpu is not None and least_cpu is not None:
            value += self.cpu_time_share * (falling(cpu / least_cpu, 1, _SLOW) - value)
            evidence |= {"cpu_seconds": round(cpu, 4), "times_the_least": round(cpu / least_cpu, 2)}
        if self.max_tokens:
            value = max(0.0, value + soft_overlong(num_tokens, self.max_tokens, self.overlong_tokens))
        return Score(value, "", f"{num_tokens} tokens, {free} are free", evidence)

    def _cpu_time(self, group: Group, sample: Sample) -> float | None:
        """CPU seconds of a right program on all its tests, at least 0.01 per test; None if it did not pass again."""
        program = extract_code(sample.response, group.task.reference)
        if program is None:
            return None
        verdict = judge_code(group.task.reference, program, packages=self.packages)
        if verdict.verdict != "pass":
            return None
        return max(_NOISE_S * verdict.total, verdict.cpu_seconds)
