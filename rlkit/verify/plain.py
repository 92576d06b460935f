r"""Judges of plain answers: a text, a choice, a number within a tolerance. Pure, in microseconds, without a process.

They see the bare answer (`rlkit.extract_answer` finds it in a reply) and read no mathematics beyond a number: what they
cannot read is `wrong` with the detail "unparsable", and the caller may ask the math judge then.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from fractions import Fraction

from rlkit.records import Verdict
from rlkit.verify.number import plain_number

_MAX_CHARS = 2000
"""Longest text that is compared; the rest is ignored."""
_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf|textit)\s*\{([^{}]*)\}")
"""A command for text, with its inside."""
_QUOTES = (("$", "$"), ('"', '"'), ("'", "'"), ("`", "`"), ("“", "”"), ("‘", "’"), ("«", "»"), ("**", "**"))
"""Pairs of marks that may stand round a text."""
_LETTER = re.compile(r"\(?([a-zA-Z])(?:\)|\.|:|\)\.|\):)?(?:\s+(\S.*))?")
"""An option's letter, with its text behind it or not: B, (b), B. Paris."""
_APPROXIMATELY = re.compile(r"^(?:≈|~|\\approx|about\b|approximately\b|roughly\b)\s*", re.IGNORECASE)
"""Words and signs before a number that do not change its meaning."""
_SPACES = re.compile(r"\\[,!;: ]|\{,\}(?=\d)|~")
"""Spacing commands of LaTeX, and its comma of thousands."""
_SCIENTIFIC = re.compile(
    r"([+-]?\d+(?:\.\d+)?|[+-]?\.\d+)(?:[eE]([+-]?\d{1,4})|\s*(?:\*|×|\\times|\\cdot|·)\s*10\s*\^\s*\{?\s*([+-]?\d{1,4})\s*\}?)"
)
r"""A number with a power of ten: 1.5e3, 1.5 \times 10^3."""
_UNIT_WORD = r"(?:[^\W\d_]|[°€£$])+(?:\^?\{?-?[1-3]\}?)?"
"""One word of a unit, with its power."""
_UNIT = re.compile(rf"(.*?[\d}})])\s*({_UNIT_WORD}(?:[ /·*]{{1,3}}{_UNIT_WORD}){{0,4}}\.?)", re.DOTALL)
"""A number and the unit behind it, of up to five words."""
_NO_UNITS = frozenset(
    (*"iejxyznπ", "or", "and", "to", "not", "dozen", "hundred", "thousand", "million", "billion", "trillion", "percent")
)
"""Words after a number that make another number of it, or another answer."""


def normal_text(text: str) -> str:
    r"""A text as it is compared: texts that differ only in their form become the same.

    Unicode's compatibility forms (NFKC: full width, ligatures), case, runs of blanks, \text{}, a pair of quotes, dollar
    signs or asterisks round it and a full stop at its end do not count. Accents, articles and inner marks do.

    ' "The  Louvre". ' -> 'the louvre';  '\\text{Zürich}' -> 'zürich'
    """
    # Folding case may leave a form that is not normal.
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text[:_MAX_CHARS]).casefold())
    text = " ".join(_TEXT.sub(r"\1", text).split())
    while (shorter := _unwrapped(text)) != text:
        text = shorter
    return text


def _unwrapped(text: str) -> str:
    """A text without a full stop at its end, or else without one pair of marks round it."""
    text = text.removesuffix(".").strip()
    for left, right in _QUOTES:
        if len(text) >= len(left) + len(right) and text.startswith(left) and text.endswith(right):
            return text[len(left) : -len(right)].strip()
    return text


def judge_exact(gold: str, answer: str) -> Verdict:
    """Whether an answer is the gold text, by `normal_text`; "unscored" where the gold is empty."""
    wanted = normal_text(gold)
    if not wanted:
        return Verdict("unscored", "the gold text is empty")
    given = normal_text(answer)
    if not given:
        return Verdict("wrong", "unparsable")
    return Verdict("correct", "equal texts") if given == wanted else Verdict("wrong", "not equal")


def judge_choice(gold: str, answer: str, choices: Mapping[str, str] | None = None) -> Verdict:
    """Whether an answer is the gold option: its letter, its text, or both where they belong together.

    "B", "(b)", "B. Paris" and "paris" are one answer to {"A": "Rome", "B": "Paris"}; "B. Rome" and "A or B" are none.
    "unscored" where the gold is no option.

    Args:
        choices: the options' texts by letter; without them only a bare letter is an answer.
    """
    options = {letter.strip().upper(): normal_text(text) for letter, text in (choices or {}).items()}
    wanted = _option(gold, options)
    if wanted is None:
        return Verdict("unscored", f"the gold answer {gold[:80]!r} is none of the choices")
    given = _option(answer, options)
    if given is None:
        return Verdict("wrong", "unparsable")
    return Verdict("correct", "the same choice") if given == wanted else Verdict("wrong", "another choice")


def _option(text: str, options: Mapping[str, str]) -> str | None:
    """The letter that a text names."""
    plain = normal_text(text)
    named = [letter for letter, its_text in options.items() if its_text == plain and its_text]
    match = _LETTER.fullmatch(plain)
    letter = match[1].upper() if match is not None else ""
    if match is not None and (letter in options or not options):
        # A letter means its option even if it is also the text of another option.
        return letter if match[2] is None or normal_text(match[2]) == options.get(letter) else None
    return named[0] if len(named) == 1 else None


def judge_numeric(gold: str, answer: str, tolerance: float = 0.0, abs_tolerance: float = 0.0) -> Verdict:
    r"""Whether a number is within a tolerance of the gold one.

    Read are whole numbers, decimals, 1.5e3, 1.5 \times 10^3, fractions and percentages; commas of thousands, dollar
    signs, "about" and what stands before "=" do not count, nor does a unit that one side leaves out. "unscored" where
    the gold is no number.

    1000 against 1009, tolerance 0.01 -> correct; 5 m against 5 cm -> wrong

    Args:
        tolerance: largest difference relative to the gold number.
        abs_tolerance: largest difference; the larger of the two bounds holds.
    """
    wanted, given = _measure(gold), _measure(answer)
    if wanted is None:
        return Verdict("unscored", f"the gold answer {gold[:80]!r} is no number")
    if given is None:
        return Verdict("wrong", "unparsable")
    if wanted[1] and given[1] and wanted[1] != given[1]:
        return Verdict("wrong", "another unit")
    bound = max(_exactly(tolerance) * abs(wanted[0]), _exactly(abs_tolerance))
    near = abs(given[0] - wanted[0]) <= bound
    return Verdict("correct", "within the tolerance") if near else Verdict("wrong", "not within the tolerance")


def _exactly(tolerance: float) -> Fraction:
    """The decimal that was written, not the binary number next to it: 0.01 lets 101 pass for 100."""
    return Fraction(repr(float(tolerance)))


def _measure(text: str) -> tuple[Fraction, str] | None:
    """(number, unit or "")."""
    text = unicodedata.normalize("NFKC", text[:_MAX_CHARS]).replace("−", "-").strip()
    text = _SPACES.sub(" ", _TEXT.sub(r" \1 ", text)).strip().strip("$").strip()
    text = _APPROXIMATELY.sub("", text.rpartition("=")[2].strip())
    value = _number(text)
    if value is not None:
        return value, ""
    match = _UNIT.fullmatch(text)
    if match is None or _NO_UNITS.intersection(re.split(r"[^\w]+", match[2].lower())):
        return None
    value = _number(match[1].strip())
    return None if value is None else (value, normal_text(match[2]))


def _number(text: str) -> Fraction | None:
    text = re.sub(r"^([+-]?)\.(?=\d)", r"\g<1>0.", text)
    plain = plain_number(text)
    match = _SCIENTIFIC.fullmatch(text.replace(",", "")) if plain is None else None
    if match is None:
        return plain
    return Fraction(match[1]) * Fraction(10) ** int(match[2] or match[3])
