"""The parity gate: after each weight sync, every engine and the learner must agree on the log-probs of canary samples.

It finds an engine that still uses old weights (a packed copy, a tied layer, a cache) before it draws training samples.
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
"""The canary: CANARY_PROMPTS prompts, CANARY_TOKENS tokens each, drawn with fixed seeds after every sync."""


def max_logprob_gap(samples: Sequence[Sample], learner_logprobs: Sequence[Sequence[float]]) -> float:
    """Largest difference between the engine's and the learner's log-probs over the canary tokens, in nats."""
    return worst(
        abs(ours - theirs)
        for sample, row in zip(samples, learner_logprobs, strict=True)
        for theirs, ours in zip(sample.logprobs.tolist(), row, strict=True)
    )


def worst(gaps: Iterable[float]) -> float:
    """The largest gap, or NaN if any gap is NaN; `max` alone would find a NaN only in the first place."""
    return max(gaps, key=lambda gap: (math.isnan(gap), gap))


def check_parity(gap: float, *, limit: float, version: int, precision: str) -> None:
    """Checks the gap against the limit.

    Raises:
        ParityError: the gap is above the limit, or NaN.
    """
    if math.isnan(gap):
        raise ParityError(
            f"after the sync of policy version {version} log-probs of the engine or the learner are NaN: some of its "
            "weights are not finite, or a forward pass overflows; continue from an earlier checkpoint or model"
        )
    if not gap <= limit:
        raise ParityError(
            f"after the sync of policy version {version} an engine's log-probs differ from the learner's by {gap:.3g} "
            f"nats, more than rollout.parity_limit={limit:g} ({precision}): the engine does not hold the learner's "
            "weights, so the run was stopped before it could train on wrong log-probs; raise the limit only if the "
            "model's kernels are known to differ this much"
        )
