"""Supervised fine-tuning: trains with TRL's SFTTrainer on tokenized demonstrations."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rlkit.errors import CheckpointError, RlkitError
from rlkit.recipe.schema import CheckpointKeys, SftKeys

NEVER = 10**9
"""More steps than any stage has: turns off checkpoints by step if only checkpoint.every_minutes is set."""


class SaveCheckpoint(Protocol):
    """Saves a checkpoint atomically."""

    def __call__(self, step: int, write: Callable[[Path], None]) -> None:
        """Saves a checkpoint of a step; `write(folder)` writes its files.

        Raises:
            CheckpointError: it cannot be written; earlier checkpoints are unchanged.
        """


class Listener(Protocol):
    """Receives the progress of a stage."""

    def step(self, figures: dict[str, float]) -> None:
        """Receives an optimizer step's metrics. After a resume, starts again from step 1, with the saved metrics."""

    def event(self, kind: str, text: str) -> None:
        """Receives an event, such as a checkpoint."""


@dataclass(frozen=True)
class SftSpec:
    """Everything that defines an SFT stage."""

    model_path: str
    """Folder or Hub name of the stage's start weights."""
    stage: SftKeys
    """The recipe's keys."""
    demonstrations: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]
    """(token ids, loss mask) of each, in training order; the mask is 1 for tokens of the reply."""
    out: Path
    """Folder of the trained model."""
    work_dir: Path
    """Folder for the trainer's own files, on the file system of the checkpoints."""
    checkpoint: CheckpointKeys
    """When to save checkpoints."""
    save_checkpoint: SaveCheckpoint
    """How to save them."""
    resume_from: Path | None
    """Folder of a saved checkpoint to resume from; None: start at the first step."""
    seed: int
    """Seed of the trainer."""
    precision: str
    """float32 or bfloat16 (autocast)."""
    threads: int
    """CPU threads."""
    use_gpu: bool
    """Whether it runs on a GPU."""
    activation_checkpointing: bool
    """Recompute activations in the backward pass."""
    deterministic: bool
    """Make torch raise on operations that are not deterministic."""


def run_sft(spec: SftSpec, listener: Listener, stopping: Callable[[], bool] = lambda: False) -> dict[str, float]:
    """Trains the model and writes it to `spec.out`.

    Args:
        spec: The stage.
        listener: Receives its progress.
        stopping: Called after every step. Once it returns True, a checkpoint is saved and the training ends without
            writing the model.

    Returns:
        The last step's metrics.
    """
    import torch
    from datasets import Dataset
    from transformers import PrinterCallback

    from rlkit.models.pretrained import load_model
    from rlkit.models.save import save_model
    from rlkit.models.tokenizer import load_tokenizer

    torch.set_num_threads(spec.threads)
    torch.use_deterministic_algorithms(spec.deterministic)
    tokenizer = load_tokenizer(spec.model_path)
    model = load_model(spec.model_path)
    rows = {
        "input_ids": [list(ids) for ids, _ in spec.demonstrations],
        "labels": [[t if m else -100 for t, m in zip(*row, strict=True)] for row in spec.demonstrations],
    }
    trainer = _trainer_class(spec, listener, stopping)(
        model=model,
        args=_config(spec),
        train_dataset=Dataset.from_dict(rows),
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=None if spec.resume_from is None else str(spec.resume_from))
    steps = list(filter(_is_step, trainer.state.log_history))
    if not steps:
        raise RlkitError("the sft stage made no step: it has fewer demonstrations than one batch holds")
    if trainer.state.global_step >= trainer.state.max_steps:
        save_model(trainer.accelerator.unwrap_model(trainer.model), tokenizer, spec.out)
    return _figures(steps[-1], trainer.state)


def _trainer_class(spec: SftSpec, listener: Listener, stopping: Callable[[], bool]) -> Any:
    """TRL's trainer, changed to save through `spec.save_checkpoint` and to report each step to the listener."""
    from safetensors import SafetensorError
    from transformers import TrainerCallback
    from trl import SFTTrainer

    class StepReporter(TrainerCallback):  # type: ignore[misc]
        """Reports every step, beginning with the checkpoint's: the driver may have died before it logged those."""

        saved_at = time.monotonic()

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            for logs in filter(_is_step, state.log_history):
                listener.step(_figures(logs, state))

        def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if _is_step(state.log_history[-1]):
                figures = _figures(state.log_history[-1], state)
                listener.step(figures)
                _check_finite(figures)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            minutes = spec.checkpoint.every_minutes
            if minutes is not None and time.monotonic() - self.saved_at >= 60 * minutes:
                control.should_save = True
            control.should_training_stop = control.should_training_stop or stopping()
            if control.should_training_stop:
                control.should_save = True  # so that a stop while the model is being written loses no step

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.saved_at = time.monotonic()

    class Trainer(SFTTrainer):  # type: ignore[misc]
        """Saves checkpoints through `spec.save_checkpoint`, without TRL's model card."""

        def __init__(self, **arguments: Any) -> None:
            super().__init__(callbacks=[StepReporter()], **arguments)

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            step = self.state.global_step
            try:
                spec.save_checkpoint(step, lambda folder: self._write_checkpoint(model, trial, folder))
                listener.event("checkpoint", f"step {step}")
            except CheckpointError as e:
                listener.event("checkpoint_failed", f"{e}; the stage continues")

        def _write_checkpoint(self, model: Any, trial: Any, folder: Path) -> None:
            written = spec.work_dir / f"checkpoint-{self.state.global_step}"
            try:
                super(SFTTrainer, self)._save_checkpoint(model, trial)
                os.rename(written, folder)
            except (RuntimeError, SafetensorError) as e:  # torch and safetensors raise these when the disk is full
                raise OSError(str(e)) from e
            finally:
                shutil.rmtree(written, ignore_errors=True)

    return Trainer


def _is_step(logs: dict[str, float]) -> bool:
    """Whether the trainer's log entry is for an optimizer step and not for the whole training."""
    return "loss" in logs


def _figures(logs: dict[str, float], state: Any) -> dict[str, float]:
    return {
        "step": float(logs["step"]),
        "steps": float(state.max_steps),
        "learner/loss": float(logs["loss"]),
        "learner/grad_norm": float(logs["grad_norm"]),
        "learner/learning_rate": float(logs.get("learning_rate", 0.0)),
    }


def _check_finite(figures: dict[str, float]) -> None:
    """Ends the stage before it can save a checkpoint with weights that are not finite.

    Raises:
        RlkitError: the step's loss or gradient is not finite.
    """
    loss, norm = figures["learner/loss"], figures["learner/grad_norm"]
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise RlkitError(
            f"step {figures['step']:.0f} of the sft stage had loss {loss:g} and gradient norm {norm:g}, so its weights "
            "are unusable (its last checkpoint is good): lower its learning_rate or raise warmup_steps"
        )


def _config(spec: SftSpec) -> Any:
    from trl import SFTConfig

    stage = spec.stage
    schedule = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}[stage.lr_schedule]
    every = spec.checkpoint.every
    keys = {
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
        "logging_nan_inf_filter": False,  # the filter would log 0 for a loss that is not finite
        "save_strategy": "steps" if every or spec.checkpoint.every_minutes else "no",
        "save_steps": every or NEVER,
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
        # The demonstrations are tokenized already, by the renderer that RL stages use.
        "dataset_kwargs": {"skip_prepare_dataset": True},
    }
    return SFTConfig(**keys)
