"""checked: does the thought put its answer to the test?"""

import re
from dataclasses import dataclass

from rlkit import Group, Score, extract_answer, split_reply

_CHECK = re.compile(r"\b(?:check|verify|substitut\w*|plug\w* (?:it )?back)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Checked:
    """1 for a right reply whose thought comes back to its answer after a word such as "check", else 0.

    A wrong reply earns nothing, so that the words alone are not worth writing; nor does a check that never names the
    answer. None where accuracy could not be judged.

    Args:
        last_share: how much of the thought, counted from its end, may hold the check.
    """

    last_share: float = 0.5
    needs = ("accuracy",)

    def __post_init__(self) -> None:
        if not 0 < self.last_share <= 1:
            raise ValueError(f"last_share={self.last_share} must be above 0 and at most 1")

    def score(self, group: Group) -> list[Score]:
        """One score a sample, in order."""
        pairs = zip(group.samples, group.scores["accuracy"], strict=True)
        return [self._one(sample.response, accuracy) for sample, accuracy in pairs]

    def _one(self, response: str, accuracy: Score) -> Score:
        if not accuracy.applies:
            return Score.not_applicable("its accuracy does not apply")
        if accuracy.value is None:
            return Score(None, "unscored", "its accuracy is not known")
        if accuracy.value < 1:
            return Score(0.0, "wrong", "only right replies are paid for a check")
        thought, answer = split_reply(response).thought or "", extract_answer(response)
        found = _CHECK.search(thought, int(len(thought) * (1 - self.last_share)))
        if found is None or answer is None or answer not in thought[found.end() :]:
            return Score(0.0, "unchecked", "the thought does not come back to its answer")
        return Score(1.0, "checked", f"checks after {found[0]!r}", {"at": found.start()})
