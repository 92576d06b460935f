"""checked: a reward part for thoughts that check their answer."""

import re
from dataclasses import dataclass

from rlkit import Group, Score, extract_answer, split_reply

_CHECK = re.compile(r"\b(?:check|verify|substitut\w*|plug\w* (?:it )?back)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Checked:
    """1 for a right reply whose thought repeats its answer after a word such as "check", else 0.

    A wrong reply gets 0, so that such words alone do not help; so does a check that does not name the answer. Unscored
    if accuracy is unscored.

    Args:
        last_share: the check must be in this share of the thought, counted from its end.
    """

    last_share: float = 0.5
    needs = ("accuracy",)

    def __post_init__(self) -> None:
        if not 0 < self.last_share <= 1:
            raise ValueError(f"last_share={self.last_share} must be above 0 and at most 1")

    def score(self, group: Group) -> list[Score]:
        """One score per sample, in order."""
        pairs = zip(group.samples, group.scores["accuracy"], strict=True)
        return [self._one(sample.response, accuracy) for sample, accuracy in pairs]

    def _one(self, response: str, accuracy: Score) -> Score:
        if not accuracy.applies:
            return Score.not_applicable("its accuracy does not apply")
        if accuracy.value is None:
            return Score(None, "unscored", "its accuracy is not known")
        if accuracy.value < 1:
            return Score(0.0, "wrong", "only right replies get a score for a check")
        thought, answer = split_reply(response).thought or "", extract_answer(response)
        found = _CHECK.search(thought, int(len(thought) * (1 - self.last_share)))
        if found is None or answer is None or answer not in thought[found.end() :]:
            return Score(0.0, "unchecked", "the thought does not repeat its answer after a check")
        return Score(1.0, "checked", f"checks after {found[0]!r}", {"at": found.start()})
