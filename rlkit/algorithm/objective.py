"""The policy's objective: what a token adds to the loss, put together from the terms that a stage asks for."""

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
    """What the objective knows of completion tokens, all of them [C]; log-probs and entropies in nats."""

    logprobs_C: Tensor
    """Of the policy, with gradient."""
    entropy_C: Tensor
    """Of the policy's distribution before each token, with gradient."""
    advantages_C: Tensor
    """How much better than expected each token did."""
    old_logprobs_C: Tensor
    """Of the policy that the ratio is against."""
    sampler_logprobs_C: Tensor
    """As the tokens were drawn."""
    reference_logprobs_C: Tensor | None
    """Of the KL's reference; None without one."""
    sequence_C: Tensor
    """Number of each token's sequence, rising from 0."""


@dataclass(frozen=True)
class ClipRange:
    """How far the importance ratio may be from 1."""

    low: float
    """Bound below 1: the ratio counts as at least 1 - low."""
    high: float
    """Bound above 1: the ratio counts as at most 1 + high."""
    dual: float | None
    """Bound of the ratio where the advantage is negative, above 1; None: none."""


PolicyLossFunction = Callable[[PolicyTokens, Tensor, ClipRange], PolicyLoss]
"""(tokens, importance ratio [C] with gradient, clip range) -> loss of each token: what a recipe's `objective` names."""


def _clip(tokens: PolicyTokens, ratio_C: Tensor, clip: ClipRange) -> PolicyLoss:
    bounds = {"clip_low": clip.low, "clip_high": clip.high}
    return clipped_policy_loss(ratio_C, tokens.advantages_C, **bounds, dual_clip=clip.dual)


def _cispo(tokens: PolicyTokens, ratio_C: Tensor, clip: ClipRange) -> PolicyLoss:
    return cispo_loss(tokens.logprobs_C, ratio_C, tokens.advantages_C, clip_low=clip.low, clip_high=clip.high)


POLICY_LOSSES: dict[str, PolicyLossFunction] = {"clip": _clip, "cispo": _cispo}
"""By the name that a recipe gives; others are found as `module:function` or `./file.py:function`."""


@dataclass(frozen=True)
class Correction:
    """How a token's loss is weighed for what the sampler's and the learner's log-probs differ by."""

    kind: str
    """"truncate" or "mask"."""
    level: str
    """"token" or "sequence"."""
    at_most: float
    """Upper bound."""
    at_least: float
    """Lower bound of a mask."""


@dataclass(frozen=True)
class Objective:
    """The settings of a stage's objective."""

    policy_loss: PolicyLossFunction
    """The loss of a token, before the other terms."""
    clip: ClipRange
    """Its bounds."""
    ratio_level: str
    """Importance ratio of each "token", or one for a whole "sequence"."""
    correction: Correction | None
    """None: the sampler's log-probs are taken as the learner's."""
    kl: str
    """Estimator of the KL to the reference: "k1", "k2" or "k3"."""
    kl_coef: float
    """Weight of that KL in the loss; 0: it is only reported."""
    kl_weighted: bool
    """Multiply that KL by the importance ratio."""
    entropy_coef: float
    """Weight of the entropy bonus."""

    @classmethod
    def of(cls, stage: OnlineKeys, policy_loss: PolicyLossFunction) -> Objective:
        """As a stage's keys say."""
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
        """Whether tokens whose advantage is 0 add nothing to the gradient: no KL, no entropy, no loss of one's own."""
        own = self.policy_loss not in POLICY_LOSSES.values()
        return not (own or self.kl_coef > 0 or self.entropy_coef > 0)


@dataclass(frozen=True)
class TokenLosses:
    """The objective of some tokens, and what is reported about it; all [C]."""

    loss_C: Tensor
    """With gradient; to be weighed and added up."""
    entropy_C: Tensor
    """In nats."""
    kl_C: Tensor
    """Estimated KL to the reference; without one to the old policy: how far the step's updates went."""
    clipped_C: Tensor
    """bool: the bound, not the ratio, decides this token's loss."""
    ratio_C: Tensor
    """Importance ratio."""
    gap_C: Tensor
    """Distance of the policy's log-prob from the sampler's, in nats."""
    correction_C: Tensor
    """What the loss was multiplied by."""


def policy_objective(tokens: PolicyTokens, objective: Objective) -> TokenLosses:
    """loss = policy loss x correction + kl_coef x KL (x ratio) - entropy_coef x entropy, token by token.

    Ratio 1.5, advantage 1, clip 0.2, no other term -> -1.2;  with an entropy of 2 and its weight 0.1 -> -1.4.

    Args:
        tokens: Of any number of whole sequences.
        objective: The terms.
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
