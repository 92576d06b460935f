"""The update: torch only, one process; Ray is round it in group.py."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rlkit.algorithm.batch import MicroBatch, build_train_batch, flatten, group_sample_advantages, pack, split_updates
from rlkit.algorithm.logprobs import token_logprobs
from rlkit.algorithm.loss import clipped_policy_loss, importance_weights, k3_kl
from rlkit.learner.model import load_model, load_tokenizer, save_model
from rlkit.learner.optimizer import build_optimizer
from rlkit.recipe.schema import GrpoStage
from rlkit.recipe.schema import Learner as LearnerKeys
from rlkit.records import Sample, ScoredGroup, TrainBatch


@dataclass(frozen=True)
class LearnerSpec:
    """Everything a learner is made from."""

    model_path: str
    """Folder or Hub name of the stage's start weights."""
    stage: GrpoStage
    """The algorithm's keys."""
    keys: LearnerKeys
    """Precision, packing, threads."""
    temperature: float
    """Sampling temperature: log-probs are compared at it."""
    correct_truncation: bool
    """Weigh tokens by learner / sampler probability, from log-probs recomputed before the update."""
    threads: int
    """CPU threads."""
    deterministic: bool
    """Refuse torch operations whose result depends on timing."""


@dataclass(frozen=True)
class UpdateReport:
    """What a step's updates did."""

    metrics: dict[str, float]
    """By name, as in metrics.jsonl."""
    advantages: tuple[tuple[float | None, ...], ...]
    """By group and sample; None: the sample was not in the update."""


class Learner:
    """Owns the weights, the optimizer and, with a KL term, the frozen reference."""

    def __init__(self, spec: LearnerSpec) -> None:
        torch.set_num_threads(spec.threads)
        torch.use_deterministic_algorithms(spec.deterministic)
        self.spec = spec
        self.device = "cuda" if spec.keys.gpus else "cpu"
        self.tokenizer = load_tokenizer(spec.model_path)
        self.model: Any = load_model(spec.model_path, device=self.device)
        self.model.train()
        if spec.keys.activation_checkpointing:
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
        self.reference: Any = None
        if spec.stage.kl_coef > 0:
            self.reference = load_model(spec.model_path, device=self.device).requires_grad_(False)
        self.optimizer, self.schedule = build_optimizer(
            self.model, spec.stage, num_updates=spec.stage.steps * spec.stage.updates_per_step
        )

    # -- what the loop calls

    def train_step(self, groups: Sequence[ScoredGroup]) -> UpdateReport:
        """One step's updates. Groups must come in the step's order, for exactness."""
        began = time.monotonic()
        reports: list[dict[str, float]] = []
        totals = {"groups": 0, "groups_without_spread": 0, "samples_unscored": 0, "samples_used": 0, "tokens_used": 0}
        for part in split_updates(groups, self.spec.stage.updates_per_step):
            batch, counts = build_train_batch(part, divide_by_std=self.spec.stage.normalize_by_std)
            for key in totals:
                totals[key] += getattr(counts, key)
            learning_rate = float(self.schedule.get_last_lr()[0])
            if counts.samples_used:
                reports.append(self._update(batch))
            # The schedule counts updates of the plan: a part without spread passes time too.
            self.schedule.step()
        seconds = time.monotonic() - began
        metrics = {f"learner/{key}": float(value) for key, value in totals.items()}
        metrics["learner/updates"] = float(len(reports))
        metrics["learner/tokens_per_second"] = totals["tokens_used"] / seconds
        metrics["learner/learning_rate"] = learning_rate
        for key in LOSS_METRICS:
            values = [r[key] for r in reports]
            extreme = key.endswith(("_max", "_max_abs"))
            metrics[key] = (max(values) if extreme else sum(values) / len(values)) if values else 0.0
        advantages = [group_sample_advantages(g, divide_by_std=self.spec.stage.normalize_by_std) for g in groups]
        return UpdateReport(metrics, tuple(advantages))

    def logprobs_of(self, samples: Sequence[Sample]) -> list[list[float]]:
        """Log-probs of each sample's tokens under the weights as they are, in the samples' order (parity gate)."""
        result = []
        for sample in samples:
            batch = flatten([sample], [0.0])
            (row,) = pack(batch, tokens_per_microbatch=1, loss_mean="token")
            with torch.no_grad():
                logprobs_C, _ = self._forward(self.model, row)
            result.append(logprobs_C.tolist())
        return result

    def weights(self) -> dict[str, Tensor]:
        """Copies of the weights by their Hugging Face names, on the CPU, in the engine's dtype; tied ones once."""
        dtype = torch.bfloat16 if self.spec.keys.precision == "bfloat16" else torch.float32
        return {name: p.detach().to("cpu", dtype, copy=True) for name, p in self.model.named_parameters()}

    def save_model(self, out: Path) -> None:
        """Writes the model in Hugging Face format."""
        save_model(self.model, self.tokenizer, out)

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizer and schedule: what a resume needs of the learner."""
        return {
            "model": {name: p.detach().cpu() for name, p in self.model.named_parameters()},
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up a state that `state_dict` gave."""
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                p.copy_(state["model"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])

    # -- the update

    def _update(self, batch: TrainBatch) -> dict[str, float]:
        """Forward and backward over the micro-batches, then one optimizer step."""
        rows = pack(
            batch, tokens_per_microbatch=self.spec.keys.tokens_per_microbatch, loss_mean=self.spec.stage.loss_mean
        )
        self.optimizer.zero_grad(set_to_none=True)
        sums = torch.zeros(len(_SUMS), dtype=torch.float64)
        ratio_max = gap_max = 0.0
        for row in rows:
            stats, row_ratio_max, row_gap_max = self._backward(row)
            sums += stats
            ratio_max, gap_max = max(ratio_max, row_ratio_max), max(gap_max, row_gap_max)
        grad_norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.spec.stage.max_grad_norm)
        self.optimizer.step()
        report = dict(zip(_SUMS, sums.tolist(), strict=True))
        tokens = report.pop("tokens")
        report = {key: value / (1.0 if key == "learner/loss" else tokens) for key, value in report.items()}
        return report | {
            "learner/grad_norm": float(grad_norm),
            "learner/ratio_max": ratio_max,
            "parity/train_max_abs": gap_max,
        }

    def _backward(self, row: MicroBatch) -> tuple[Tensor, float, float]:
        """Adds one micro-batch's gradient; returns sums over its tokens, in _SUMS' order, and two maxima."""
        stage = self.spec.stage
        sampler_C = row.sampler_logprobs_C.to(self.device)
        advantages_C, weights_C = row.advantages_C.to(self.device), row.weights_C.to(self.device)
        logprobs_C, entropy_C = self._forward(self.model, row)
        gap_C = (logprobs_C.detach() - sampler_C).abs()
        old_C = sampler_C
        if self.spec.correct_truncation:
            # The sampler's distribution is another one: the ratio to it goes into the weight, truncated, not the clip.
            old_C = logprobs_C.detach()
            weights_C = weights_C * importance_weights(old_C, sampler_C)
        policy = clipped_policy_loss(
            logprobs_C, old_C, advantages_C, clip_low=stage.clip_low, clip_high=stage.clip_high
        )
        loss_C, kl_C = policy.loss_C, torch.zeros_like(logprobs_C)
        if self.reference is not None:
            with torch.no_grad():
                reference_C, _ = self._forward(self.reference, row)
            kl_C = k3_kl(logprobs_C, reference_C)
            loss_C = loss_C + stage.kl_coef * kl_C
        else:
            # Without a reference the KL to the sampling policy is reported: how far this step's updates went.
            kl_C = k3_kl(logprobs_C.detach(), sampler_C)
        loss = (loss_C * weights_C).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        sums = (
            loss.detach(), entropy_C.sum(), kl_C.detach().sum(), policy.clipped_C.float().sum(), policy.ratio_C.sum(),
            torch.tensor(float(len(logprobs_C))),
        )  # fmt: skip
        return torch.stack([s.double().cpu() for s in sums]), float(policy.ratio_C.max()), float(gap_C.max())

    def _forward(self, model: Any, row: MicroBatch) -> tuple[Tensor, Tensor]:
        """Log-probs and entropy of the row's completion tokens. [C], [C]."""
        with self._autocast():
            # use_cache=False: with a cache transformers ignores the restarting positions and packed sequences
            # would see each other.
            hidden_TH = model.get_decoder()(
                input_ids=row.token_ids_T[None].to(self.device),
                position_ids=row.position_ids_T[None].to(self.device),
                use_cache=False,
            ).last_hidden_state[0]
            return token_logprobs(
                model.get_output_embeddings(),
                hidden_TH[row.predict_C.to(self.device)],
                row.targets_C.to(self.device),
                temperature=self.spec.temperature,
            )

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.spec.keys.precision == "bfloat16":
            return torch.autocast(self.device, torch.bfloat16)
        return nullcontext()


_SUMS = ("learner/loss", "learner/entropy", "learner/kl", "learner/clip_fraction", "learner/ratio_mean", "tokens")
LOSS_METRICS = (*_SUMS[:-1], "learner/grad_norm", "learner/ratio_max", "parity/train_max_abs")
