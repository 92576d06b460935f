"""Generates additions with their column steps: a part of the quickstart's tasks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

HELDOUT_SHARE = 10


def in_heldout(key: str) -> bool:
    """Whether a task is held out, as one in HELDOUT_SHARE is. Depends only on its content, not on a seed."""
    return blake2b(key.encode(), digest_size=8).digest()[0] % HELDOUT_SHARE == 0


def carries_of(a: int, b: int) -> int:
    """Number of columns that produce a carry, without the last column: 348 + 275 -> 2. Measures difficulty."""
    carry, count = 0, 0
    for da, db in _columns(a, b)[:-1]:
        carry = (da + db + carry) // 10
        count += carry
    return count


def _columns(a: int, b: int) -> list[tuple[int, int]]:
    """Pairs of digits, from the units upwards."""
    width = max(len(str(a)), len(str(b)))
    return list(zip(map(int, str(a).zfill(width)[::-1]), map(int, str(b).zfill(width)[::-1]), strict=True))


def worked_sum(a: int, b: int, *, always_carry: bool = False) -> tuple[str, str]:
    """(column steps, answer). Every equality in the steps is true, also if `always_carry` makes the answer wrong.

    348 + 241 -> ("8+1=9\\n4+4=8\\n3+2=5", "589"), and with always_carry ("8+1=9\\n4+4+1=9\\n3+2+1=6", "699").
    """
    steps, answer, carry = [], "", 0
    columns = _columns(a, b)
    for number, (da, db) in enumerate(columns):
        total = da + db + carry
        steps.append(f"{da}+{db}{f'+{carry}' if carry else ''}={total}")
        last = number == len(columns) - 1
        answer = (str(total) if last else str(total % 10)) + answer
        carry = 1 if always_carry else total // 10
    return "\n".join(steps), answer


def arithmetic_rows(rng: random.Random, *, heldout: bool, digits: int, wrong: float) -> Iterator[dict[str, Any]]:
    """Yields distinct additions of two `digits`-digit numbers until almost none is left.

    Args:
        wrong: share of replies that carry a one into every column. A model trained on them adds digits correctly and
            only has to unlearn the wrong carry.
    """
    low, high = 10 ** (digits - 1), 10**digits - 1
    seen: set[tuple[int, int]] = set()
    misses = 0
    # Rejection sampling: stop when nearly all draws are repetitions, because then nearly all additions are used.
    while misses < 2000:
        a, b = rng.randint(low, high), rng.randint(low, high)
        # a + b and b + a are the same problem, so they must be in the same split.
        if (a, b) in seen or in_heldout(f"{min(a, b)}+{max(a, b)}") != heldout:
            misses += 1
            continue
        seen.add((a, b))
        misses = 0
        steps, answer = worked_sum(a, b, always_carry=rng.random() < wrong)
        yield {
            "prompt": f"What is {a} + {b}?",
            "reference": str(a + b),
            "response": f"<think>\n{steps}\n</think>\n\\boxed{{{answer}}}",
            "metadata": {"domain": "addition", "difficulty": carries_of(a, b)},
        }
