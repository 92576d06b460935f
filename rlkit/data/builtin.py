"""`builtin:NAME`: generated tasks and demonstrations, so that a first run downloads nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

from rlkit.data.additions import arithmetic_rows
from rlkit.data.functions import function_rows
from rlkit.data.rows import Row, did_you_mean
from rlkit.errors import DataError

NAMES = ("arithmetic", "functions", "quickstart", "arithmetic-demos", "functions-demos", "quickstart-demos")
ROWS = {"train": 4000, "heldout": 256}
PARAMETERS: dict[str, tuple[type[int] | type[float], float, float]] = {
    "rows": (int, 1, 1_000_000),
    "digits": (int, 1, 12),
    "wrong": (float, 0, 1),
}


def read_builtin(path: str, split: str, seed: int) -> Iterator[Row]:
    """Rows of `builtin:NAME[?rows=N&digits=D&wrong=P]`.

    Args:
        split: "train" or "heldout"; no problem is in both, whatever the seeds.
        seed: draws the rows.
    Raises:
        DataError: unknown name, split or parameter, a value out of range, or fewer different tasks than rows.
    """
    name, given = check_builtin(path, split)
    topic, demos = name.removesuffix("-demos"), name.endswith("-demos")
    num_rows = int(given.get("rows", ROWS[split]))
    # The name is part of the seed, so that demonstrations do not contain the answers of the tasks.
    rng = random.Random(f"{seed}/{name}/{split}")
    made = _generate(topic, rng, split == "heldout", int(given.get("digits", 3)), given.get("wrong", 0.0))
    num_made = 0
    for columns in islice(made, num_rows):
        num_made += 1
        columns = columns if demos else {k: v for k, v in columns.items() if k != "response"}
        yield Row(f"{path}:row {num_made}", f"{path}:{num_made}", columns)
    if num_made < num_rows:
        raise DataError(f"{path}: split {split} has only {num_made} different rows, not {num_rows}; lower rows=")


def check_builtin(path: str, split: str) -> tuple[str, dict[str, float]]:
    """Parses and checks the path of a built-in source; returns (name, parameters).

    Raises:
        DataError: unknown name, split or parameter, or a value out of range.
    """
    name, _, query = path.removeprefix("builtin:").partition("?")
    if name not in NAMES:
        raise DataError(f"{path}: no built-in source {name!r}{did_you_mean(name, NAMES)}; there are {', '.join(NAMES)}")
    if split not in ROWS:
        raise DataError(f'{path}: no split "{split}"{did_you_mean(split, ROWS)}; it has {", ".join(ROWS)}')
    digits, wrong = name.removesuffix("-demos") != "functions", name.endswith("-demos")
    known = ["rows"] + (["digits"] if digits else []) + (["wrong"] if wrong else [])
    return name, _parameters(path, query, known)


def _parameters(path: str, query: str, known: list[str]) -> dict[str, float]:
    values: dict[str, float] = {}
    for part in query.split("&") if query else []:
        key, _, text = part.partition("=")
        if key not in known:
            raise DataError(f"{path}: no parameter {key!r}{did_you_mean(key, known)}; it has {', '.join(known)}")
        cast, low, high = PARAMETERS[key]
        try:
            values[key] = cast(text)
        except ValueError:
            raise DataError(f"{path}: {key}={text} is not a number") from None
        if not low <= values[key] <= high:
            raise DataError(f"{path}: {key}={text} is not between {low:g} and {high:g}")
    return values


def _generate(topic: str, rng: random.Random, heldout: bool, digits: int, wrong: float) -> Iterator[dict[str, Any]]:
    additions = arithmetic_rows(rng, heldout=heldout, digits=digits, wrong=wrong)
    functions = function_rows(rng, heldout=heldout, wrong=wrong)
    if topic != "quickstart":
        yield from additions if topic == "arithmetic" else functions
        return
    # Alternate two additions and one function, so that the first rows of a small run contain both.
    for function in functions:
        pair = list(islice(additions, 2))
        if len(pair) < 2:
            return
        yield from (*pair, function)
