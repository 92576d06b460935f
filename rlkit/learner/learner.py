"""The learner: torch only, one process a rank; Ray is round it in group.py."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlkit.algorithm.batch import Gathered, MicroBatch, flatten, gather, pack, split_updates
from rlkit.algorithm.divergence import kl_estimate
from rlkit.algorithm.loss import token_weights
from rlkit.algorithm.shape import compared_advantages, critic_advantages
from rlkit.learner.model import load_critic, load_model, load_tokenizer, save_model
from rlkit.learner.optimizer import build_optimizer
from rlkit.learner.policy import Critic, Policy
from rlkit.learner.ranks import Ranks
from rlkit.learner.update import Tally, critic_backward, policy_backward
from rlkit.recipe.schema import GrpoStage, PpoStage, RlStage
from rlkit.recipe.schema import Learner as LearnerKeys
from rlkit.records import Sample, ScoredGroup, TrainBatch


@dataclass(frozen=True)
class LearnerSpec:
    """Everything a learner is made from."""

    model_path: str
    """Folder or Hub name of the stage's start weights."""
    stage: RlStage
    """The algorithm's keys."""
    keys: LearnerKeys
    """Precision, packing, threads."""
    temperature: float
    """Sampling temperature: log-probs are compared at it."""
    max_tokens: int
    """Most tokens of a reply."""
    threads: int
    """CPU threads of each rank."""
    deterministic: bool
    """Refuse torch operations whose result depends on timing."""

    @property
    def device(self) -> str:
        """Where the weights live."""
        return "cuda" if self.keys.gpus else "cpu"


@dataclass(frozen=True)
class UpdateReport:
    """What a step's updates did."""

    metrics: dict[str, float]
    """By name, as in metrics.jsonl."""
    advantages: tuple[tuple[float | None, ...], ...]
    """By group and sample, the mean over its tokens; None: the sample was in no loss."""


class Learner:
    """Owns the weights, the optimizer and, where the stage asks for them, the reference and the critic."""

    def __init__(self, spec: LearnerSpec, ranks: Ranks | None = None) -> None:
        torch.set_num_threads(spec.threads)
        torch.use_deterministic_algorithms(spec.deterministic)
        self.spec = spec
        self.stage = spec.stage
        self.ranks = ranks or Ranks()
        self.steps_done = 0
        self.tokenizer = load_tokenizer(spec.model_path)
        self.policy = self._policy(trained=True)
        self.reference = self._policy(trained=False) if spec.stage.needs_reference else None
        self.optimizer, self.schedule = build_optimizer(self.policy, spec.stage, num_updates=spec.stage.num_updates)
        self.critic: Critic | None = None
        if isinstance(spec.stage, PpoStage):
            keys = spec.stage.critic
            model = load_critic(keys.path or spec.model_path, device=spec.device)
            self.critic = Critic(model, precision=spec.keys.precision, device=spec.device)
            self.critic_optimizer, self.critic_schedule = build_optimizer(
                self.critic, keys, num_updates=spec.stage.num_updates
            )

    def _policy(self, *, trained: bool) -> Policy:
        model = load_model(self.spec.model_path, device=self.spec.device)
        model.train(trained).requires_grad_(trained)
        if trained and self.spec.keys.activation_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        return Policy(
            model, temperature=self.spec.temperature, precision=self.spec.keys.precision, device=self.spec.device
        )

    # -- what the loop calls

    def train_step(self, groups: Sequence[ScoredGroup]) -> UpdateReport:
        """One step's updates. Groups must come in the step's order, for exactness."""
        began = time.monotonic()
        dynamic = isinstance(self.stage, GrpoStage) and self.stage.dynamic_sampling
        gathered = gather(groups, drop_equal=dynamic, mask_truncated=self.stage.mask_truncated)
        tally = Tally(self.ranks)
        batch = self._shape(self._look(gathered.batch), gathered.rewards_S, tally)
        learning_rate = float(self.schedule.get_last_lr()[0])
        for _ in range(self.stage.passes_per_step):
            for part in split_updates(batch, num_groups=len(groups), num_updates=self.stage.updates_per_step):
                self._update(batch, part, tally)
        self.steps_done += 1
        self._refresh_reference()
        metrics = {
            "learner/groups": float(len(groups)),
            "learner/groups_without_spread": float(gathered.groups_without_spread),
            "learner/samples_unscored": float(gathered.samples_unscored),
            "learner/learning_rate": learning_rate,
            **tally.metrics(),
        }
        metrics["learner/tokens_per_second"] = metrics["learner/tokens_used"] / (time.monotonic() - began)
        return UpdateReport(metrics, sample_advantages(groups, gathered, batch))

    def logprobs_of(self, samples: Sequence[Sample]) -> list[list[float]]:
        """Log-probs of each sample's tokens under the weights as they are, in the samples' order (parity gate)."""
        batch = flatten(samples)
        logprobs_C = self._each_token(batch, lambda row: self.policy(row).logprobs_C)
        counts = [len(s.token_ids) for s in samples]
        return [part.tolist() for part in torch.split(logprobs_C, counts)]

    def weights(self) -> dict[str, Tensor]:
        """Copies of the weights by their Hugging Face names, on the CPU, in the engine's dtype; tied ones once."""
        dtype = torch.bfloat16 if self.spec.keys.precision == "bfloat16" else torch.float32
        named = self.policy.model.named_parameters()
        return {name: p.detach().to("cpu", dtype, copy=True) for name, p in named}

    def save_model(self, out: Path) -> None:
        """Writes the model in Hugging Face format."""
        save_model(self.policy.model, self.tokenizer, out)

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizers, schedules, reference and critic: what a resume needs of the learner."""
        return {name: part.state_dict() for name, part in self._parts().items()} | {"steps_done": self.steps_done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up a state that `state_dict` gave."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.steps_done = state["steps_done"]

    def _parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = {"policy": self.policy, "optimizer": self.optimizer, "schedule": self.schedule}
        if self.reference is not None and self.stage.reference_every is not None:
            parts["reference"] = self.reference
        if self.critic is not None:
            parts |= {"critic": self.critic, "critic_optimizer": self.critic_optimizer}
            parts["critic_schedule"] = self.critic_schedule
        return parts

    # -- before the updates

    def _look(self, batch: TrainBatch) -> TrainBatch:
        """Adds what the losses need to know from before the step's first update."""
        stage = self.stage
        old_C: Tensor | None = batch.sampler_logprobs_C
        if stage.old_logprobs == "learner":
            # One update: the log-probs before it are the ones it starts from, and a pass of their own would be wasted.
            several = stage.updates_per_step * stage.passes_per_step > 1
            penalised = stage.needs_reference and stage.kl_in == "reward"
            old_C = self._each_token(batch, lambda r: self.policy(r).logprobs_C) if several or penalised else None
        reference, critic = self.reference, self.critic
        reference_C = self._each_token(batch, lambda r: reference(r).logprobs_C) if reference is not None else None
        values_C = self._each_token(batch, critic) if critic is not None else None
        return replace(batch, old_logprobs_C=old_C, reference_logprobs_C=reference_C, values_C=values_C)

    def _each_token(self, batch: TrainBatch, forward: Any) -> Tensor:
        """[C] float32 on the CPU: a forward pass without gradient over every sequence of the batch."""
        values_C = torch.zeros(len(batch.sampler_logprobs_C))
        if not batch.lengths_S:
            return values_C
        limit = self.spec.keys.tokens_per_microbatch
        with torch.no_grad():
            for row in self._rows(batch, list(range(len(batch.lengths_S))), None, limit):
                values_C[row.places_C.cpu()] = forward(row).float().cpu()
        return self.ranks.gather_tokens(values_C)

    def _rows(self, batch: TrainBatch, sequences: list[int], weights_S: Tensor | None, limit: int) -> list[MicroBatch]:
        rows = pack(
            batch,
            tokens_per_microbatch=limit,
            sequences=sequences,
            weights_S=weights_S,
            rank=self.ranks.rank,
            num_ranks=self.ranks.size,
        )
        return [row.to(self.spec.device) for row in rows]

    def _shape(self, batch: TrainBatch, rewards_S: Tensor, tally: Tally) -> TrainBatch:
        """Adds advantages, and the critic's targets."""
        stage = self.stage
        penalty_C = None
        if batch.reference_logprobs_C is not None and stage.kl_in == "reward":
            assert batch.old_logprobs_C is not None
            penalty_C = stage.kl_coef * kl_estimate(batch.old_logprobs_C, batch.reference_logprobs_C, stage.kl)
        if isinstance(stage, GrpoStage):
            advantages_C = compared_advantages(
                batch, rewards_S, baseline=stage.baseline, normalize=stage.normalize, penalty_C=penalty_C
            )
            return replace(batch, advantages_C=advantages_C)
        assert isinstance(stage, PpoStage)
        assert batch.values_C is not None
        advantages_C, returns_C = critic_advantages(
            batch,
            rewards_S,
            batch.values_C,
            gamma=stage.gamma,
            gae_lambda=stage.gae_lambda,
            normalize=stage.normalize == "batch",
            penalty_C=penalty_C,
        )
        tally.explained(batch.values_C, returns_C)
        return replace(batch, advantages_C=advantages_C, returns_C=returns_C)

    # -- the update

    def _update(self, batch: TrainBatch, part: list[int], tally: Tally) -> None:
        """Forward and backward over a part's micro-batches, then one optimizer step."""
        critic_keys = self.stage.critic if isinstance(self.stage, PpoStage) else None
        only_critic = critic_keys is not None and self.steps_done < critic_keys.warmup_only
        told = part if self.critic is not None else [s for s in part if self._tells(batch, s)]
        if told:
            lengths_S = torch.tensor(batch.lengths_S) - torch.tensor(batch.prompt_lengths_S)
            weights_S = torch.zeros(len(batch.lengths_S), dtype=torch.float64)
            weights_S[part] = token_weights(
                lengths_S[part], loss_mean=self.stage.loss_mean, max_tokens=self.spec.max_tokens
            )
            rows = self._rows(batch, told, weights_S, self.spec.keys.tokens_per_microbatch)
            for row in rows:
                if not only_critic:
                    policy_backward(self.policy, row, batch, self.stage, tally)
                if self.critic is not None and critic_keys is not None:
                    critic_backward(self.critic, row, batch, critic_keys.value_clip, tally)
            if not only_critic:
                tally.stepped(self.optimizer, self.policy, self.stage.max_grad_norm)
            if self.critic is not None and critic_keys is not None:
                tally.critic_stepped(self.critic_optimizer, self.critic, critic_keys.max_grad_norm)
            tally.used(len(told), sum(batch.lengths_S[s] for s in told))
        # Schedules count updates of the plan: a part that tells nothing passes time too.
        self.schedule.step()
        if self.critic is not None:
            self.critic_schedule.step()

    def _tells(self, batch: TrainBatch, sequence: int) -> bool:
        """Whether a sequence can move a weight: with advantages of 0 only a KL or an entropy term does."""
        if self.stage.entropy_coef > 0 or (self.stage.needs_reference and self.stage.kl_in == "loss"):
            return True
        return bool(torch.any(batch.advantages_C[batch.tokens_of(sequence)] != 0))

    def _refresh_reference(self) -> None:
        every = self.stage.reference_every
        if self.reference is not None and every is not None and self.steps_done % every == 0:
            self.reference.load_state_dict(self.policy.state_dict())


def sample_advantages(
    groups: Sequence[ScoredGroup], gathered: Gathered, batch: TrainBatch
) -> tuple[tuple[float | None, ...], ...]:
    """By group and sample, the mean advantage over its tokens; None: in no loss."""
    table: list[list[float | None]] = [[None] * len(group.samples) for group in groups]
    for sequence, (g, i) in enumerate(gathered.places_S):
        if not batch.masked_S[sequence]:
            table[g][i] = float(batch.advantages_C[batch.tokens_of(sequence)].mean())
    return tuple(tuple(row) for row in table)
