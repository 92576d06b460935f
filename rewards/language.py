"""language: whether a text uses the script of the problem. Formulas and code do not count."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass
from functools import lru_cache

from rewards.by_accuracy import without_accuracy
from rlkit import Group, Score, split_reply

_SCRIPTS = {
    **{name: name for name in "LATIN CYRILLIC ARABIC HEBREW DEVANAGARI BENGALI TAMIL TELUGU THAI GEORGIAN".split()},  # noqa: SIM905
    **{name: name for name in ("ARMENIAN", "ETHIOPIC", "KHMER", "LAO", "MYANMAR", "SINHALA", "TIBETAN", "HANGUL")},
    # Japanese writes three scripts in one sentence, and shares one with Chinese.
    **dict.fromkeys(("CJK", "HIRAGANA", "KATAKANA"), "CJK"),
}
"""Scripts by the first word of a letter's Unicode name; without Greek, which mathematics uses in every language."""
_NO_LANGUAGE = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$|\\\[(?:(?!\\\[).)*?\\\]|\\\((?:(?!\\\().)*?\\\)", re.DOTALL
)
_MAX_CHARS = 100_000
_FREE = 20
"""Foreign letters that are allowed without a loss."""
_HALF = 100
"""Further foreign letters that halve the score."""


@lru_cache(maxsize=65_536)
def _script(letter: str) -> str | None:
    return _SCRIPTS.get(unicodedata.name(letter, "").split(" ")[0])


def letters_by_script(text: str) -> Counter[str]:
    """Number of letters of each script in a text, without formulas and code."""
    counts: Counter[str] = Counter()
    for letter, number in Counter(_NO_LANGUAGE.sub(" ", text[:_MAX_CHARS])).items():
        script = _script(letter) if letter.isalpha() else None
        if script is not None:
            counts[script] += number
    return counts


def scripts_of(text: str) -> Set[str]:
    """The scripts that a text is written in; Latin if it has no letters."""
    return set(letters_by_script(text)) or {"LATIN"}


def foreign_letters(text: str, prompt: str) -> int:
    """Number of letters in scripts that the problem is not written in."""
    allowed = scripts_of(prompt)
    return sum(number for script, number in letters_by_script(text).items() if script not in allowed)


def one_language(text: str, prompt: str) -> float:
    """1 up to 20 foreign letters, 0.5 at 120, falling towards 0. More text in the right script does not raise it."""
    return 1 / (1 + max(0, foreign_letters(text, prompt) - _FREE) / _HALF)


@dataclass(frozen=True)
class LanguageConsistency:
    """Share of the thought's letters in the problem's script (DeepSeek-R1, 2.3.2, arXiv:2501.12948), for right replies.

    Counts letters, not words, and ignores formulas and code. Padding with text in the right language cannot raise the
    share without limit, because at most `limit` letters of the thought count.

    Args:
        limit: maximum number of letters that the foreign ones are compared with.
    """

    limit: int = 1000
    needs = ("accuracy",)

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ValueError(f"limit={self.limit} must be above 0")

    def score(self, group: Group) -> list[Score]:
        """One score per sample; 0 for wrong replies and for replies without a thought."""
        accuracy = group.scores["accuracy"]
        pairs = zip(group.samples, accuracy, strict=True)
        return [self._one(sample.response, group.task.prompt, given) for sample, given in pairs]

    def _one(self, response: str, prompt: str, accuracy: Score) -> Score:
        if accuracy.value is None:
            return without_accuracy(accuracy)
        thought = split_reply(response).thought or ""
        total = letters_by_script(thought).total()
        if accuracy.value < 1 or not total:
            return Score(0.0, "unpaid", "only right replies with a thought in words get a score for their language")
        foreign = foreign_letters(thought, prompt)
        value = max(0.0, 1 - foreign / min(total, self.limit))
        return Score(value, "", f"{foreign} of {total} letters are of another script than the problem's")
