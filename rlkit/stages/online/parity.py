"""The parity gate: after each weight sync a canary's log-probs from every engine and from the learner must agree.

An engine that kept old weights anywhere (a packed copy, a tied layer, a cache) is found before it draws a sample.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rlkit.errors import ParityError

if TYPE_CHECKING:
    from rlkit.records import Sample


CANARY_PROMPTS = 4


CANARY_TOKENS = 16
"""The canary: this many prompts, this many tokens of each, drawn with fixed seeds after every sync."""


def max_logprob_gap(samples: Sequence[Sample], learner_logprobs: Sequence[Sequence[float]]) -> float:
    """Largest difference between the engine's and the learner's log-prob of a canary token, in nats."""
    return worst(
        abs(ours - theirs)
        for sample, row in zip(samples, learner_logprobs, strict=True)
        for theirs, ours in zip(sample.logprobs.tolist(), row, strict=True)
    )


def worst(gaps: Iterable[float]) -> float:
    """The largest; not a number, if any is: `max` would only see that of the first."""
    return max(gaps, key=lambda gap: (math.isnan(gap), gap))


def check_parity(gap: float, *, limit: float, version: int, precision: str) -> None:
    """The gate.

    Raises:
        ParityError: the gap is above the limit, or not a number.
    """
    if math.isnan(gap):
        raise ParityError(
            f"after the sync of policy version {version} log-probs of the engine or the learner are not numbers: its "
            "weights hold some that are not finite, or a pass overflows; go on from an earlier checkpoint or model"
        )
    if not gap <= limit:
        raise ParityError(
            f"after the sync of policy version {version} an engine's log-probs differ from the learner's by {gap:.3g} "
            f"nats, more than rollout.parity_limit={limit:g} ({precision}): the engine does not hold the learner's "
            "weights, so the run was stopped before it could train on wrong log-probs; raise the limit only if the "
            "model's kernels are known to differ this much"
        )
