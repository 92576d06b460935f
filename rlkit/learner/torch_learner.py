"""The learner in one rank's process. It uses torch but not Ray (see learner_group.py)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from rlkit.algorithm.batch import GradedSamples, MicroBatch, gather, group_sizes, pack, split_updates
from rlkit.algorithm.loss import token_weights
from rlkit.algorithm.objective import Objective
from rlkit.algorithm.shape import Measured, build_batch
from rlkit.algorithm.step_arrays import Sequences, StepSamples, TrainBatch
from rlkit.learner import state as state_table
from rlkit.learner.lora import merged_weights
from rlkit.learner.networks import build_critic, build_policy, build_reference, passes
from rlkit.learner.optimizer import Schedule, build_optimizer
from rlkit.learner.policy import Critic
from rlkit.learner.policy_loss import load_policy_loss
from rlkit.learner.ranks import Ranks
from rlkit.learner.spec import LearnerSpec, UpdateReport
from rlkit.learner.state import Saving, saver_thread
from rlkit.learner.update import Balance, Tally, critic_backward, policy_backward, update_balance
from rlkit.models.save import kept_buffers, save_model, stored_form
from rlkit.models.tokenizer import load_tokenizer
from rlkit.recipe.schema import GrpoKeys, OptimizerKeys, PpoKeys


class Learner:
    """Holds the policy, its optimizer and, if the stage needs them, the reference and the critic."""

    def __init__(self, spec: LearnerSpec, ranks: Ranks | None = None) -> None:
        torch.set_num_threads(spec.threads)
        torch.use_deterministic_algorithms(spec.deterministic)
        self.spec = spec
        self.stage = spec.stage
        self.objective = Objective.of(spec.stage, load_policy_loss(spec.stage.objective, spec.recipe_dir, "objective"))
        self.ranks = ranks or Ranks()
        self.steps_done = 0
        self._saver = saver_thread()
        self._saving: Saving | None = None
        self.tokenizer = load_tokenizer(spec.model_path)
        self.policy = build_policy(spec, self.ranks)
        self.reference = build_reference(spec, self.ranks, self.policy) if spec.stage.needs_reference else None
        self.optimizer, self.schedule = self._optimizer(self.policy, spec.stage, spec.stage.policy_updates)
        self.critic: Critic | None = None
        if isinstance(spec.stage, PpoKeys):
            keys = spec.stage.critic
            self.critic = build_critic(spec, self.ranks, keys.path or spec.model_path)
            self.critic_optimizer, self.critic_schedule = self._optimizer(self.critic, keys, spec.stage.num_updates)

    def _optimizer(
        self, module: nn.Module, keys: OptimizerKeys, own_updates: int
    ) -> tuple[torch.optim.Optimizer, Schedule]:
        kind, skipped = self.spec.keys.optimizer, self.stage.num_updates - own_updates
        return build_optimizer(module, keys, num_updates=own_updates, skipped=skipped, kind=kind)

    # -- called by the loop

    def train_step(self, samples: StepSamples) -> UpdateReport:
        """Runs one step's updates. The order of the samples must be fixed for reproducible results."""
        began = time.monotonic()
        self._await_copy()
        dynamic = isinstance(self.stage, GrpoKeys) and self.stage.dynamic_sampling
        graded = gather(samples, drop_equal=dynamic, mask_truncated=self.stage.mask_truncated)
        batch = build_batch(graded, self._measure(graded), self.stage)
        tally = Tally(self.ranks)
        if batch.values_C is not None and batch.returns_C is not None:
            tally.explained(batch.values_C, batch.returns_C)
        learning_rate = self.schedule.learning_rate
        for _ in range(self.stage.passes_per_step):
            for part in split_updates(batch, self.stage.updates_per_step):
                self._update(batch, part, tally)
        self.steps_done += 1
        self._refresh_reference()
        metrics = {
            "learner/groups": float(len(group_sizes(samples))),
            "learner/groups_without_spread": float(graded.groups_without_spread),
            "learner/samples_unscored": float(graded.samples_unscored),
            "learner/learning_rate": learning_rate,
            **tally.metrics(),
        }
        metrics["learner/tokens_per_second"] = metrics["learner/tokens_used"] / (time.monotonic() - began)
        return UpdateReport(metrics, sample_advantages(group_sizes(samples), graded.places_S, batch))

    def logprobs_of(self, sequences: Sequences) -> list[list[float]]:
        """Log-probs of each sequence's completion tokens under the current weights (for the parity gate)."""
        logprobs_C = self._each_token(sequences, self.policy, lambda row: self.policy(row).logprobs_C)
        return [part.tolist() for part in torch.split(logprobs_C, list(sequences.completion_lengths_S))]

    def weights(self) -> dict[str, Tensor]:
        """Weights and buffers by their Hugging Face names, on the CPU, in the engine's dtype; tied weights once.

        Rank 0 returns them; the others only help to gather them. Tensors that needed no conversion are not copied, so
        the next update changes them.
        """
        dtype = torch.bfloat16 if self.spec.keys.dtype == "bfloat16" else torch.float32
        weights = {}
        for name, weight in merged_weights(self.policy.model):
            if self.ranks.rank == 0:
                weights[name] = weight.to("cpu", dtype)
        if self.ranks.rank == 0:
            weights |= kept_buffers(self.policy.model)
        return stored_form(self.policy.model, weights)

    def save_model(self, out: Path) -> None:
        """Writes the model in Hugging Face format; rank 0 writes, the others help to gather the weights."""
        weights = {n: w.cpu() for n, w in merged_weights(self.policy.model) if self.ranks.rank == 0}
        if self.ranks.rank == 0:
            save_model(self.policy.model, self.tokenizer, out, weights | kept_buffers(self.policy.model))

    def begin_save(self, folder: Path) -> Saving:
        """Begins to write the state for a resume: weights, optimizers, schedules, reference, critic, random generators.

        Every rank must call this with the same folder. The next update waits until the state is copied.
        """
        state = self._networks_state() | state_table.random_state(self.ranks)
        for part, module, optimizer in self._trained_networks():
            state |= state_table.optimizer_state(part, module, optimizer)
        self._saving = Saving(state | self._counts(), folder, self.ranks, self._saver)
        return self._saving

    def load_state(self, folder: Path) -> None:
        """Loads a state, which any number of ranks may have written."""
        self._await_copy()
        state, counts = self._networks_state(), self._counts()
        for part, module, optimizer in self._trained_networks():
            state |= state_table.allocate_optimizer_state(part, module, optimizer, folder)
        state_table.load(state | counts, folder, alone=not self.spec.keys.sharded)
        for _, _, optimizer in self._trained_networks():
            state_table.restore_counts(optimizer)
        state_table.load_random(self.ranks, folder)
        self.steps_done = int(counts["steps_done"])
        self.schedule.seek(int(counts["updates_planned"]))
        if self.critic is not None:
            self.critic_schedule.seek(self.schedule.done)

    def _await_copy(self) -> None:
        if self._saving is not None:
            self._saving.await_copy()

    def _networks_state(self) -> state_table.State:
        state = state_table.trained_state("policy", self.policy)
        if self.reference is not None and self.stage.reference_every is not None:
            state |= state_table.weights_state("reference", self.reference.named_parameters())
        if self.critic is not None:
            state |= state_table.trained_state("critic", self.critic)
        return state

    def _trained_networks(self) -> Iterator[tuple[str, nn.Module, torch.optim.Optimizer]]:
        yield "policy.optimizer", self.policy, self.optimizer
        if self.critic is not None:
            yield "critic.optimizer", self.critic, self.critic_optimizer

    def _counts(self) -> state_table.State:
        # The critic's schedule counts the same updates.
        counts = {"steps_done": self.steps_done, "updates_planned": self.schedule.done}
        return {name: torch.tensor(value) for name, value in counts.items()}

    # -- before the updates

    def _measure(self, graded: GradedSamples) -> Measured:
        """Computes the log-probs and values that the losses need from before the step's first update."""
        stage = self.stage
        old_C: Tensor | None = graded.sampler_logprobs_C
        if stage.old_logprobs == "learner":
            # With a single update, its own forward pass gives these log-probs, so an extra pass is not needed.
            several = stage.updates_per_step * stage.passes_per_step > 1
            penalised = stage.needs_reference and stage.kl_in == "reward"
            if several or penalised:
                old_C = self._each_token(graded, self.policy, lambda row: self.policy(row).logprobs_C)
            else:
                old_C = None
        reference, critic = self.reference, self.critic
        reference_C = values_C = None
        if reference is not None:
            reference_C = self._each_token(graded, reference.network, lambda row: reference(row).logprobs_C)
        if critic is not None:
            values_C = self._each_token(graded, critic, critic)
        return Measured(old_C, reference_C, values_C)

    def _each_token(self, batch: Sequences, network: nn.Module, read: Callable[[MicroBatch], Tensor]) -> Tensor:
        """[C] float32 on the CPU: runs a network without gradient over every sequence of the batch."""
        values_C = torch.zeros(batch.starts_C[-1])
        if not batch.lengths_S:
            return values_C
        everyone = list(range(len(batch.lengths_S)))
        with torch.no_grad(), passes(network, self.spec.keys):
            for row in self._rows(batch, everyone, torch.ones(len(everyone))):
                found_C = read(row).float().cpu()
                if bool(row.weights_C.any()):  # weight 0: a padding row, which another rank computes
                    values_C[row.places_C.cpu()] = found_C
        return self.ranks.gather_tokens(values_C)

    def _rows(self, batch: Sequences, sequences: list[int], weights_S: Tensor) -> list[MicroBatch]:
        rows = pack(
            batch,
            tokens_per_microbatch=self.spec.keys.microbatch_tokens,
            sequences=sequences,
            weights_S=weights_S,
            rank=self.ranks.rank,
            num_ranks=self.ranks.size,
        )
        return [row.to(self.spec.device) for row in rows]

    # -- the update

    def _update(self, batch: TrainBatch, part: list[int], tally: Tally) -> None:
        """Runs one planned update with those sequences of the part that contribute to the gradient."""
        used = part if self.critic is not None else [s for s in part if self._contributes(batch, s)]
        if used:
            lengths_S = torch.tensor(batch.completion_lengths_S)
            weights_S = torch.zeros(len(batch.lengths_S), dtype=torch.float64)
            weights_S[part] = token_weights(
                lengths_S[part], loss_mean=self.stage.loss_mean, max_tokens=self.spec.max_tokens
            )
            num_tokens = sum(batch.lengths_S[s] for s in used)
            self._learn(batch, self._rows(batch, used, weights_S), num_tokens, tally)
            tally.used(len(used), num_tokens)
        # Schedules count planned updates, including those that are skipped.
        self.schedule.step()
        if self.critic is not None:
            self.critic_schedule.step()

    def _learn(self, batch: TrainBatch, rows: list[MicroBatch], num_tokens: int, tally: Tally) -> None:
        """Forward and backward passes over an update's micro-batches, then an optimizer step; policy, then critic."""
        critic_keys = self.stage.critic if isinstance(self.stage, PpoKeys) else None
        if critic_keys is None or self.steps_done >= critic_keys.warmup_only:
            with passes(self.policy, self.spec.keys):
                balance = self._balance(rows, num_tokens)
                for row in rows:
                    policy_backward(self.policy, row, batch, self.objective, tally, balance)
            tally.stepped(self.optimizer, self.policy, self.stage.max_grad_norm)
        if self.critic is not None and critic_keys is not None:
            with passes(self.critic, self.spec.keys):
                for row in rows:
                    critic_backward(self.critic, row, batch, critic_keys.value_clip, tally)
            tally.critic_stepped(self.critic_optimizer, self.critic, critic_keys.max_grad_norm)

    def _balance(self, rows: list[MicroBatch], num_tokens: int) -> Balance | None:
        """The load-balancing loss of an update for a mixture of experts; None for a dense model."""
        coef, routing = self.spec.keys.router_aux_coef, self.policy.routing
        if coef is None:
            coef = routing.aux_coef if routing is not None else 0.0
        with torch.no_grad():
            return update_balance(self.policy, rows, self.ranks, coef=coef, num_tokens=num_tokens)

    def _contributes(self, batch: TrainBatch, sequence: int) -> bool:
        """Whether a sequence can have a gradient."""
        return not self.objective.needs_advantage or bool(torch.any(batch.advantages_C[batch.tokens_of(sequence)] != 0))

    def _refresh_reference(self) -> None:
        every = self.stage.reference_every
        if self.reference is not None and every is not None and self.steps_done % every == 0:
            self.reference.refresh()


def sample_advantages(
    sizes: Sequence[int], places_S: Sequence[tuple[int, int]], batch: TrainBatch
) -> tuple[tuple[float | None, ...], ...]:
    """For each group (of these sizes) and sample, the mean advantage over its tokens; None if not used in a loss."""
    table: list[list[float | None]] = [[None] * size for size in sizes]
    for sequence, (g, i) in enumerate(places_S):
        if not batch.masked_S[sequence]:
            table[g][i] = float(batch.advantages_C[batch.tokens_of(sequence)].mean())
    return tuple(tuple(row) for row in table)
