"""Explains a step without a learning signal: how many groups differ, broken rules, an example reply, and remedies."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import torch

from rlkit.algorithm.advantage import has_spread
from rlkit.algorithm.batch import informative
from rlkit.records import Sample, Score, ScoredGroup
from rlkit.watch.metrics import is_right

PASSING = ("", "ok", "correct", "pass", "not_applicable")
"""Verdicts without a broken rule."""
MAIN_CAUSE = 0.5
"""Share of the replies above which a problem counts as a main cause."""
RULES_SHOWN = 3
REPLY_SHOWN = 400
"""Maximum number of characters shown of a reply."""


def describe_no_signal(groups: Sequence[ScoredGroup], *, whole_step: bool = False) -> str:
    """Explains why a step has no learning signal; empty if it has one.

    A step has none if the rewards within each group are equal. If no reply is right, it has only that of the shaping
    parts, which is reported too.

    Args:
        groups: The step's groups.
        whole_step: Rewards are compared within the step, not within each group (`baseline: batch`).
    """
    graded = [(s, r) for g in groups for s, r in zip(g.samples, g.rewards, strict=True) if r is not None]
    if not graded:
        return ""
    differing = sum(informative(group) for group in groups)
    rewards = [reward for _, reward in graded]
    equal = differing == 0 and not (whole_step and has_spread(torch.tensor(rewards, dtype=torch.float64)))
    right = [
        is_right(score) for group in groups for score in group.parts.get("accuracy", ()) if score.value is not None
    ]
    none_right = bool(right) and not any(right)
    if not equal and not none_right:
        return ""
    headline = "has no learning signal" if equal else "has a signal only from the shaping parts: no reply is right"
    sentences = [
        f"{headline}; the rewards differ in {differing} of {len(groups)} groups, and {sum(right)} of {len(graded)} "
        f"replies are right (reward {min(rewards):.3f} to {max(rewards):.3f})"
    ]
    broken = broken_rules(groups)
    if broken and not all(right or [False]):
        shown = "; ".join(f"{part}: {rule} ({share:.0%})" for part, rule, share in broken[:RULES_SHOWN])
        sentences.append(f"Most frequent problems: {shown}")
    samples = [sample for sample, _ in graded]
    sentences.append(f"One reply: {_shortened(samples[0].response)!r}")
    sentences.append(f"Try: {_advice(samples, right, {rule[0]: rule[2] for rule in reversed(broken)})}")
    return ". ".join(sentences)


def broken_rules(groups: Sequence[ScoredGroup]) -> list[tuple[str, str, float]]:
    """(part, rule, share of the samples that break it), the most frequent first, then by the part's weight.

    A rule is the reason of a failing verdict, with its numbers and quotations replaced.
    """
    counts: Counter[tuple[str, str]] = Counter()
    weights: dict[str, float] = {}
    num_samples = sum(len(group.samples) for group in groups)
    for group in groups:
        for part, scores in group.parts.items():
            weights[part] = group.weights.get(part, 0.0)
            for score in scores:
                counts.update({(part, rule) for rule in _rules(score)})
    found = [(part, rule, count / num_samples) for (part, rule), count in counts.items() if weights[part] > 0]
    return sorted(found, key=lambda row: (-row[2], -weights[row[0]]))


def _rules(score: Score) -> list[str]:
    if score.verdict in PASSING or not score.reason:
        return []
    plain = re.sub(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|-?\d+(?:\.\d+)?", "…", score.reason)
    return plain.split("; ")


def _advice(samples: Sequence[Sample], right: Sequence[bool], shares: dict[str, float]) -> str:
    """Remedies for the step, the most promising first."""
    found = []
    if right and all(right):
        return "harder tasks (another data.path, or data.filter), because every reply is right"
    cut = sum(sample.finish_reason == "length" for sample in samples) / len(samples)
    if cut > MAIN_CAUSE:
        found.append(f"a larger rollout.max_tokens, because {cut:.0%} of the replies are cut there")
    if len({sample.response for sample in samples}) < len(samples) / 2:
        found.append("a higher rollout.temperature, because most replies are the same")
    if shares.get("format", 0.0) > MAIN_CAUSE:
        found += [
            "an sft stage first, on replies in the required format",
            "another data.prompt.template or data.prompt.system that shows the format, with an example or two",
            "data.prompt.force_think=false, for a model that was never trained to think in tags: a reply without tags "
            "is judged as a whole",
            "reward.format=null, until the model has learned the format",
        ]
    else:
        found += ["easier tasks, or an sft stage first", "more stages.N.samples_per_prompt, so that some are right"]
    return "; or ".join(found)


def _shortened(text: str) -> str:
    """The start and the end of a reply, because format errors are at one of them."""
    if len(text) <= REPLY_SHOWN:
        return text
    return f"{text[: REPLY_SHOWN // 2]} … {text[-REPLY_SHOWN // 2 :]}"
