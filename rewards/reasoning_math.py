"""The steps of a thought: which of the relations it states are true, rest on the problem, and lead to the answer."""

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
"""What a step may bring along besides the problem's numbers: small counts, hours, degrees, percents, letters."""


@dataclass(frozen=True)
class Steps:
    """The relations of a thought by what they are worth; each kind counts a relation once."""

    used: tuple[Relation, ...]
    """True, from numbers of the problem or of an earlier step, with a new result, and on the way to the answer."""
    idle: tuple[Relation, ...]
    """True, and nothing more: unfounded, trivial, or leading nowhere."""
    false: tuple[Relation, ...]


def find_steps(thought: str, prompt: str, answer: str | None) -> Steps:
    """The steps of a thought.

    Args:
        answer: the reply's final answer, whose numbers the steps must lead to; without numbers the last step does.
    """
    copied = {_key(relation) for relation in find_relations(prompt, thought)}
    distinct = {_key(r): r for r in reversed(find_relations(thought)) if _key(r) not in copied}
    relations = list(reversed(distinct.values()))
    targets = numbers_in(answer or "")
    columns = _Columns(prompt, targets)
    founded = _founded([r for r in relations if r.holds], numbers_in(prompt), targets, columns)
    needed = targets or (set(founded[-1].finds) if founded else set())
    used: list[Relation] = []
    # An identity of variables, such as 2(x + 3) = 2x + 6, makes no answer that is a number.
    named = re.search(r"[a-zA-Z]", _COMMANDS.sub("", answer or "")) is not None
    for step in reversed(founded):
        led_to = needed if named or step.relation.values or step.relation.solution else needed - targets
        if led_to & step.finds or columns.add_up(step.relation):
            used.append(step.relation)
            needed = needed | step.rests_on
    paid = {_key(relation) for relation in used}
    idle = [r for r in relations if r.holds and _key(r) not in paid]
    return Steps(tuple(reversed(used)), tuple(idle), tuple(r for r in relations if not r.holds))


def _key(relation: Relation) -> tuple[object, ...]:
    """The same for a step said again with its numbers in another order or its sides exchanged."""
    sides = sorted([sorted(relation.left), sorted(relation.right)])
    return relation.sign, *map(tuple, sides), relation.solution


@dataclass(frozen=True)
class _Step:
    """A relation read in one direction."""

    relation: Relation
    rests_on: Set[Fraction]
    finds: Set[Fraction]


def _founded(
    relations: Sequence[Relation], given: Set[Fraction], targets: Set[Fraction], columns: _Columns
) -> list[_Step]:
    """Steps that compute with known numbers, one of them from the problem or an earlier step, and find a new one.

    A number that the problem gives is new only as the answer, and no number is found twice: going from 348 to 349 and
    back leads nowhere. An equation that a number solves may find it once more, as it is stated before it is solved.
    """
    bring_along = _CONSTANTS | _parts_of(given)
    found: dict[bool, Set[Fraction]] = {False: frozenset(), True: frozenset()}
    kept: list[_Step] = []
    for relation in relations:
        solves = bool(relation.solution)
        for rests_on, finds in _directions(relation):
            new = (finds - rests_on - found[solves]) - (given - targets)
            known = given | found[False] | found[True]
            unknown = rests_on - known - bring_along
            # A trial quotient, as in 7 x 14 = 98, comes from nowhere, and so does 0.75 for a quarter less.
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
    """What whole numbers are taken apart into by their places: 275 -> 200, 270, 75, 70 and 5."""
    parts: set[Fraction] = set()
    for text in (str(number.numerator) for number in numbers if number.denominator == 1):
        for i in range(1, min(len(text), 12)):
            head, tail = int(text[:i]) * 10 ** (len(text) - i), int(text[i:])
            parts |= {Fraction(head), Fraction(tail), Fraction(int(text[i - 1]) * 10 ** (len(text) - i))}
    return parts


def _directions(relation: Relation) -> list[tuple[Set[Fraction], Set[Fraction]]]:
    """(numbers that it rests on, numbers that it finds): left to right, right to left, or a solved equation's only one.

    An inequality compares what is known and finds nothing.
    """
    if relation.sign not in ("=", "≈"):
        return []
    left, right = set(relation.left), set(relation.right)
    if relation.solution:
        return [(left | right, {abs(value) for value in relation.solution})]
    # The value of a lone fraction is a result by itself, besides the two numbers that it is written with.
    lone = [_LONE_FRACTION.fullmatch(side) is not None for side in relation.text.split(relation.sign, 1)]
    results = [{abs(value)} if is_lone else set() for value, is_lone in zip(relation.values, lone, strict=False)]
    a, b = results or [set(), set()]
    return [(left, right | b), (right, left | a)]


class _Columns:
    """Addition as written on paper: each column's digits, with the carry, make a step.

    348 + 275: 8 + 5 = 13, then 7 + 4 + 1 = 12, then 3 + 2 + 1 = 6.

    Args:
        prompt: its whole numbers are the summands.
        sums: the numbers that are answered; a column's last digit must be the digit of one of them.
    """

    def __init__(self, prompt: str, sums: Iterable[Fraction]) -> None:
        texts = [match[0] for match in _NUMBER.finditer(_COMMA.sub("", prompt)) if "." not in match[0]]
        width = max((len(text) for text in texts), default=0) if len(texts) == 2 else 0
        self._columns = [sorted(int(text[-1 - i]) for text in texts if i < len(text)) for i in range(width)]
        self._sums = [str(number.numerator) for number in sums if number.denominator == 1 and number >= 0]

    def places(self, relation: Relation) -> list[int]:
        """The columns, counted from the right, that a step may add up; none for other steps."""
        if not re.fullmatch(r"\d(?:\+\d)+=\d{1,2}", relation.text):
            return []
        digits = sorted(map(int, relation.left))
        return [i for i, column in enumerate(self._columns) if digits in (column, sorted([*column, 1]))]

    def add_up(self, relation: Relation) -> bool:
        """Whether a step is a column whose last digit stands in that place of the answer."""
        places = self.places(relation)
        digit = str(relation.right[0])[-1] if places else ""
        return any(place < len(number) and number[-1 - place] == digit for number in self._sums for place in places)


def numbers_in(text: str) -> Set[Fraction]:
    """Every number that a text gives: as digits, as a fraction or a percentage (and its share), as an English word."""
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
    """Whether the result that the thought announces last is the answer; None where it announces none.

    Announced is what stands in a box, else the number of "the answer is ...".
    """
    if answer is None:
        return False
    boxes = find_boxes(thought)
    announced = [match[1] for match in _CONCLUSION.finditer(thought)]
    said = boxes[-1][2] if boxes else announced[-1] if announced else None
    if said is None:
        return None
    plain, wanted = (re.sub(r"[\s,$]|\\[,!; ]", "", text).rstrip(".") for text in (said, answer))
    if plain == wanted:
        return True
    numbers = numbers_in(said), numbers_in(answer)
    return bool(numbers[0] & numbers[1]) or not (numbers[0] and numbers[1])
