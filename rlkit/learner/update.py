"""The backward pass of one micro-batch, and the metrics of a step's updates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rlkit.algorithm.batch import MicroBatch
from rlkit.algorithm.loss import value_loss
from rlkit.algorithm.objective import Objective, PolicyTokens, TokenLosses, policy_objective
from rlkit.algorithm.router import balance_loss, expert_counts, load_metrics
from rlkit.algorithm.step_arrays import TrainBatch
from rlkit.errors import RecipeError
from rlkit.learner.policy import Critic, Policy
from rlkit.learner.ranks import Ranks
from rlkit.learner.shard import whole


@dataclass(frozen=True)
class Balance:
    """Values of a whole update that the load-balancing loss of each micro-batch needs."""

    coef: float
    """Weight of the loss."""
    shares_LE: Tensor
    """[L, E] fraction of the update's choices that each expert got."""
    num_tokens: int
    """Tokens of the update, including prompts."""

    def loss(self, router_logits: Sequence[Tensor]) -> Tensor:
        """The weighted loss of this micro-batch's tokens, summed over layers."""
        layers = zip(router_logits, self.shares_LE, strict=True)
        losses = [balance_loss(logits_TE, shares_E, num_tokens=self.num_tokens) for logits_TE, shares_E in layers]
        return self.coef * torch.stack(losses).sum()


def update_balance(
    policy: Policy, rows: Sequence[MicroBatch], ranks: Ranks, *, coef: float, num_tokens: int
) -> Balance | None:
    """Counts the experts' use over an update, in a pass without gradient; None for a dense model or weight 0."""
    if policy.routing is None or coef == 0:
        return None
    counts_LE = sum(row_counts(policy, row, policy(row, only_routers=True).router_logits) for row in rows)
    assert isinstance(counts_LE, Tensor)
    counts_LE = ranks.sum(counts_LE)
    return Balance(coef, counts_LE / counts_LE.sum(-1, keepdim=True), num_tokens)


def row_counts(policy: Policy, row: MicroBatch, router_logits: Sequence[Tensor]) -> Tensor:
    """[L, E] how often a row's tokens chose each expert, on the CPU; 0 for a padding row."""
    assert policy.routing is not None
    if not router_logits:
        raise RecipeError(
            f"{type(policy.model).__name__} has experts but does not return its router logits, so their load can "
            "neither be balanced nor reported: rlkit cannot train it"
        )
    counts_LE = torch.stack([expert_counts(logits_TE, policy.routing.top_k) for logits_TE in router_logits])
    return counts_LE.cpu() * bool(row.weights_C.any())


def policy_backward(
    policy: Policy, row: MicroBatch, batch: TrainBatch, objective: Objective, tally: Tally, balance: Balance | None
) -> None:
    """Adds the gradient of the policy's loss on one micro-batch."""
    outputs = policy(row)
    old_C, reference_C = batch.old_logprobs_C, batch.reference_logprobs_C
    tokens = PolicyTokens(
        logprobs_C=outputs.logprobs_C,
        entropy_C=outputs.entropy_C,
        advantages_C=row.of(batch.advantages_C),
        old_logprobs_C=outputs.logprobs_C.detach() if old_C is None else row.of(old_C),
        sampler_logprobs_C=row.of(batch.sampler_logprobs_C),
        reference_logprobs_C=None if reference_C is None else row.of(reference_C),
        sequence_C=row.sequence_C,
    )
    losses = policy_objective(tokens, objective)
    loss = (losses.loss_C * row.weights_C).sum()
    router_loss = loss.new_zeros(())
    if balance is not None:
        router_loss = balance.loss(outputs.router_logits) * bool(row.weights_C.any())
    torch.autograd.backward(loss + router_loss)
    if policy.routing is not None:
        tally.router_row(row_counts(policy, row, outputs.router_logits), router_loss)
    tally.policy_row(row, loss, losses)


def critic_backward(critic: Critic, row: MicroBatch, batch: TrainBatch, clip: float | None, tally: Tally) -> None:
    """Adds the gradient of the critic's loss on one micro-batch, with the policy's token weights."""
    assert batch.values_C is not None
    assert batch.returns_C is not None
    loss_C = value_loss(critic(row), row.of(batch.values_C), row.of(batch.returns_C), clip=clip)
    loss = (loss_C * row.weights_C).sum()
    torch.autograd.backward(loss)
    tally.critic_row(loss)


MEANS = ("entropy", "kl", "clip_fraction", "ratio_mean", "correction_mean")
"""Metrics that are means over the tokens of a step's updates."""
MAXIMA = ("learner/ratio_max", "parity/train_max_abs")


class Tally:
    """Accumulates a step's metrics over rows, updates and ranks."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._sums = torch.zeros(len(MEANS) + 3, dtype=torch.float64)
        self._maxima = torch.zeros(len(MAXIMA), dtype=torch.float64)
        self._norms: list[float] = []
        self._critic_norms: list[float] = []
        self._samples = self._tokens = 0
        self._explained: float | None = None
        self._expert_counts: Tensor | None = None
        self._router_loss = torch.zeros((), dtype=torch.float64)

    def policy_row(self, row: MicroBatch, loss: Tensor, losses: TokenLosses) -> None:
        """Adds one row's loss and the metrics of its tokens."""
        counted_C = row.weights_C > 0  # a padding row has no counted tokens
        means = (losses.entropy_C, losses.kl_C, losses.clipped_C, losses.ratio_C, losses.correction_C)
        sums = [x.detach()[counted_C].double().sum() for x in means]
        figures = [*sums, counted_C.double().sum(), loss.detach().double(), torch.zeros((), device=loss.device)]
        self._sums += torch.stack([f.double() for f in figures]).cpu()
        if bool(counted_C.any()):
            peaks = torch.stack([x.detach()[counted_C].double().max() for x in (losses.ratio_C, losses.gap_C)])
            self._maxima = torch.maximum(self._maxima, peaks.cpu())

    def router_row(self, counts_LE: Tensor, loss: Tensor) -> None:
        """Adds one row's expert counts and its part of the load-balancing loss."""
        self._expert_counts = counts_LE if self._expert_counts is None else self._expert_counts + counts_LE
        self._router_loss += loss.detach().double().cpu()

    def critic_row(self, loss: Tensor) -> None:
        """Adds one row's loss of the critic."""
        self._sums[-1] += float(loss.detach())

    def used(self, num_samples: int, num_tokens: int) -> None:
        """Adds the sequences of one update, of all ranks, and their tokens, including prompts."""
        self._samples += num_samples
        self._tokens += num_tokens

    def explained(self, values_C: Tensor, returns_C: Tensor) -> None:
        """Records the explained variance of the returns: 1 if the critic predicts them, 0 if it does no better than
        their mean."""
        spread = float(returns_C.var(correction=0)) if returns_C.numel() else 0.0
        error = float((returns_C - values_C).var(correction=0)) if returns_C.numel() else 0.0
        self._explained = 1.0 - error / spread if spread > 1e-12 else math.nan

    def stepped(self, optimizer: torch.optim.Optimizer, module: nn.Module, max_norm: float) -> None:
        """Clips the policy's gradient, runs the optimizer's step and clears the gradient.

        A gradient that is not finite is discarded, because a step along it would destroy all weights.
        """
        self._norms.append(_step(optimizer, module, max_norm))

    def critic_stepped(self, optimizer: torch.optim.Optimizer, module: nn.Module, max_norm: float) -> None:
        """The same for the critic."""
        self._critic_norms.append(_step(optimizer, module, max_norm))

    def metrics(self) -> dict[str, float]:
        """The step's metrics, by their names in metrics.jsonl."""
        sums, maxima = self._ranks.sum(self._sums).tolist(), self._ranks.max(self._maxima).tolist()
        *totals, tokens, loss, critic_loss = sums
        skipped = sum(not math.isfinite(norm) for norm in self._norms)
        # Without tokens or updates there is no mean; NaN, because 0 would look like a collapse.
        updates, tokens = len(self._norms) or math.nan, tokens or math.nan
        metrics = {f"learner/{name}": total / tokens for name, total in zip(MEANS, totals, strict=True)}
        metrics |= {name: math.nan if math.isnan(tokens) else peak for name, peak in zip(MAXIMA, maxima, strict=True)}
        metrics |= {
            "learner/loss": loss / updates,
            "learner/grad_norm": sum(self._norms) / updates,
            "learner/updates": float(len(self._norms) - skipped),
            "learner/updates_skipped": float(skipped),
            "learner/samples_used": float(self._samples),
            "learner/tokens_used": float(self._tokens),
        }
        if self._critic_norms:
            metrics["critic/loss"] = critic_loss / len(self._critic_norms)
            metrics["critic/grad_norm"] = sum(self._critic_norms) / len(self._critic_norms)
            metrics["critic/updates_skipped"] = float(sum(not math.isfinite(norm) for norm in self._critic_norms))
        if self._expert_counts is not None:
            load = load_metrics(self._ranks.sum(self._expert_counts))
            metrics |= {f"learner/router_{name}": value for name, value in load.items()}
            metrics["learner/router_loss"] = float(self._ranks.sum(self._router_loss)) / updates
        if self._explained is not None:
            metrics["critic/explained_variance"] = self._explained
        return metrics


def _step(optimizer: torch.optim.Optimizer, module: nn.Module, max_norm: float) -> float:
    norm = float(whole(nn.utils.clip_grad_norm_(module.parameters(), max_norm)))
    if math.isfinite(norm):
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm
