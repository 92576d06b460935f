"""The policy's objective: the loss of each token, combined from the terms that a stage uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rlkit.algorithm.divergence import correction_weights, importance_ratio, kl_estimate
from rlkit.algorithm.loss import PolicyLoss, cispo_loss, clipped_policy_loss
from rlkit.recipe.schema import OnlineKeys


@dataclass(frozen=True)
class PolicyTokens:
    """The objective's inputs for completion tokens, all [C]; log-probs and entropies in nats."""

    logprobs_C: Tensor
    """Log-probs under the policy, with gradient."""
    entropy_C: Tensor
    """Entropy of the policy's distribution at each token, with gradient."""
    advantages_C: Tensor
    """How much better than expected each token did."""
    old_logprobs_C: Tensor
    """Log-probs under the old policy, the denominator of the importance ratio."""
    sampler_logprobs_C: Tensor
    """Log-probs when the tokens were drawn."""
    reference_logprobs_C: Tensor | None
    """Log-probs under the KL reference; None if there is none."""
    sequence_C: Tensor
    """Number of each token's sequence, ascending from 0."""


@dataclass(frozen=True)
class ClipRange:
    """Bounds of the importance ratio."""

    low: float
    """The ratio counts as at least 1 - low."""
    high: float
    """The ratio counts as at most 1 + high."""
    dual: float | None
    """Bound of the ratio if the advantage is negative, above 1; None: no such bound."""


PolicyLossFunction = Callable[[PolicyTokens, Tensor, ClipRange], PolicyLoss]
"""(tokens, importance ratio [C] with gradient, clip range) -> loss of each token; a recipe's `objective` names one."""


def _clip(tokens: PolicyTokens, ratio_C: Tensor, clip: ClipRange) -> PolicyLoss:
    bounds = {"clip_low": clip.low, "clip_high": clip.high}
    return clipped_policy_loss(ratio_C, tokens.advantages_C, **bounds, dual_clip=clip.dual)


def _cispo(tokens: PolicyTokens, ratio_C: Tensor, clip: ClipRange) -> PolicyLoss:
    return cispo_loss(tokens.logprobs_C, ratio_C, tokens.advantages_C, clip_low=clip.low, clip_high=clip.high)


POLICY_LOSSES: dict[str, PolicyLossFunction] = {"clip": _clip, "cispo": _cispo}
"""Built-in losses by name; a recipe names others as `module:function` or `./file.py:function`."""


@dataclass(frozen=True)
class Correction:
    """How the loss is corrected for the difference between the sampler's and the learner's log-probs."""

    kind: str
    """"truncate" or "mask"."""
    level: str
    """"token" or "sequence"."""
    at_most: float
    """Upper bound of the weight."""
    at_least: float
    """Lower bound of the weight, for "mask"."""


@dataclass(frozen=True)
class Objective:
    """The settings of a stage's objective."""

    policy_loss: PolicyLossFunction
    """Computes the main loss term of each token."""
    clip: ClipRange
    """Bounds for the policy loss."""
    ratio_level: str
    """"token": each token has its own importance ratio; "sequence": a sequence has one."""
    correction: Correction | None
    """None: no correction."""
    kl: str
    """Estimator of the KL to the reference: "k1", "k2" or "k3"."""
    kl_coef: float
    """Weight of the KL in the loss; 0: the KL is only reported."""
    kl_weighted: bool
    """Whether the KL is multiplied by the importance ratio."""
    entropy_coef: float
    """Weight of the entropy bonus."""

    @classmethod
    def of(cls, stage: OnlineKeys, policy_loss: PolicyLossFunction) -> Objective:
        """The objective that a stage's keys describe."""
        correction = None
        if stage.correction != "none":
            bounds = {"at_most": stage.correction_max, "at_least": stage.correction_min}
            correction = Correction(stage.correction, stage.correction_level, **bounds)
        return Objective(
            policy_loss=policy_loss,
            clip=ClipRange(stage.clip_low, stage.clip_high, stage.dual_clip),
            ratio_level=stage.ratio_level,
            correction=correction,
            kl=stage.kl,
            kl_coef=stage.kl_coef if stage.kl_in == "loss" else 0.0,
            kl_weighted=stage.kl_weighted,
            entropy_coef=stage.entropy_coef,
        )

    @property
    def needs_advantage(self) -> bool:
        """Whether tokens with advantage 0 have no gradient: there is no KL term, no entropy term and no user's loss."""
        own = self.policy_loss not in POLICY_LOSSES.values()
        return not (own or self.kl_coef > 0 or self.entropy_coef > 0)


@dataclass(frozen=True)
class TokenLosses:
    """The loss of each token and the values for metrics; all [C]."""

    loss_C: Tensor
    """Loss with gradient; the caller weights and sums it."""
    entropy_C: Tensor
    """Entropy, in nats."""
    kl_C: Tensor
    """Estimated KL to the reference or, without one, to the old policy."""
    clipped_C: Tensor
    """bool: whether a bound, and not the ratio, determines this token's loss."""
    ratio_C: Tensor
    """Importance ratio."""
    gap_C: Tensor
    """Absolute difference of the policy's and the sampler's log-probs, in nats."""
    correction_C: Tensor
    """Factor from the correction."""


def policy_objective(tokens: PolicyTokens, objective: Objective) -> TokenLosses:
    """The loss of each token: policy loss x correction + kl_coef x KL (x ratio) - entropy_coef x entropy.

    Ratio 1.5, advantage 1, clip 0.2, no other term -> -1.2;  with an entropy of 2 and its weight 0.1 -> -1.4.

    Args:
        tokens: The tokens of any number of complete sequences.
        objective: The terms and their settings.
    """
    logprobs_C, old_C = tokens.logprobs_C, tokens.old_logprobs_C
    ratio_C = importance_ratio(logprobs_C, old_C, tokens.sequence_C, level=objective.ratio_level)
    policy_loss = objective.policy_loss(tokens, ratio_C, objective.clip)
    correction_C = torch.ones_like(old_C)
    if (correction := objective.correction) is not None:
        correction_C = correction_weights(
            old_C,
            tokens.sampler_logprobs_C,
            tokens.sequence_C,
            kind=correction.kind,
            level=correction.level,
            at_most=correction.at_most,
            at_least=correction.at_least,
        )
    loss_C = policy_loss.loss_C * correction_C
    if tokens.reference_logprobs_C is None:
        kl_C = kl_estimate(logprobs_C.detach(), old_C, "k3")
    else:
        kl_C = kl_estimate(logprobs_C, tokens.reference_logprobs_C, objective.kl)
        if objective.kl_coef > 0:
            loss_C = loss_C + objective.kl_coef * (kl_C * ratio_C if objective.kl_weighted else kl_C)
    loss_C = loss_C - objective.entropy_coef * tokens.entropy_C
    return TokenLosses(
        loss_C=loss_C,
        entropy_C=tokens.entropy_C,
        kl_C=kl_C,
        clipped_C=policy_loss.clipped_C,
        ratio_C=ratio_C,
        gap_C=(logprobs_C - tokens.sampler_logprobs_C).abs(),
        correction_C=correction_C,
    )
