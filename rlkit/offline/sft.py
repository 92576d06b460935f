"""Supervised fine-tuning, the cold start: TRL's SFTTrainer on demonstrations that are already tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlkit.errors import RlkitError
from rlkit.recipe.schema import SftStage


@dataclass(frozen=True)
class SftSpec:
    """Everything an SFT stage is made from."""

    model_path: str
    """Folder or Hub name of the stage's start weights."""
    stage: SftStage
    """The recipe's keys."""
    demonstrations: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]
    """(token ids, mask) of each, in the order of learning; the mask is 1 where the loss counts: on the reply."""
    out: Path
    """Folder of the trained model."""
    work_dir: Path
    """Folder for the trainer's own files."""
    seed: int
    """Seed of the order of the demonstrations."""
    precision: str
    """float32 or bfloat16 (autocast)."""
    threads: int
    """CPU threads."""
    use_gpu: bool
    """Whether a GPU is given to it."""
    activation_checkpointing: bool
    """Recompute activations in the backward pass."""
    deterministic: bool
    """Refuse torch operations whose result depends on timing."""


def run_sft(spec: SftSpec, on_step: Callable[[dict[str, float]], None]) -> dict[str, float]:
    """Trains and writes the model to `spec.out`; calls `on_step` after each optimizer step with its figures.

    Returns:
        The last step's loss and the number of steps.
    """
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    torch.set_num_threads(spec.threads)
    torch.use_deterministic_algorithms(spec.deterministic)
    tokenizer = AutoTokenizer.from_pretrained(spec.model_path)
    model = AutoModelForCausalLM.from_pretrained(spec.model_path, dtype=torch.float32)
    rows = {
        "input_ids": [list(ids) for ids, _ in spec.demonstrations],
        "labels": [[t if m else -100 for t, m in zip(*row, strict=True)] for row in spec.demonstrations],
    }
    last: dict[str, float] = {}

    class Report(TrainerCallback):  # type: ignore[misc]
        """Hands each logged step to the driver."""

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                last.update(
                    {
                        "step": float(state.global_step),
                        "steps": float(state.max_steps),
                        "learner/loss": float(logs["loss"]),
                        "learner/grad_norm": float(logs.get("grad_norm", 0.0)),
                        "learner/learning_rate": float(logs.get("learning_rate", 0.0)),
                    }
                )
                on_step(dict(last))

    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(**_config(spec)),
        train_dataset=Dataset.from_dict(rows),
        processing_class=tokenizer,
        callbacks=[Report()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    if not last:
        raise RlkitError("the sft stage took no step: it has fewer demonstrations than one batch holds")
    trainer.model.save_pretrained(spec.out)
    tokenizer.save_pretrained(spec.out)
    return last


def _config(spec: SftSpec) -> dict[str, Any]:
    stage = spec.stage
    schedule = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}[stage.lr_schedule]
    return {
        "output_dir": str(spec.work_dir),
        "per_device_train_batch_size": stage.batch_size,
        "learning_rate": stage.learning_rate,
        "lr_scheduler_type": schedule,
        "warmup_steps": stage.warmup_steps,
        "adam_beta1": stage.betas[0],
        "adam_beta2": stage.betas[1],
        "weight_decay": stage.weight_decay,
        "max_grad_norm": stage.max_grad_norm,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "seed": spec.seed,
        "data_seed": spec.seed,
        "use_cpu": not spec.use_gpu,
        "bf16": spec.precision == "bfloat16",
        "gradient_checkpointing": spec.activation_checkpointing,
        "dataloader_num_workers": 0,
        "max_length": None,
        "train_sampling_strategy": "sequential",
        "num_train_epochs": 1,
        # The demonstrations are tokens with labels already: prompts are rendered in one place only.
        "dataset_kwargs": {"skip_prepare_dataset": True},
    }
