"""From parts to one number a sample: pure functions, no Ray, no I/O."""

from __future__ import annotations

import json
import math
import numbers
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rlkit.errors import ScoringError
from rlkit.recipe.schema.reward import Combine
from rlkit.records import Group, Score, ScoredGroup
from rlkit.scoring.plugin import LoadedPart

ACCURACY = "accuracy"
"""The part whose value says whether a reply is right (1 and more) or wrong (anything less, partial credit too)."""
_MAX_REASON = 500


def combine(
    parts: Mapping[str, tuple[Score, ...]], weights: Mapping[str, float], rules: Combine
) -> tuple[float | None, ...]:
    """Total reward of each sample: the weighted sum of its parts, weights normalised to add to 1.

    In this order: partial credit is scaled, parts of wrong replies are capped, gated parts are left out, parts are
    normalised in the group if asked, then they are summed; penalties are added at their own weight. A None in a part
    with a weight above 0, or in the part that opens its gate, makes the total None; parts of weight 0 do not count.

    accuracy 0, reasoning 1.0, format 1.0, efficiency 0 with the default weights and caps -> 0.3 * 0.5 + 0.2 = 0.35
    accuracy 0.5 (half of the tests) and the rest as before -> 0.4 * 0.5 * 0.125 + 0.35 = 0.375

    Args:
        parts: by name, [G] scores.
        weights: by name; every name in `parts` has one.
    """
    counted = {name: weights[name] for name in parts if weights[name] > 0}
    summed = {name: weight for name, weight in counted.items() if name not in rules.penalties}
    total_weight = math.fsum(summed.values())
    assert total_weight > 0, "at least one part needs a weight above 0"
    (num_samples,) = {len(scores) for scores in parts.values()}
    paid = [
        _paid({name: scores[i].value for name, scores in parts.items()}, counted, rules) for i in range(num_samples)
    ]
    if rules.normalize == "group":
        paid = _normalized(paid, summed)
    return tuple(
        None
        if row is None
        else math.fsum(weight * row[name] for name, weight in summed.items()) / total_weight
        + math.fsum(counted[name] * row[name] for name in counted if name not in summed)
        for row in paid
    )


def _paid(values: Mapping[str, float | None], counted: Iterable[str], rules: Combine) -> dict[str, float] | None:
    """What each counted part pays one sample; None where it cannot be told."""
    accuracy = values.get(ACCURACY)
    paid: dict[str, float] = {}
    for name in counted:
        value, gate = values[name], rules.gates.get(name)
        opener = values[gate.part] if gate else None
        if value is None or (gate and opener is None):
            return None
        if name == ACCURACY and 0 < value < 1:
            value *= rules.partial_accuracy
        elif accuracy is not None and accuracy < 1:
            value = min(value, rules.wrong_caps.get(name, value))
        if gate and opener is not None and opener < gate.at_least:
            value = 0.0
        paid[name] = min(value, 0.0) if name in rules.penalties else value
    return paid


def _normalized(paid: Sequence[dict[str, float] | None], names: Iterable[str]) -> list[dict[str, float] | None]:
    """Each part with mean 0 and population deviation 1 over a group's graded samples; 0 where all are equal.

    [1, 0, None] -> [1, -1, None]
    """
    rows = [None if row is None else dict(row) for row in paid]
    graded = [row for row in rows if row is not None]
    for name in names:
        values = [row[name] for row in graded]
        mean = math.fsum(values) / max(1, len(values))
        std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / max(1, len(values)))
        for row in graded:
            row[name] = (row[name] - mean) / std if max(values) > min(values) and std > 0 else 0.0
    return rows


@dataclass(frozen=True)
class PartScores:
    """What parts say of one group."""

    scores: dict[str, tuple[Score, ...]] = field(default_factory=dict)
    """By part."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By part, how long its plugin took; of a call for several groups, the group's share by its samples."""


def score_parts(groups: Sequence[Group], parts: Sequence[LoadedPart]) -> list[PartScores]:
    """Runs the parts over groups, in order, each with the scores that it needs: of earlier parts, or the groups' own.

    A part that raises, or returns something that is no list of scores, leaves this group's samples unscored (None,
    "plugin_error") with its name in the reason; nothing else is touched.
    """
    found = [PartScores() for _ in groups]
    num_samples = max(1, sum(len(group.samples) for group in groups))
    for part in parts:
        asked = [_with_needs(group, own.scores, part.needs) for group, own in zip(groups, found, strict=True)]
        began = time.perf_counter()
        scores = _run_part(part, asked)
        seconds = time.perf_counter() - began
        for group, own, its_scores in zip(groups, found, scores, strict=True):
            own.scores[part.name] = its_scores
            own.seconds[part.name] = seconds * len(group.samples) / num_samples
    return found


def _with_needs(group: Group, scores: Mapping[str, tuple[Score, ...]], needs: Sequence[str]) -> Group:
    known = {**group.scores, **scores}
    return Group(group.task, group.samples, {need: known[need] for need in needs})


def _run_part(part: LoadedPart, groups: Sequence[Group]) -> list[tuple[Score, ...]]:
    # Of the plugins that take several groups, only walled ones get them: what they return then has the right shape.
    if len(groups) > 1:
        lists = part.plugin.score_groups(groups)  # type: ignore[attr-defined]
        return [tuple(_checked(part.name, score) for score in scores) for scores in lists]
    return [_run_on_one(part, group) for group in groups]


def score_group(group: Group, parts: Sequence[LoadedPart], weights: Mapping[str, float], rules: Combine) -> ScoredGroup:
    """Scores one group by every part, and combines them; see `score_parts` and `combine`."""
    (found,) = score_parts([group], parts)
    scores = {name: found.scores[name] for name in weights if name in found.scores}
    return make_scored_group(group, scores, weights, rules, found.seconds)


def make_scored_group(
    group: Group,
    scores: Mapping[str, tuple[Score, ...]],
    weights: Mapping[str, float],
    rules: Combine,
    seconds: Mapping[str, float],
) -> ScoredGroup:
    """A group with its parts' scores and the totals; the weights in it, penalties aside, add to 1."""
    penalties = rules.penalties
    total = math.fsum(weights[name] for name in scores if name not in penalties)
    return ScoredGroup(
        task=group.task,
        samples=group.samples,
        parts=scores,
        weights={name: weights[name] / (1 if name in penalties else total) for name in scores},
        rewards=combine(scores, weights, rules),
        seconds=seconds,
    )


def _run_on_one(part: LoadedPart, group: Group) -> tuple[Score, ...]:
    try:
        returned = part.plugin.score(group)
    # A plugin may raise anything, SystemExit too; it costs this group only.
    except (Exception, SystemExit) as e:
        last = traceback.format_exception_only(e)[-1].strip()
        return _errors(part.name, len(group.samples), f"raised {last}")
    if not isinstance(returned, list | tuple):
        return _errors(part.name, len(group.samples), f"returned {type(returned).__name__}, not a list of scores")
    if len(returned) != len(group.samples):
        what = f"returned {len(returned)} scores for {len(group.samples)} samples"
        return _errors(part.name, len(group.samples), what)
    return tuple(_checked(part.name, score) for score in returned)


def _errors(name: str, count: int, what: str) -> tuple[Score, ...]:
    return (Score(None, "plugin_error", f"reward part {name!r} {what}"[:_MAX_REASON]),) * count


def _checked(name: str, score: Any) -> Score:
    """The score with exact types, so that it can be sent and stored; or a plugin error in its place."""
    if not isinstance(score, Score):
        return _errors(name, 1, f"returned {type(score).__name__} in the place of a Score")[0]
    value = score.value
    if value is not None and not isinstance(value, numbers.Real):
        return _errors(name, 1, f"returned a value of type {type(value).__name__}, not a number or None")[0]
    if value is not None and not math.isfinite(value):
        return _errors(name, 1, f"returned {float(value)}, not a finite number")[0]
    try:
        evidence = json.loads(json.dumps(score.evidence, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        evidence = repr(score.evidence)[:_MAX_REASON]
    return Score(None if value is None else float(value), str(score.verdict), str(score.reason), evidence)


class PluginTraceback(Exception):
    """What a plugin raised in another process, as text: the cause of a `ScoringError`."""


def last_traceback(scores: Sequence[Score]) -> str:
    """The traceback of the last of these samples that a plugin raised on; empty where it raised on none."""
    evidence = [score.evidence for score in scores if score.value is None and score.verdict == "plugin_error"]
    found = [str(e["traceback"]) for e in evidence if isinstance(e, Mapping) and "traceback" in e]
    return found[-1] if found else ""


def check_unscored(groups: Sequence[ScoredGroup], max_unscored: float) -> None:
    """Stops a run whose reward does not work.

    Raises:
        ScoringError: more than `max_unscored` (a share) of the samples have no total; names the part that failed most.
            Its cause is that part's last traceback, if it raised.
    """
    num_samples = sum(len(group.rewards) for group in groups)
    num_unscored = sum(reward is None for group in groups for reward in group.rewards)
    if not num_samples or num_unscored <= max_unscored * num_samples:
        return
    failures: dict[str, list[Score]] = {}
    for group in groups:
        for name, scores in group.parts.items():
            if group.weights[name] > 0:
                failures.setdefault(name, []).extend(score for score in scores if score.value is None)
    worst = max(failures, key=lambda name: len(failures[name]))
    last, trace = failures[worst][-1], last_traceback(failures[worst])
    where = "; its last traceback is in the run's run.log, and here with --debug" if trace else ""
    raise ScoringError(
        f"{num_unscored} of {num_samples} samples ({num_unscored / num_samples:.0%}) could not be scored, more than "
        f"reward.runtime.max_unscored={max_unscored:g} allows; reward part {worst!r} failed on {len(failures[worst])}, "
        f"last with {last.verdict}: {last.reason}{where}"
    ) from (PluginTraceback(f"\n{trace}") if trace else None)
