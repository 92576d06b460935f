"""TRL's GRPOTrainer driven on given samples: its own `train()`, with generation replaced."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import pad

from rlkit.records import ScoredGroup
from tests.bench.products import now

AfterStep = Callable[[float, float], None]


class TrlUpdate:
    """Makes trainers that update a model on the same groups again and again."""

    def __init__(self, folder: Path, groups: list[ScoredGroup], learning_rate: float) -> None:
        self._folder = folder
        self._learning_rate = learning_rate
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._batch = padded(groups, self._tokenizer.pad_token_id)
        self._num_samples = len(self._batch["advantages"])
        self._group_size = len(groups[0].samples)

    def fastest_batch(self, sizes: list[int], keys: dict[str, Any]) -> int:
        """The micro-batch whose forward and backward pass costs least a sequence, of those that fit."""
        seconds = {}
        for size in sizes:
            try:
                seconds[size] = self._seconds_of_a_pass(size, keys) / size
            except torch.OutOfMemoryError:
                print(f"TRL: micro-batch {size} does not fit the GPU", flush=True)
            gc.collect()  # a trainer holds on to itself, and its model would count as the next one's memory
        return min(seconds, key=seconds.__getitem__)

    def _seconds_of_a_pass(self, size: int, keys: dict[str, Any]) -> float:
        trainer = self._trainer(size, keys, steps=1)
        device = trainer.accelerator.device
        part = {k: (v[:size] if v.ndim else v).to(device) for k, v in self._batch.items()}
        trainer.model.train()
        trainer.current_gradient_accumulation_steps = 1
        taken = []
        for _ in range(2):  # the first one warms up
            began = now()
            trainer.accelerator.backward(trainer.compute_loss(trainer.model, part))
            taken.append(now() - began)
        return min(taken)

    def train(self, per_device: int, keys: dict[str, Any] | None, *, steps: int, after_step: AfterStep) -> None:
        """Runs updates; after each, `after_step` gets its seconds and its gradient norm."""
        trainer = self._trainer(per_device, keys, steps=steps)
        trainer.add_callback(Watch(after_step))
        trainer.remove_callback(PrinterCallback)
        trainer.train()

    def _trainer(self, per_device: int, keys: dict[str, Any] | None, steps: int) -> GRPOTrainer:
        # Without keys everything that makes it fast or slow stays TRL's own: bfloat16 autocast, checkpointing.
        same = {} if keys is None else {"gradient_checkpointing": False, **keys}
        config = GRPOConfig(
            output_dir=tempfile.mkdtemp(),
            use_cpu=not torch.cuda.is_available(),
            per_device_train_batch_size=per_device,
            gradient_accumulation_steps=self._num_samples // per_device,
            num_generations=self._group_size,
            max_steps=steps,
            learning_rate=self._learning_rate,
            lr_scheduler_type="constant",
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            **same,
        )
        model = AutoModelForCausalLM.from_pretrained(self._folder, dtype=torch.float32)
        prompts = Dataset.from_dict({"prompt": ["What is 1 + 1?"] * self._num_samples})
        batch = self._batch

        class OnGivenSamples(GRPOTrainer):
            """Hands out the given samples instead of generating."""

            def _generate_and_score_completions(self, inputs: Any) -> dict[str, Tensor]:
                return {name: value.to(self.accelerator.device) for name, value in batch.items()}

        return OnGivenSamples(
            model=model, reward_funcs=[nothing], args=config, train_dataset=prompts, processing_class=self._tokenizer
        )


class Watch(TrainerCallback):
    """Times each update, from its first micro-batch to the optimizer's step."""

    def __init__(self, after_step: AfterStep) -> None:
        self._after_step = after_step
        self._began = self._seconds = 0.0

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self._began = now()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self._seconds = now() - self._began

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if "grad_norm" in logs:
            self._after_step(self._seconds, float(logs["grad_norm"]))


def nothing(completions: list[str], **kwargs: Any) -> list[float]:
    """A reward function, which the trainer wants and never calls here."""
    return [0.0] * len(completions)


def padded(groups: list[ScoredGroup], pad_id: int) -> dict[str, Tensor]:
    """The groups as TRL's generation gives them: prompts padded on the left, completions on the right."""
    samples = [s for group in groups for s in group.samples]
    prompts = [torch.tensor(s.prompt_ids.tolist()) for s in samples]
    completions = [torch.tensor(s.token_ids.tolist()) for s in samples]
    advantages = []
    for group in groups:
        rewards = torch.tensor(group.rewards, dtype=torch.float32)
        advantages.append((rewards - rewards.mean()) / (rewards.std(correction=0) + 1e-4))
    return {
        "prompt_ids": pad(prompts, padding_value=pad_id, padding_side="left"),
        "prompt_mask": pad([torch.ones_like(x) for x in prompts], padding_value=0, padding_side="left"),
        "completion_ids": pad(completions, padding_value=pad_id, padding_side="right"),
        "completion_mask": pad([torch.ones_like(x) for x in completions], padding_value=0, padding_side="right"),
        "advantages": torch.cat(advantages),
        "num_items_in_batch": torch.tensor(sum(len(x) for x in completions)),
    }
