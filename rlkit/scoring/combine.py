"""From parts to one number a sample: pure functions, no Ray, no I/O."""

from __future__ import annotations

import json
import math
import numbers
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from rlkit.errors import ScoringError
from rlkit.records import Group, Score, ScoredGroup
from rlkit.scoring.plugin import LoadedPart

ACCURACY = "accuracy"
"""The part whose value says whether a reply is right (above 0) or wrong."""
_MAX_REASON = 500


def combine(
    parts: Mapping[str, tuple[Score, ...]], weights: Mapping[str, float], wrong_caps: Mapping[str, float]
) -> tuple[float | None, ...]:
    """Total reward of each sample: the weighted sum of its parts, weights normalised to add to 1.

    A part may pay a reply whose accuracy is 0 or less at most `wrong_caps[part]`. A None in a part with a weight above
    0 makes the total None; parts of weight 0 do not count at all.

    accuracy 0, reasoning 1.0, format 1.0, efficiency 0 with the default weights and caps -> 0.3 * 0.5 + 0.2 = 0.35

    Args:
        parts: by name, [G] scores.
        weights: by name; every name in `parts` has one.
    """
    counted = {name: weights[name] for name in parts if weights[name] > 0}
    total_weight = math.fsum(counted.values())
    assert total_weight > 0, "at least one part needs a weight above 0"
    (num_samples,) = {len(scores) for scores in parts.values()}
    totals: list[float | None] = []
    for i in range(num_samples):
        right = parts[ACCURACY][i].value if ACCURACY in parts else None
        wrong = right is not None and right <= 0
        terms: list[float] = []
        for name, weight in counted.items():
            value = parts[name][i].value
            if value is None:
                break
            terms.append(weight * (min(value, wrong_caps.get(name, value)) if wrong else value))
        totals.append(math.fsum(terms) / total_weight if len(terms) == len(counted) else None)
    return tuple(totals)


def score_group(
    group: Group, parts: Sequence[LoadedPart], weights: Mapping[str, float], wrong_caps: Mapping[str, float]
) -> ScoredGroup:
    """Runs the parts over one group, in order, each with the scores that it needs.

    A part that raises, or returns something that is no list of scores, leaves this group's samples unscored (None,
    "plugin_error") with its name in the reason; nothing else is touched.
    """
    scores: dict[str, tuple[Score, ...]] = {}
    for part in parts:
        needed = {need: scores[need] for need in part.needs}
        scores[part.name] = _run_part(part, Group(group.task, group.samples, needed))
    return make_scored_group(group, {name: scores[name] for name in weights if name in scores}, weights, wrong_caps)


def make_scored_group(
    group: Group,
    scores: Mapping[str, tuple[Score, ...]],
    weights: Mapping[str, float],
    wrong_caps: Mapping[str, float],
) -> ScoredGroup:
    """A group with its parts' scores and the totals; the weights in it add to 1."""
    total = math.fsum(weights[name] for name in scores)
    return ScoredGroup(
        task=group.task,
        samples=group.samples,
        parts=scores,
        weights={name: weights[name] / total for name in scores},
        rewards=combine(scores, weights, wrong_caps),
    )


def unscored_group(
    group: Group, weights: Mapping[str, float], wrong_caps: Mapping[str, float], verdict: str, reason: str
) -> ScoredGroup:
    """A group that could not be scored: every part None, with one verdict ("timeout", "crash") and reason."""
    scores = (Score(None, verdict, reason),) * len(group.samples)
    return make_scored_group(group, dict.fromkeys(weights, scores), weights, wrong_caps)


def _run_part(part: LoadedPart, group: Group) -> tuple[Score, ...]:
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


def check_unscored(groups: Sequence[ScoredGroup], max_unscored: float) -> None:
    """Stops a run whose reward does not work.

    Raises:
        ScoringError: more than `max_unscored` (a share) of the samples have no total; names the part that failed most.
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
    last = failures[worst][-1]
    raise ScoringError(
        f"{num_unscored} of {num_samples} samples ({num_unscored / num_samples:.0%}) could not be scored, more than "
        f"reward.runtime.max_unscored={max_unscored:g} allows; reward part {worst!r} failed on {len(failures[worst])}, "
        f"last with {last.verdict}: {last.reason}"
    )
