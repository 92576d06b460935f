"""Finds the steps of a thought: relations that are true, start from numbers of the problem, and lead to the answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from fractions import Fraction

from rlkit import Relation, find_boxes, find_relations

_NUMBER = re.compile(r"(?<![\d.])\d{1,30}(?:\.\d{1,30})?")
_COMMA = re.compile(r"(?<=\d)(?:,|\{,\})(?=\d{3}(?!\d))")
_FRACTION = re.compile(r"\\[dtc]?frac\{(-?\d{1,20})\}\{(\d{1,20})\}|(\d{1,20})/(\d{1,20})")
_PERCENT = re.compile(r"(\d{1,20}(?:\.\d{1,20})?) ?(?:\\?%|percent)")
_MULTIPLIES = re.compile(r"[*/]|frac")
_LONE_FRACTION = re.compile(r"-?\d*\\[dtc]?frac\(-?\d+\)\(\d+\)|-?\d+/\d+|-?[\d.]+%")
_COMMANDS = re.compile(r"\\(?:[dtc]?frac|sqrt|text|mathrm|left|right|times|cdot)(?![a-zA-Z])")
_CONCLUSION = re.compile(
    r"\b(?:answer|result|total|solution) (?:is|=|:|equals|must be|will be)[ :$*(\\]*"
    r"(-?\d[\d,]{0,30}(?:\.\d{1,30})?)(?![\d^*+/_-])",
    re.IGNORECASE,
)
_COUNTS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_SHARES = {"half": Fraction(1, 2), "third": Fraction(1, 3), "quarter": Fraction(1, 4)}
_ROUND = {"dozen": 12, "fifteen": 15, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "hundred": 100}
_NUMBER_WORDS = {word: Fraction(i) for i, word in enumerate(_COUNTS)} | {w: Fraction(n) for w, n in _ROUND.items()}
_NUMBER_WORDS |= _SHARES | {"thousand": Fraction(1000), "million": Fraction(10**6)}
_CONSTANTS = frozenset(map(Fraction, (*range(13), 24, 26, 30, 52, 60, 90, 100, 180, 360, 365, 1000, 1440, 3600)))
_CONSTANTS |= {Fraction(1, 2), Fraction("3.14"), Fraction("3.1416"), Fraction("3.14159")}
"""Numbers that a step may use although the problem does not contain them: small counts, units, angles, percents."""


@dataclass(frozen=True)
class Steps:
    """The distinct relations of a thought, in three classes."""

    used: tuple[Relation, ...]
    """True, computed from numbers of the problem or of an earlier step, with a new result that leads to the answer."""
    idle: tuple[Relation, ...]
    """True, but trivial, not based on known numbers, or not leading to the answer."""
    false: tuple[Relation, ...]
    """Not true."""


def find_steps(thought: str, prompt: str, answer: str | None) -> Steps:
    """Finds the steps of a thought.

    Args:
        thought: the text.
        prompt: the problem; relations that it contains do not count.
        answer: the reply's final answer, whose numbers the steps must lead to. If it contains no numbers, they must
            lead to the result of the last step.
    """
    copied = {_key(relation) for relation in find_relations(prompt, thought)}
    distinct = {_key(r): r for r in reversed(find_relations(thought)) if _key(r) not in copied}
    relations = list(reversed(distinct.values()))
    targets = numbers_in(answer or "")
    columns = _Columns(prompt, targets)
    founded = _founded([r for r in relations if r.holds], numbers_in(prompt), targets, columns)
    needed = targets or (set(founded[-1].finds) if founded else set())
    used: list[Relation] = []
    # An identity of variables, such as 2(x + 3) = 2x + 6, does not lead to an answer that is a number.
    named = re.search(r"[a-zA-Z]", _COMMANDS.sub("", answer or "")) is not None
    for step in reversed(founded):
        led_to = needed if named or step.relation.values or step.relation.solution else needed - targets
        if led_to & step.finds or columns.add_up(step.relation):
            used.append(step.relation)
            needed = needed | step.rests_on
    used_keys = {_key(relation) for relation in used}
    idle = [r for r in relations if r.holds and _key(r) not in used_keys]
    return Steps(tuple(reversed(used)), tuple(idle), tuple(r for r in relations if not r.holds))


def _key(relation: Relation) -> tuple[object, ...]:
    """A key that is equal for relations that differ only in the order of numbers or in exchanged sides."""
    sides = sorted([sorted(relation.left), sorted(relation.right)])
    return relation.sign, *map(tuple, sides), relation.solution


@dataclass(frozen=True)
class _Step:
    """A relation read in one direction."""

    relation: Relation
    rests_on: Set[Fraction]
    """Numbers that it computes with."""
    finds: Set[Fraction]
    """Numbers that it computes."""


def _founded(
    relations: Sequence[Relation], given: Set[Fraction], targets: Set[Fraction], columns: _Columns
) -> list[_Step]:
    """The steps that compute a new number from known ones, of which one is from the problem or an earlier step.

    A number of the problem is new only if it is the answer, and no number is new twice: computing 349 from 348 and 348
    from 349 is no progress. The solution of an equation may be found once more, because an equation is stated before it
    is solved.
    """
    allowed = _CONSTANTS | _parts_of(given)
    found: dict[bool, Set[Fraction]] = {False: frozenset(), True: frozenset()}
    kept: list[_Step] = []
    for relation in relations:
        solves = bool(relation.solution)
        for rests_on, finds in _directions(relation):
            new = (finds - rests_on - found[solves]) - (given - targets)
            known = given | found[False] | found[True]
            unknown = rests_on - known - allowed
            # A product may contain one unknown number: a trial quotient (7 x 14 = 98), or 0.75 for "a quarter less".
            if new and rests_on & known and len(unknown) <= (_MULTIPLIES.search(relation.text) is not None):
                kept.append(_Step(relation, rests_on, new))
                found[solves] = found[solves] | finds
                break
        else:
            if columns.places(relation):
                kept.append(_Step(relation, set(relation.left), set(relation.right)))
                found[False] = found[False] | set(relation.right)
    return kept


def _parts_of(numbers: Iterable[Fraction]) -> Set[Fraction]:
    """The parts of whole numbers by decimal places: 275 -> 200, 270, 75, 70 and 5."""
    parts: set[Fraction] = set()
    for text in (str(number.numerator) for number in numbers if number.denominator == 1):
        for i in range(1, min(len(text), 12)):
            head, tail = int(text[:i]) * 10 ** (len(text) - i), int(text[i:])
            parts |= {Fraction(head), Fraction(tail), Fraction(int(text[i - 1]) * 10 ** (len(text) - i))}
    return parts


def _directions(relation: Relation) -> list[tuple[Set[Fraction], Set[Fraction]]]:
    """(numbers that it rests on, numbers that it finds) in both directions; an equation with a solution has only one.

    An inequality finds nothing, so it has no direction.
    """
    if relation.sign not in ("=", "≈"):
        return []
    left, right = set(relation.left), set(relation.right)
    if relation.solution:
        return [(left | right, {abs(value) for value in relation.solution})]
    # The value of a single fraction is a result too, besides the two numbers that it is written with.
    lone = [_LONE_FRACTION.fullmatch(side) is not None for side in relation.text.split(relation.sign, 1)]
    results = [{abs(value)} if is_lone else set() for value, is_lone in zip(relation.values, lone, strict=False)]
    a, b = results or [set(), set()]
    return [(left, right | b), (right, left | a)]


class _Columns:
    """Written addition: adding the digits of a column and the carry is a step.

    348 + 275: 8 + 5 = 13, then 7 + 4 + 1 = 12, then 3 + 2 + 1 = 6.

    Args:
        prompt: the problem; its whole numbers are the summands.
        sums: the numbers of the answer, which must contain the last digit of each column's sum.
    """

    def __init__(self, prompt: str, sums: Iterable[Fraction]) -> None:
        texts = [match[0] for match in _NUMBER.finditer(_COMMA.sub("", prompt)) if "." not in match[0]]
        width = max((len(text) for text in texts), default=0) if len(texts) == 2 else 0
        self._columns = [sorted(int(text[-1 - i]) for text in texts if i < len(text)) for i in range(width)]
        self._sums = [str(number.numerator) for number in sums if number.denominator == 1 and number >= 0]

    def places(self, relation: Relation) -> list[int]:
        """Indices, from the right, of the columns that a step may add up; empty for other steps."""
        if not re.fullmatch(r"\d(?:\+\d)+=\d{1,2}", relation.text):
            return []
        digits = sorted(map(int, relation.left))
        return [i for i, column in enumerate(self._columns) if digits in (column, sorted([*column, 1]))]

    def add_up(self, relation: Relation) -> bool:
        """Whether a step adds up a column and its last digit is in the same place of the answer."""
        places = self.places(relation)
        digit = str(relation.right[0])[-1] if places else ""
        return any(place < len(number) and number[-1 - place] == digit for number in self._sums for place in places)


def numbers_in(text: str) -> Set[Fraction]:
    """All numbers in a text: digits, fractions, percentages (also as shares of 1), and English number words."""
    text = _COMMA.sub("", text[:20_000])
    found = {Fraction(match[0]) for match in _NUMBER.finditer(text)}
    for match in _FRACTION.finditer(text):
        top, bottom = match[1] or match[3], match[2] or match[4]
        if int(bottom):
            found.add(Fraction(int(top), int(bottom)))
    for match in _PERCENT.finditer(text):
        found.add(Fraction(match[1]) / 100)
    words = set(re.findall(r"[a-z]+", text.lower()))
    found |= {number for word, number in _NUMBER_WORDS.items() if word in words}
    return found


def agreement(thought: str, answer: str | None) -> bool | None:
    """Whether the last result that the thought announces is the answer; None if it announces none.

    A result is announced in a box, or else by "the answer is ...".
    """
    if answer is None:
        return False
    boxes = find_boxes(thought)
    announced = [match[1] for match in _CONCLUSION.finditer(thought)]
    result = boxes[-1][2] if boxes else announced[-1] if announced else None
    if result is None:
        return None
    plain, expected = (re.sub(r"[\s,$]|\\[,!; ]", "", text).rstrip(".") for text in (result, answer))
    if plain == expected:
        return True
    numbers = numbers_in(result), numbers_in(answer)
    return bool(numbers[0] & numbers[1]) or not (numbers[0] and numbers[1])
