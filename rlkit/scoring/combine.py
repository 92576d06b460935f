"""Combines the scores of reward parts into one total per sample. Pure functions: no Ray, no I/O."""

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
"""The part whose value decides whether a reply is right (1 or more) or wrong (less, including partial credit)."""
_MAX_REASON = 500


Paid = dict[str, float]
"""The value of each part that applies to a sample, after partial credit, caps, gates and penalties."""


def combine(
    parts: Mapping[str, tuple[Score, ...]], weights: Mapping[str, float], rules: CombineKeys
) -> tuple[float | None, ...]:
    """Total reward of each sample: the weighted sum of its parts, weights normalised to add to 1.

    The steps, in order: scale partial credit; cap the parts of wrong replies; set parts with a closed gate to 0;
    normalise the parts in the group if the recipe asks for it; sum; add penalties at their own weight. The total is
    None if a part with a weight above 0, or the part that controls its gate, has the value None. Parts of weight 0 do
    not count.

    accuracy 0, reasoning 1.0, format 1.0, efficiency 0 with the default weights and caps -> 0.3 * 0.5 + 0.2 = 0.35
    accuracy 0.5 (half of the tests) and the rest as before -> 0.4 * 0.5 * 0.125 + 0.35 = 0.375

    A sample's sum leaves out the parts that do not apply to it, as in TRL (1.16.0, `GRPOTrainer`: nansum). The sum of
    the weights leaves out only the parts that apply to no sample of the group. So a group's totals are TRL's sums times
    one common factor, and a reply gains nothing when a part does not apply to it. A part does not apply where the part
    that controls its gate does not. A sample to which no part applies has no total.

    weights 1 and 1, group [1, n/a], [0, n/a] -> 1, 0;  group [1, n/a], [1, 0.5] -> 0.5, 0.75

    Args:
        parts: for each part, [G] scores.
        weights: for each part in `parts`, its weight.
        rules: the recipe's `reward.combine`.
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
    """Divisor of a group's weights: the summed weight of the parts that apply to at least one of its samples.

    If no part applies, the sum of all weights. Penalties are not counted.
    """
    summed = {name: weights[name] for name in parts if name not in rules.penalties}
    applying = [weight for name, weight in summed.items() if applies_to_group(name, parts, rules)]
    return math.fsum(applying) or math.fsum(summed.values())


def applies_to_group(name: str, parts: Mapping[str, tuple[Score, ...]], rules: CombineKeys) -> bool:
    """Whether a part applies to at least one sample of the group."""
    columns = zip(*parts.values(), strict=True)
    return any(_applies(name, dict(zip(parts, scores, strict=True)), rules) for scores in columns)


def _applies(name: str, scores: Mapping[str, Score], rules: CombineKeys) -> bool:
    """Whether a part, and the part that controls its gate, apply to a sample."""
    gate = rules.gates.get(name)
    return scores[name].applies and (gate is None or scores[gate.part].applies)


def _paid(scores: Mapping[str, Score], counted: Iterable[str], rules: CombineKeys) -> Paid | None:
    """Value of each counted part that applies to a sample; None if a value that it depends on is None."""
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
    """Scales each part to mean 0 and population standard deviation 1 over the graded samples that it applies to; 0 if
    they are all equal.

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
    """The scores of some parts for one group."""

    scores: dict[str, tuple[Score, ...]] = field(default_factory=dict)
    """For each part, one score per sample."""
    seconds: dict[str, float] = field(default_factory=dict)
    """For each part, the time its plugin took. The time of a call for several groups is split by their samples."""


def score_parts(groups: Sequence[Group], parts: Sequence[LoadedPart]) -> list[PartScores]:
    """Runs the parts in order over the groups. Each part gets the scores that it needs, from earlier parts or from
    `Group.scores`.

    If a part raises or does not return a list of scores, its scores of this group are None, "plugin_error". Other parts
    and groups are not affected.
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
    # Several groups come only to a `GuardedPlugin`, which returns lists of the right length.
    if len(groups) > 1:
        lists = part.plugin.score_groups(groups)  # type: ignore[attr-defined]
        return [tuple(_checked(part.name, score) for score in scores) for scores in lists]
    return [_run_on_one(part, group) for group in groups]


def score_group(
    group: Group, parts: Sequence[LoadedPart], weights: Mapping[str, float], rules: CombineKeys
) -> ScoredGroup:
    """Scores one group with every part and combines the scores; see `score_parts` and `combine`."""
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
    """The scored group, with weights that add to 1 (penalties aside); a part that applies to no sample has weight 0."""
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
    # A plugin may raise anything, including SystemExit; only this group is affected.
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
    """The score with plain Python types, so that it can be sent and stored; a plugin error if it is not valid."""
    if not isinstance(score, Score):
        return _errors(name, 1, f"returned {type(score).__name__} instead of a Score")[0]
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
        result = "could not grade this sample" if score.applies else "does not apply to this sample"
        verdict, reason = verdict or "unscored", reason.strip() or f"reward part {name!r} {result} and gives no reason"
    return Score(None if value is None else float(value), verdict, reason, evidence)


def _plain(value: Any) -> Any:
    """Converts token ids and other NumPy values for JSON."""
    import numpy as np

    if isinstance(value, np.ndarray | np.integer):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON")


class PluginTraceback(Exception):
    """A plugin's traceback in another process, as text; used as the cause of a `ScoringError`."""


def last_traceback(scores: Sequence[Score]) -> str:
    """The traceback of the last of these samples on which a plugin raised; "" if there is none."""
    evidence = [score.evidence for score in scores if score.value is None and score.verdict == "plugin_error"]
    found = [str(e["traceback"]) for e in evidence if isinstance(e, Mapping) and "traceback" in e]
    return found[-1] if found else ""


def unscored_causes(group: ScoredGroup) -> list[tuple[str, Score]]:
    """(part, its score) for each part that leaves a sample without a total.

    These are the parts that failed on the sample (one of weight 0 only if it controls another part's gate) or, if none
    failed, the parts that do not apply to it.
    """
    causes = []
    for i, reward in enumerate(group.rewards):
        without = [(name, scores[i]) for name, scores in group.parts.items() if scores[i].value is None]
        failed = [(name, score) for name, score in without if score.applies]
        counted = [(name, score) for name, score in failed if group.weights[name] > 0]
        causes += (counted or failed or without) if reward is None else []
    return causes


def check_unscored(groups: Sequence[ScoredGroup], max_unscored: float) -> None:
    """Raises if too many samples have no score.

    Raises:
        ScoringError: more than the fraction `max_unscored` of the samples have no total. The message names the part
            that failed most often; the cause is that part's last traceback, if it raised.
    """
    num_samples = sum(len(group.rewards) for group in groups)
    num_unscored = sum(reward is None for group in groups for reward in group.rewards)
    if not num_samples or num_unscored <= max_unscored * num_samples:
        return
    causes = [cause for group in groups for cause in unscored_causes(group)]
    worst, count = Counter(name for name, _ in causes).most_common(1)[0]
    scores = [score for name, score in causes if name == worst]
    last, trace = scores[-1], last_traceback(scores)
    where = "; the last traceback is in the run's run.log, and --debug prints it here" if trace else ""
    what = f"failed on {count}, last with {last.verdict}"
    if not last.applies:
        what = f"does not apply to {count}, and no other part does: {last.verdict}"
    raise ScoringError(
        f"{num_unscored} of {num_samples} samples ({num_unscored / num_samples:.0%}) could not be scored, more than "
        f"reward.runtime.max_unscored={max_unscored:g} allows; reward part {worst!r} {what}: {last.reason}{where}"
    ) from (PluginTraceback(f"\n{trace}") if trace else None)
