"""From parts to one number a sample: pure functions, no Ray, no I/O."""

from __future__ import annotations

import json
import math
import numbers
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rlkit.errors import ScoringError
from rlkit.recipe.schema.reward_section import CombineKeys
from rlkit.records import Group, Score, ScoredGroup
from rlkit.scoring.plugins.plugin import LoadedPart

ACCURACY = "accuracy"
"""The part whose value says whether a reply is right (1 and more) or wrong (anything less, partial credit too)."""
_MAX_REASON = 500


Paid = dict[str, float]
"""What the parts that apply to a sample pay it."""


def combine(
    parts: Mapping[str, tuple[Score, ...]], weights: Mapping[str, float], rules: CombineKeys
) -> tuple[float | None, ...]:
    """Total reward of each sample: the weighted sum of its parts, weights normalised to add to 1.

    In this order: partial credit is scaled, parts of wrong replies are capped, gated parts are left out, parts are
    normalised in the group if asked, then they are summed; penalties are added at their own weight. A None in a part
    with a weight above 0, or in the part that opens its gate, makes the total None; parts of weight 0 do not count.

    accuracy 0, reasoning 1.0, format 1.0, efficiency 0 with the default weights and caps -> 0.3 * 0.5 + 0.2 = 0.35
    accuracy 0.5 (half of the tests) and the rest as before -> 0.4 * 0.5 * 0.125 + 0.35 = 0.375

    A part that does not apply to a sample leaves its sum: the other parts' sum counts, as in TRL (1.16.0,
    `GRPOTrainer`: nansum). A part that applies to no sample of the group leaves the weights too: the others' add to 1.
    So the totals of a group are TRL's sums up to one factor, and no reply gains by what a part does not apply to. A
    part whose gate's opener does not apply does not apply either. A sample to which no part applies has no total.

    weights 1 and 1, group [1, n/a], [0, n/a] -> 1, 0;  group [1, n/a], [1, 0.5] -> 0.5, 0.75

    Args:
        parts: by name, [G] scores.
        weights: by name; every name in `parts` has one.
    """
    counted = {name: weights[name] for name in parts if weights[name] > 0}
    summed = {name: weight for name, weight in counted.items() if name not in rules.penalties}
    assert math.fsum(summed.values()) > 0, "at least one part needs a weight above 0"
    total_weight = weight_in_group(parts, weights, rules)
    (num_samples,) = {len(scores) for scores in parts.values()}
    paid = [_paid({name: scores[i] for name, scores in parts.items()}, counted, rules) for i in range(num_samples)]
    if rules.normalize == "group":
        paid = _normalized(paid, summed)
    return tuple(
        None
        if not row
        else math.fsum(weight * row[name] for name, weight in summed.items() if name in row) / total_weight
        + math.fsum(counted[name] * row[name] for name in row if name not in summed)
        for row in paid
    )


def weight_in_group(parts: Mapping[str, tuple[Score, ...]], weights: Mapping[str, float], rules: CombineKeys) -> float:
    """What the weights of a group are divided by: the sum of those of the parts that apply to any of its samples.

    Where none applies it is the sum of all. Penalties stand beside the others and are no part of it.
    """
    summed = {name: weights[name] for name in parts if name not in rules.penalties}
    applying = [weight for name, weight in summed.items() if applies_to_group(name, parts, rules)]
    return math.fsum(applying) or math.fsum(summed.values())


def applies_to_group(name: str, parts: Mapping[str, tuple[Score, ...]], rules: CombineKeys) -> bool:
    """Whether a part applies to any sample."""
    columns = zip(*parts.values(), strict=True)
    return any(_applies(name, dict(zip(parts, scores, strict=True)), rules) for scores in columns)


def _applies(name: str, scores: Mapping[str, Score], rules: CombineKeys) -> bool:
    """Whether a part, and what opens its gate, applies to a sample."""
    gate = rules.gates.get(name)
    return scores[name].applies and (gate is None or scores[gate.part].applies)


def _paid(scores: Mapping[str, Score], counted: Iterable[str], rules: CombineKeys) -> Paid | None:
    """What each counted part that applies pays one sample; None where it cannot be told."""
    accuracy = scores[ACCURACY].value if ACCURACY in scores else None
    paid: Paid = {}
    for name in counted:
        if not _applies(name, scores, rules):
            continue
        value, gate = scores[name].value, rules.gates.get(name)
        opener = scores[gate.part].value if gate else None
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


def _normalized(paid: Sequence[Paid | None], names: Iterable[str]) -> list[Paid | None]:
    """Each part with mean 0 and population deviation 1 over the graded samples of a group that it applies to; 0 where
    all are equal.

    [1, 0, None] -> [1, -1, None]
    """
    rows = [None if row is None else dict(row) for row in paid]
    for name in names:
        graded = [row for row in rows if row is not None and name in row]
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


def score_group(
    group: Group, parts: Sequence[LoadedPart], weights: Mapping[str, float], rules: CombineKeys
) -> ScoredGroup:
    """Scores one group by every part, and combines them; see `score_parts` and `combine`."""
    (found,) = score_parts([group], parts)
    scores = {name: found.scores[name] for name in weights if name in found.scores}
    return make_scored_group(group, scores, weights, rules, found.seconds)


def make_scored_group(
    group: Group,
    scores: Mapping[str, tuple[Score, ...]],
    weights: Mapping[str, float],
    rules: CombineKeys,
    seconds: Mapping[str, float],
) -> ScoredGroup:
    """A group with its parts' scores and the totals; the weights in it, penalties aside, add to 1: one of a part that
    applies to no sample is 0, unless none does."""
    total = weight_in_group(scores, weights, rules)
    applying = {name for name in scores if applies_to_group(name, scores, rules)} or set(scores)
    own = {name: weights[name] / (1 if name in rules.penalties else total) for name in scores}
    return ScoredGroup(
        task=group.task,
        samples=group.samples,
        parts=scores,
        weights={name: weight if name in applying else 0.0 for name, weight in own.items()},
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
        evidence = json.loads(json.dumps(score.evidence, default=_plain, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        evidence = repr(score.evidence)[:_MAX_REASON]
    verdict, reason = str(score.verdict), str(score.reason)
    if value is None:
        unsaid = "could not grade this sample" if score.applies else "does not apply to this sample"
        verdict, reason = verdict or "unscored", reason.strip() or f"reward part {name!r} {unsaid} and does not say why"
    return Score(None if value is None else float(value), verdict, reason, evidence)


def _plain(value: Any) -> Any:
    """Token ids as JSON has them."""
    import numpy as np

    if isinstance(value, np.ndarray | np.integer):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON")


class PluginTraceback(Exception):
    """What a plugin raised in another process, as text: the cause of a `ScoringError`."""


def last_traceback(scores: Sequence[Score]) -> str:
    """The traceback of the last of these samples that a plugin raised on; empty where it raised on none."""
    evidence = [score.evidence for score in scores if score.value is None and score.verdict == "plugin_error"]
    found = [str(e["traceback"]) for e in evidence if isinstance(e, Mapping) and "traceback" in e]
    return found[-1] if found else ""


def unscored_causes(group: ScoredGroup) -> list[tuple[str, Score]]:
    """(part, its score) for every part that leaves a sample without a total: those that failed on it; of a sample on
    which none failed, those that do not apply to it. A part of weight 0 counts where it opens another's gate only."""
    causes = []
    for i, reward in enumerate(group.rewards):
        without = [(name, scores[i]) for name, scores in group.parts.items() if scores[i].value is None]
        failed = [(name, score) for name, score in without if score.applies]
        counted = [(name, score) for name, score in failed if group.weights[name] > 0]
        causes += (counted or failed or without) if reward is None else []
    return causes


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
    causes = [cause for group in groups for cause in unscored_causes(group)]
    worst, count = Counter(name for name, _ in causes).most_common(1)[0]
    scores = [score for name, score in causes if name == worst]
    last, trace = scores[-1], last_traceback(scores)
    where = "; its last traceback is in the run's run.log, and here with --debug" if trace else ""
    what = f"failed on {count}, last with {last.verdict}"
    if not last.applies:
        what = f"does not apply to {count}, and no other part does: {last.verdict}"
    raise ScoringError(
        f"{num_unscored} of {num_samples} samples ({num_unscored / num_samples:.0%}) could not be scored, more than "
        f"reward.runtime.max_unscored={max_unscored:g} allows; reward part {worst!r} {what}: {last.reason}{where}"
    ) from (PluginTraceback(f"\n{trace}") if trace else None)
