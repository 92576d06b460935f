"""Generates tasks to write small functions: the other part of the quickstart's tasks.

Each family of functions has one right body and one plausible wrong one (the slip). Its test inputs distinguish them,
which a unit test checks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from rlkit.data.additions import in_heldout

# Combinations of names, lead sentences and constants give every family enough prompts for both splits.
NAMES = ("f", "g", "h", "k", "p", "q", "r", "t", "u", "w")
LEADS = (
    "Write a Python function {sig} that returns {what}.",
    "Define a Python function {sig} returning {what}.",
    "In Python, write {sig} so that it returns {what}.",
)
NUMBER, PAIR, TEXT, ITEMS = ("x", "n", "v"), ("a, b", "x, y", "m, n"), ("s", "text", "word"), ("xs", "items", "values")
SMALL, BIG = tuple(range(2, 20)), tuple(range(2, 40))


@dataclass(frozen=True)
class Family:
    """Functions that differ in names and in one constant {c}; {a} and {b} stand for the arguments' names."""

    name: str
    arguments: tuple[str, ...]
    """Alternative names of the arguments."""
    what: str
    """Description of the return value, for the prompt."""
    plan: str
    """The thought in the demonstration; fits the right body and the slip."""
    right: str
    """Expression of the right body."""
    slip: str
    """Expression of the wrong body."""
    truth: Callable[..., Any]
    """(constant, *arguments) -> the right value."""
    inputs: Callable[[int], list[tuple[Any, ...]]]
    """Constant -> at least four argument lists, including edge cases."""
    constants: tuple[int, ...] = (0,)


def _near(c: int) -> list[tuple[Any, ...]]:
    return [(0,), (1,), (c,), (c + 1,), (c - 1,), (-3,)]


def _lists_near(c: int) -> list[tuple[Any, ...]]:
    return [([],), ([c],), ([c - 1, c, c + 1],), ([c + 5, c + 2],), ([1, c, 50],)]


def _pairs(_: int) -> list[tuple[Any, ...]]:
    return [(1, 2), (5, 3), (4, 4), (-2, 7), (0, -1)]


def _texts(_: int) -> list[tuple[Any, ...]]:
    return [("",), ("a",), ("abc",), ("hello",), ("banana split",)]


def _lists(_: int) -> list[tuple[Any, ...]]:
    return [([],), ([1],), ([3, 4, 5],), ([2, 2, 7, 8],), (list(range(-3, 30)),)]


FAMILIES = (
    Family("multiply", NUMBER, "{a} times {c} plus 1", "Multiply by {c}, then add 1.", "{a} * {c} + 1", "{a} * {c}",
           lambda c, x: x * c + 1, _near, BIG),
    Family("subtract", NUMBER, "{c} minus {a}", "Subtract the two.", "{c} - {a}", "{a} - {c}",
           lambda c, x: c - x, _near, BIG),
    Family("square", NUMBER, "{a} squared plus {c}", "Square it and add {c}.", "{a} * {a} + {c}", "{a} * 2 + {c}",
           lambda c, x: x * x + c, _near, BIG),
    Family("at_most", NUMBER, "{a}, but at most {c}", "Limit {a} to {c}.", "min({a}, {c})", "max({a}, {c})",
           lambda c, x: min(x, c), _near, BIG),
    Family("at_least", NUMBER, "whether {a} is at least {c}", "Compare {a} with {c}.", "{a} >= {c}", "{a} > {c}",
           lambda c, x: x >= c, _near, BIG),
    Family("divisible", NUMBER, "whether {a} is a multiple of {c}", "Look at the remainder.", "{a} % {c} == 0",
           "{a} % {c} == 1", lambda c, x: x % c == 0, _near, BIG),
    Family("sum_to", ("n", "x", "m"), "the sum of the integers from 1 to {a} inclusive", "Sum a range.",
           "sum(range(1, {a} + 1))", "sum(range(1, {a}))", lambda _, n: n * (n + 1) // 2,
           lambda _: [(1,), (2,), (5,), (10,), (0,)]),
    Family("larger", PAIR, "the larger of {a} and {b}", "Compare the two.", "max({a}, {b})", "min({a}, {b})",
           lambda _, a, b: max(a, b), _pairs),
    Family("smaller", PAIR, "the smaller of {a} and {b}", "Compare the two.", "min({a}, {b})", "max({a}, {b})",
           lambda _, a, b: min(a, b), _pairs),
    Family("distance", PAIR, "the distance between {a} and {b}", "Take the difference.", "abs({a} - {b})", "{a} - {b}",
           lambda _, a, b: abs(a - b), _pairs),
    Family("reverse", TEXT, "{a} reversed", "Slice it backwards.", "{a}[::-1]", "{a}[:-1]",
           lambda _, s: s[::-1], _texts),
    Family("count_a", TEXT, 'how often "a" is in {a}', "Look for the letter.", '{a}.count("a")', '{a}.find("a")',
           lambda _, s: s.count("a"), _texts),
    Family("repeat", TEXT, "{a} repeated {c} times", "Multiply the text.", "{a} * {c}", "{a} + {a} * {c}",
           lambda c, s: s * c, _texts, SMALL),
    Family("sum_above", ITEMS, "the sum of the numbers in {a} greater than {c}", "Add up the ones that pass.",
           "sum(i for i in {a} if i > {c})", "sum(i for i in {a} if i >= {c})",
           lambda c, xs: sum(i for i in xs if i > c), _lists_near, BIG),
    Family("count_below", ITEMS, "how many numbers in {a} are less than {c}", "Count the ones that pass.",
           "sum(i < {c} for i in {a})", "sum(i <= {c} for i in {a})",
           lambda c, xs: sum(i < c for i in xs), _lists_near, BIG),
    Family("first", ITEMS, "the first {c} items of {a}", "Take a slice.", "{a}[:{c}]", "{a}[{c}:]",
           lambda c, xs: xs[:c], _lists, SMALL),
    Family("scale", ITEMS, "each number in {a} times {c}", "Go over the list.", "[i * {c} for i in {a}]", "{a} * {c}",
           lambda c, xs: [i * c for i in xs], _lists, SMALL),
    Family("evens", ITEMS, "the even numbers in {a}", "Keep the ones that pass.", "[i for i in {a} if i % 2 == 0]",
           "[i for i in {a} if i % 2]", lambda _, xs: [i for i in xs if i % 2 == 0], _lists),
)  # fmt: skip


@dataclass(frozen=True)
class _Variant:
    family: Family
    name: str
    arguments: str
    lead: str
    constant: int

    def fill(self, text: str) -> str:
        a, _, b = self.arguments.partition(", ")
        return text.format(a=a, b=b, c=self.constant)

    @property
    def prompt(self) -> str:
        return self.lead.format(sig=f"{self.name}({self.arguments})", what=self.fill(self.family.what))

    def program(self, expression: str) -> str:
        return f"def {self.name}({self.arguments}):\n    return {self.fill(expression)}"


def variants_of(family: Family, *, heldout: bool) -> list[_Variant]:
    """All tasks of one split. The split depends only on the prompt, so no prompt is in both."""
    every = product(NAMES, family.arguments, LEADS, family.constants)
    variants = [_Variant(family, name, arguments, lead, c) for name, arguments, lead, c in every]
    return [v for v in variants if in_heldout(v.prompt) == heldout]


def function_rows(rng: random.Random, *, heldout: bool, wrong: float) -> Iterator[dict[str, Any]]:
    """Yields distinct tasks, one of each family in turn, until all are used.

    Args:
        wrong: share of replies with the family's slip.
    """
    decks = [variants_of(family, heldout=heldout) for family in FAMILIES]
    # Take families in turn: a random choice would favour families with many constants.
    for deck in decks:
        rng.shuffle(deck)
    while any(decks):
        for deck in rng.sample(decks, len(decks)):
            if deck:
                yield _row(deck.pop(), slip=rng.random() < wrong)


def _row(variant: _Variant, *, slip: bool) -> dict[str, Any]:
    family = variant.family
    tests = [
        {"args": list(args), "expected": family.truth(variant.constant, *args)}
        for args in family.inputs(variant.constant)
    ]
    program = variant.program(family.slip if slip else family.right)
    return {
        "prompt": variant.prompt,
        "reference": {"mode": "function", "entry_point": variant.name, "tests": tests},
        "response": f"<think>\n{variant.fill(family.plan)}\n</think>\n```python\n{program}\n```",
        "metadata": {"domain": "functions", "family": family.name},
    }
