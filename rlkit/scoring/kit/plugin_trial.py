"""Checks a plugin in the way a run will use it; `rlkit reward test` prints the findings."""

from __future__ import annotations

import pickle
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rlkit.recipe.schema.reward_section import Actors, RewardKeys
from rlkit.records import Group, Score, ScoredGroup
from rlkit.scoring.kit.cheats import CHEATS, HOSTILE, Example, group_of
from rlkit.scoring.plugins.plugin import load_part, takes_several
from rlkit.scoring.processes.child_processes import LocalPool

_ROUNDS = 20
_TOLERANCE = 1e-9
_BATCH_TOLERANCE = 1e-3
"""A model's outputs depend slightly on the batch size."""
_START_TIMEOUT_S = 120
_FAULTS = ("plugin_error", "timeout", "crash", "memory")

Status = Literal["ok", "note", "FAIL"]


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    check: str
    status: Status
    """"note": worth knowing, but not a defect by itself."""
    text: str


@dataclass(frozen=True)
class Cheat:
    """What a known cheat earns, compared with the honest replies to the same tasks."""

    name: str
    is_wrong: bool
    """Whether its answer is wrong; otherwise it is the honest reply, padded."""
    value: float | None
    """Mean score of the part under test; None if it scored no task."""
    honest: float | None
    reward: float | None
    """Mean total."""
    honest_reward: float | None
    above: int
    """Number of tasks on which the cheat scores more than the honest reply."""
    level: int
    """Number of tasks on which both score the same."""
    tasks: int
    """Number of tasks on which the part scored both."""


@dataclass(frozen=True)
class Examples:
    """The tasks of a trial."""

    checked: tuple[Example, ...]
    """For every check except the cheats."""
    cheated: tuple[Example, ...]
    """For comparing cheats with honest replies."""
    certain: bool
    """Whether the part must handle every kind here; otherwise it may fail on kinds that it was not written for."""

    def without(self, kinds: Collection[str]) -> Examples:
        """The examples of all other kinds."""
        checked, cheated = (tuple(e for e in of if e.kind not in kinds) for of in (self.checked, self.cheated))
        return Examples(checked, cheated, self.certain)


class Trial:
    """Runs one plugin in its own process and checks it.

    Args:
        reward: the part under test and the parts that it needs.
        name: the part under test.
        base_dir: folder that `./file.py:Class` plugins are relative to.
        examples: the tasks to score.

    Raises:
        PluginError: the plugin cannot be found or built.
        ClusterError: the plugin takes too long to build.
    """

    def __init__(self, reward: RewardKeys, name: str, base_dir: Path, examples: Examples) -> None:
        runtime = reward.runtime.model_copy(update={"num_workers": 1})
        self._reward = reward.model_copy(update={"runtime": runtime})
        self._name = name
        self._base_dir = base_dir
        self._examples = examples
        self._pool = self._start()

    def close(self) -> None:
        """Ends the process."""
        self._pool.close()

    def findings(self) -> Iterator[Finding]:
        """Yields the finding of each check except the cheats, as soon as the check is done."""
        yield self._arguments()
        yield self._pickling()
        yield from self._kinds()
        first = self._values(self._groups())
        yield self._range(first)
        yield from self._repeatable(first)
        yield from self._several(first)
        yield self._cost()
        yield from self._hostile()

    def cheats(self) -> Iterator[Cheat]:
        """Scores each known cheat in one group with the honest reply, as samples of a run are scored."""
        for name, template in CHEATS.items():
            groups = [group_of(e, [e.honest, e.cheat(template)]) for e in self._examples.cheated]
            yield _compare(name, "{wrong}" in template or "{right}" not in template, self._name, self._score(groups))

    def _start(self) -> LocalPool:
        return LocalPool(self._reward, self._base_dir, start_timeout_s=_START_TIMEOUT_S)

    def _groups(self) -> list[Group]:
        return [
            group_of(e, [e.honest, e.cheat("{right}"), e.cheat("<think>\nA guess.\n</think>\n{wrong}")])
            for e in self._examples.checked
        ]

    def _score(self, groups: Sequence[Group], pool: LocalPool | None = None) -> list[ScoredGroup]:
        scored = dict((pool or self._pool).score(enumerate(groups)))
        return [scored[i] for i in range(len(groups))]

    def _values(self, groups: Sequence[Group], pool: LocalPool | None = None) -> list[list[Score]]:
        return [list(scored.parts[self._name]) for scored in self._score(groups, pool)]

    def _arguments(self) -> Finding:
        given = self._reward.parts[self._name].arguments
        return Finding(
            "arguments", "ok", ", ".join(f"{k}={v!r}" for k, v in given.items()) or "none set; all have their defaults"
        )

    def _pickling(self) -> Finding:
        # The pool has built this plugin within a time limit, so building it here does not hang.
        plugin = load_part(self._name, self._reward.parts[self._name], self._base_dir).plugin
        try:
            pickle.loads(pickle.dumps(plugin))
        # A plugin's own state may raise anything here.
        except Exception as e:
            why = f"{type(e).__name__}: {e}"
            return Finding(
                "pickling",
                "note",
                f"it cannot be pickled ({why}); rlkit does not need it to: each process builds its own",
            )
        return Finding("pickling", "ok", "it can be pickled; rlkit does not need it to: each process builds its own")

    def _kinds(self) -> Iterator[Finding]:
        """Drops, with a note, the kinds on which the part fails on every task; keeps all if it fails on every kind."""
        if self._examples.certain:
            return
        found: dict[str, list[Score]] = {}
        for example, scores in zip(self._examples.checked, self._values(self._groups()), strict=True):
            found.setdefault(example.kind, []).extend(scores)
        failing = {kind: scores[0].reason for kind, scores in found.items() if all(map(_is_fault, scores))}
        if len(failing) == len(found):
            return
        self._examples = self._examples.without(failing)
        for kind, reason in failing.items():
            text = f"it fails on every task of this kind, so the checks below leave the kind out: {reason}"
            yield Finding(f"kind: {kind}", "note", f"{text}; pass --recipe to check the kinds of your data")

    def _range(self, found: list[list[Score]]) -> Finding:
        scores = [score for scores in found for score in scores]
        values = [score.value for score in scores if score.value is not None]
        faults = [score for score in scores if _is_fault(score)]
        if faults:
            return Finding("range", "FAIL", f"{len(faults)} of {len(scores)} plain replies failed: {faults[0].reason}")
        if not values:
            return Finding("range", "FAIL", f"scores none of {len(scores)} plain replies: {scores[0].reason}")
        span = f"{min(values):g} to {max(values):g} over {len(scores)} plain replies"
        apart = sum(not score.applies for score in scores)
        unscored = len(scores) - len(values) - apart
        span += f", {unscored} of them unscored" if unscored else ""
        span += f", not applicable to {apart} of them" if apart else ""
        if max(values) - min(values) < _TOLERANCE:
            return Finding("range", "note", f"{span}: every reply gets the same score")
        if min(values) < 0 or max(values) > 1:
            return Finding(
                "range", "note", f"{span}: outside [0, 1], so the part counts for more or less than its weight"
            )
        return Finding("range", "ok", span)

    def _repeatable(self, first: list[list[Score]]) -> Iterator[Finding]:
        groups = self._groups()
        yield _same("same score twice", first, self._values(groups), "the second scoring differs")
        turned = [Group(g.task, g.samples[::-1]) for g in groups[::-1]]
        back = [scores[::-1] for scores in self._values(turned)[::-1]]
        yield _same("any order", first, back, "the scores change with the order")
        fresh = self._start()
        try:
            again = self._values(groups, fresh)
        finally:
            fresh.close()
        yield _same(
            "fresh process", first, again, "another process scores differently (unseeded randomness, set order, time?)"
        )
        alone = [[s for (s,) in self._values([Group(g.task, (x,)) for x in g.samples])] for g in groups]
        by_itself = _difference(first, alone) is None
        text = "scores each sample by itself" if by_itself else "compares the samples of a group"
        yield Finding("group", "ok", text)

    def _several(self, first: list[list[Score]]) -> Iterator[Finding]:
        """Whether `score_groups`, if the plugin has it, gives the same scores as `score` group by group."""
        if not takes_several(load_part(self._name, self._reward.parts[self._name], self._base_dir).plugin):
            return
        parts = self._reward.model_dump()
        parts[self._name]["actors"] = Actors(groups_per_call=len(self._examples.checked)).model_dump()
        pool = LocalPool(RewardKeys.model_validate(parts), self._base_dir, start_timeout_s=_START_TIMEOUT_S)
        try:
            together = self._values(self._groups(), pool)
        finally:
            pool.close()
        otherwise = "the scores change when one call holds several groups"
        yield _same("several groups", first, together, otherwise, _BATCH_TOLERANCE)

    def _cost(self) -> Finding:
        groups = self._groups()
        num_samples = sum(len(group.samples) for group in groups)
        before_kb = self._pool.resident_kb()
        began = time.perf_counter()
        for _ in range(_ROUNDS):
            self._score(groups)
        seconds = (time.perf_counter() - began) / (_ROUNDS * num_samples)
        grown_kb = (self._pool.resident_kb() - before_kb) / (_ROUNDS * num_samples)
        text = f"{seconds * 1e3:.2f} ms and {max(0.0, grown_kb):.1f} KiB a sample, {before_kb / 1024:.0f} MiB in all"
        return Finding("cost", "ok", text)

    def _hostile(self) -> Iterator[Finding]:
        for name, reply in HOSTILE.items():
            began = time.perf_counter()
            ((score,),) = self._values([group_of(self._examples.checked[0], [reply], "hostile")])
            seconds = time.perf_counter() - began
            failed = _is_fault(score)
            what = score.reason if failed else f"{score.value} {score.verdict}".strip()
            yield Finding(f"hostile: {name}", "FAIL" if failed else "ok", f"{what} ({seconds:.2f} s)")


def _is_fault(score: Score) -> bool:
    return score.value is None and score.verdict in _FAULTS


def _compare(name: str, is_wrong: bool, part: str, scored: Sequence[ScoredGroup]) -> Cheat:
    pairs = [(g.parts[part][0].value, g.parts[part][1].value) for g in scored]
    both = [(honest, cheat) for honest, cheat in pairs if honest is not None and cheat is not None]
    totals = [(g.rewards[0], g.rewards[1]) for g in scored]
    rewards = [(honest, cheat) for honest, cheat in totals if honest is not None and cheat is not None]
    return Cheat(
        name,
        is_wrong,
        _mean([cheat for _, cheat in both]),
        _mean([honest for honest, _ in both]),
        _mean([cheat for _, cheat in rewards]),
        _mean([honest for honest, _ in rewards]),
        sum(cheat > honest + _TOLERANCE for honest, cheat in both),
        sum(abs(cheat - honest) <= _TOLERANCE for honest, cheat in both),
        len(both),
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _same(
    check: str, first: list[list[Score]], again: list[list[Score]], otherwise: str, tolerance: float = 0.0
) -> Finding:
    difference = _difference(first, again, tolerance)
    return Finding(check, "ok", "yes") if difference is None else Finding(check, "FAIL", f"{otherwise}: {difference}")


def _difference(first: list[list[Score]], again: list[list[Score]], tolerance: float = 0.0) -> str | None:
    """The first pair of values that differ by more than the tolerance, as text; None if there is none."""
    pairs: list[tuple[Any, Any]] = [
        (a.value, b.value) for ours, theirs in zip(first, again, strict=True) for a, b in zip(ours, theirs, strict=True)
    ]
    return next((f"{a} became {b}" for a, b in pairs if not _equal(a, b, tolerance)), None)


def _equal(a: float | None, b: float | None, tolerance: float) -> bool:
    return a == b or (a is not None and b is not None and abs(a - b) <= tolerance)
