"""The order of tasks: seeded, endless, in exact shares, and resumable from a saved position.

The tasks are in the leaves of a tree of at most three levels (domain with a minimum share, source, stratum). A draw
walks down from the root. At each node Tijdeman's rule picks the child, so that after any number of draws a child's
count differs by less than one from its share (R. Tijdeman, "The chairman assignment problem", Discrete Mathematics 32,
1980). A leaf yields its tasks in a new seeded shuffle each epoch. The saved position is only the number of draws of
each leaf.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import lcm
from typing import Any, Literal

from rlkit.data.rows import did_you_mean, some
from rlkit.data.tasks import Mixture
from rlkit.errors import DataError
from rlkit.recipe.schema import RowsKeys
from rlkit.records import Task

MAX_STRATA = 200
_Path = tuple[str, ...]


class _Leaf:
    def __init__(self, path: _Path, tasks: list[Task], seed: int) -> None:
        self.path, self.tasks, self.seed = path, tasks, seed
        self.drawn = 0
        self._deck: tuple[int, list[Task]] = (-1, [])

    def draw(self) -> Task:
        epoch, position = divmod(self.drawn, len(self.tasks))
        # Keep only the order of the current epoch; any other can be computed again from the seed.
        if self._deck[0] != epoch:
            self._deck = (epoch, self._shuffled(epoch))
        self.drawn += 1
        return self._deck[1][position]

    def _shuffled(self, epoch: int) -> list[Task]:
        # Not Python's hash(), which differs from process to process for texts.
        key = json.dumps([self.seed, epoch, *self.path]).encode()
        deck = list(self.tasks)
        random.Random(int.from_bytes(hashlib.sha256(key).digest(), "big")).shuffle(deck)
        return deck


class _Node:
    """Picks among its children so that each child's count stays within one draw of its share at all times."""

    def __init__(self, children: list[_Node | _Leaf], masses: list[Fraction]) -> None:
        self.children = children
        shares = [mass / sum(masses) for mass in masses]
        # All numbers below are integers in units of 1 / (scale * slack), so they stay exact in runs of any length.
        self.scale = lcm(*(s.denominator for s in shares))
        self.slack = max(1, 2 * len(shares) - 2)
        self.shares = [int(s * self.scale) for s in shares]

    @property
    def drawn(self) -> int:
        return sum(child.drawn for child in self.children)

    def draw(self) -> Task:
        return self.children[self._pick()].draw()

    def _pick(self) -> int:
        if len(self.children) == 1:
            return 0
        counts = [child.drawn for child in self.children]
        turn = sum(counts) + 1
        # How far each child is behind its share. Only those behind by at least 1/slack are candidates ...
        lags = [(turn * s - n * self.scale) * self.slack for s, n in zip(self.shares, counts, strict=True)]
        open_ = [i for i, lag in enumerate(lags) if lag >= self.scale]
        # ... and the one that would be behind by more than 1 - 1/slack soonest is drawn.
        limit = (self.slack - 1) * self.scale
        return min(open_, key=lambda i: (Fraction(limit - lags[i], self.shares[i]), i))


class TaskStream:
    """An endless stream of tasks.

    With one source, every task comes exactly once per epoch. With several, each has its own epochs, and they are mixed
    by weight. One call of `next` can return a task twice if an epoch ends in it.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        seed: int,
        mixture: Mixture | None = None,
        domain_shares: Mapping[str, float] | None = None,
        stratify_by: Literal["domain", "difficulty"] | None = None,
        key: str = "data",
    ) -> None:
        """Sets up the order.

        Args:
            tasks: tasks with unique ids, all of the loaded ones or a part of them.
            mixture: the mixture of load_tasks; by default one source.
            domain_shares: minimum share of the draws by domain; takes precedence over the sources' weights.
            stratify_by: column whose values are spread evenly.
            key: key of the section in the recipe, for messages.
        Raises:
            DataError: no tasks, a domain without tasks, shares that exclude other domains, or too many strata.
        """
        if not tasks:
            raise DataError("there are no tasks to draw from")
        self._tasks = tuple(tasks)
        shares = dict(domain_shares or {})
        _check_domains(tasks, shares, key)
        self._leaves, masses = _leaves(tasks, seed, mixture, shares, stratify_by, key)
        self._root = _tree(self._leaves, masses, 0)
        settings = [seed, sorted(shares.items()), stratify_by, [str(masses[leaf.path]) for leaf in self._leaves]]
        self._order_print = fingerprint(settings)
        self._tasks_print = tasks_fingerprint(tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def epoch(self) -> int:
        """Number of complete epochs: every task has been drawn at least this many times."""
        return min(leaf.drawn // len(leaf.tasks) for leaf in self._leaves)

    def next(self, n: int) -> list[Task]:
        """The next n tasks."""
        return [self._root.draw() for _ in range(n)]

    def state_dict(self) -> dict[str, Any]:
        """The position in the stream, as JSON values."""
        drawn = [leaf.drawn for leaf in self._leaves]
        return {"tasks": self._tasks_print, "num_tasks": len(self), "order": self._order_print, "drawn": drawn}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues exactly at a position from `state_dict`.

        Raises:
            DataError: the position belongs to other tasks, another seed or another mixture.
        """
        if state["tasks"] != self._tasks_print:
            raise DataError(
                f"the saved position belongs to other tasks ({state['num_tasks']} then, {len(self)} now): the data has "
                "changed since; restore it, or start a new run"
            )
        if state["order"] != self._order_print:
            raise DataError(
                "the saved position belongs to another order: run.seed, the sources' weights, data.domain_shares or "
                "data.stratify_by have changed since; restore them, or start a new run"
            )
        for leaf, drawn in zip(self._leaves, state["drawn"], strict=True):
            leaf.drawn = drawn


def fingerprint(value: Any) -> str:
    """A hash of JSON-like data."""
    return hashlib.sha256(json.dumps(value, default=str, sort_keys=True).encode()).hexdigest()[:32]


def tasks_fingerprint(tasks: Sequence[Task]) -> str:
    """A hash of tasks and their order."""
    rows = [[t.id, t.kind, t.prompt, t.reference, dict(t.metadata), *map(dict, t.history)] for t in tasks]
    return fingerprint(rows)


def _check_domains(tasks: Sequence[Task], shares: Mapping[str, float], key: str) -> None:
    known = {str(t.metadata.get("domain")) for t in tasks}
    for domain in shares:
        if known == {"None"}:
            raise DataError(f"{key}.domain_shares: no row has a domain; name its column with {key}.fields.domain")
        if domain not in known:
            raise DataError(
                f'{key}.domain_shares names "{domain}", which no task has{did_you_mean(domain, known)}; '
                f"existing domains: {some(sorted(known))}"
            )
    left_out = sorted(known - set(shares))
    if shares and left_out and sum(map(_exact, shares.values())) >= 1:
        raise DataError(
            f"{key}.domain_shares sum to 1, so the domains {some(left_out)} would never be drawn; lower the shares "
            "or filter those domains out"
        )


def _exact(number: float) -> Fraction:
    """The decimal number that was written: 0.3 -> 3/10, not the nearest binary fraction."""
    return Fraction(repr(float(number)))


def _leaves(
    tasks: Sequence[Task],
    seed: int,
    mixture: Mixture | None,
    shares: Mapping[str, float],
    stratify_by: str | None,
    key: str,
) -> tuple[list[_Leaf], dict[_Path, Fraction]]:
    """The leaves, in the order of their first tasks, and by leaf path its share of the draws."""
    members: dict[_Path, list[Task]] = {}
    source_sizes: dict[str, int] = {}
    for task in tasks:
        source = str(mixture.source_of[task.id]) if mixture else "0"
        domain = str(task.metadata.get("domain"))
        stratum = str(task.metadata.get(stratify_by)) if stratify_by else ""
        members.setdefault((domain if domain in shares else "", source, stratum), []).append(task)
        source_sizes[source] = source_sizes.get(source, 0) + 1
    if len({path[2] for path in members}) > MAX_STRATA:
        raise DataError(
            f"{key}.stratify_by: {stratify_by} has more than {MAX_STRATA} different values; use a column with fewer"
        )
    masses: dict[_Path, Fraction] = {}
    for path, its in members.items():
        weight = _exact(mixture.weights[int(path[1])]) if mixture else Fraction(1)
        masses[path] = weight * Fraction(len(its), source_sizes[path[1]])
    _raise_shares(masses, {d: _exact(s) for d, s in shares.items()})
    return [_Leaf(path, its, seed) for path, its in members.items()], masses


def _raise_shares(masses: dict[_Path, Fraction], least: Mapping[str, Fraction]) -> None:
    """Scales the leaves' masses in place so that they sum to 1 and no domain is below its minimum share.

    Raising one domain lowers the others, which may push another one below its minimum. Repeats until none is.
    """
    raised: dict[str, Fraction] = {}
    while True:
        free = sum(m for path, m in masses.items() if path[0] not in raised)
        scale = (1 - sum(raised.values())) / free if free else Fraction(0)
        below = {d: s for d, s in least.items() if d not in raised and _mass(masses, d) * scale < s}
        if not below:
            break
        raised.update(below)
    factors = {d: share / _mass(masses, d) for d, share in raised.items()}
    for path in masses:
        masses[path] *= factors.get(path[0], scale)


def _mass(masses: Mapping[_Path, Fraction], domain: str) -> Fraction:
    return sum((m for path, m in masses.items() if path[0] == domain), Fraction(0))


def _tree(leaves: Sequence[_Leaf], masses: Mapping[_Path, Fraction], level: int) -> _Node | _Leaf:
    if level == 3:
        return leaves[0]
    branches: dict[str, list[_Leaf]] = {}
    for leaf in leaves:
        branches.setdefault(leaf.path[level], []).append(leaf)
    children = [_tree(branch, masses, level + 1) for branch in branches.values()]
    # Skip a level with one child; the tree of most runs is a single leaf.
    if len(children) == 1:
        return children[0]
    return _Node(children, [sum((masses[x.path] for x in b), Fraction(0)) for b in branches.values()])


def split_holdout(tasks: Sequence[Task], n: int, seed: int) -> tuple[tuple[Task, ...], tuple[Task, ...]]:
    """Splits tasks into (training tasks, held-out tasks), each in the original order.

    Selects by a hash of seed and prompt, so the order of the rows does not matter, and tasks with the same prompt are
    in the same part. With repeated prompts, there may be slightly fewer than n held-out tasks.

    Raises:
        DataError: no training task would be left.
    """
    if n >= len(tasks):
        raise DataError(f"evaluation.holdout={n} leaves nothing to train on: there are {len(tasks)} tasks; lower it")
    groups: dict[str, list[str]] = {}
    for task in tasks:
        groups.setdefault(hashlib.sha256(f"{seed}/{task.wording}".encode()).hexdigest(), []).append(task.id)
    heldout: set[str] = set()
    # Skip a group that no longer fits, so that no prompt is in both parts.
    for _, ids in sorted(groups.items()):
        if len(heldout) + len(ids) <= n:
            heldout.update(ids)
    return tuple(t for t in tasks if t.id not in heldout), tuple(t for t in tasks if t.id in heldout)


def rows_stream(tasks: Sequence[Task], mixture: Mixture, rows: RowsKeys, key: str, seed: int) -> TaskStream:
    """A stream with the domain_shares and stratify_by of a section of a recipe.

    Args:
        tasks: The tasks to draw.
        mixture: Their sources and weights.
        rows: The section.
        key: Its dotted key, for messages.
        seed: Seed of the order.

    Raises:
        DataError: the tasks do not fit the section's domain_shares or stratify_by.
    """
    shares, column = rows.domain_shares, rows.stratify_by
    return TaskStream(tasks, seed=seed, mixture=mixture, domain_shares=shares, stratify_by=column, key=key)
