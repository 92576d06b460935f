"""Supervised fine-tuning, the cold start: TRL's SFTTrainer on demonstrations that are already tokens."""

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
"""More steps than any stage has: where only checkpoint.every_minutes asks for checkpoints."""


class SaveCheckpoint(Protocol):
    """Saves a checkpoint atomically."""

    def __call__(self, step: int, write: Callable[[Path], None]) -> None:
        """Saves what `write` puts into the folder that it is called with.

        Raises:
            CheckpointError: it cannot be written; earlier checkpoints are untouched.
        """


class Listener(Protocol):
    """Receives the progress of a stage."""

    def step(self, figures: dict[str, float]) -> None:
        """An optimizer step's figures; each step once, from the first, also where an earlier start did it."""

    def event(self, kind: str, text: str) -> None:
        """Something that happened, such as a checkpoint."""


@dataclass(frozen=True)
class SftSpec:
    """Everything an SFT stage is made from."""

    model_path: str
    """Folder or Hub name of the stage's start weights."""
    stage: SftKeys
    """The recipe's keys."""
    demonstrations: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]
    """(token ids, mask) of each, in the order of learning; the mask is 1 where the loss counts: on the reply."""
    out: Path
    """Folder of the trained model."""
    work_dir: Path
    """Folder for the trainer's own files, on the file system of the checkpoints."""
    checkpoint: CheckpointKeys
    """When to save."""
    save_checkpoint: SaveCheckpoint
    """How."""
    resume_from: Path | None
    """Folder that `save_checkpoint` filled in an earlier start, to resume from; None: begin at the first step."""
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


def run_sft(spec: SftSpec, listener: Listener, stopping: Callable[[], bool] = lambda: False) -> dict[str, float]:
    """Trains and writes the model to `spec.out`.

    Args:
        spec: The stage.
        listener: Receives its progress.
        stopping: Called after every step. Once it returns True, a checkpoint is saved and the training ends without a
            model.

    Returns:
        The last step's figures.
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
        raise RlkitError("the sft stage took no step: it has fewer demonstrations than one batch holds")
    if trainer.state.global_step >= trainer.state.max_steps:
        save_model(trainer.accelerator.unwrap_model(trainer.model), tokenizer, spec.out)
    return _figures(steps[-1], trainer.state)


def _trainer_class(spec: SftSpec, listener: Listener, stopping: Callable[[], bool]) -> Any:
    """TRL's trainer, which saves by `spec.save_checkpoint` and reports each step to the listener."""
    from safetensors import SafetensorError
    from transformers import TrainerCallback
    from trl import SFTTrainer

    class StepReporter(TrainerCallback):  # type: ignore[misc]
        """Reports the steps, first those of the checkpoint: a kill may have come before the driver logged them."""

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
                control.should_save = True  # a stop while the model is written loses no step

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.saved_at = time.monotonic()

    class Trainer(SFTTrainer):  # type: ignore[misc]
        """Saves checkpoints by `spec.save_checkpoint`, without TRL's model card."""

        def __init__(self, **arguments: Any) -> None:
            super().__init__(callbacks=[StepReporter()], **arguments)

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            step = self.state.global_step
            try:
                spec.save_checkpoint(step, lambda folder: self._write_checkpoint(model, trial, folder))
                listener.event("checkpoint", f"step {step}")
            except CheckpointError as e:
                listener.event("checkpoint_failed", f"{e}; the stage goes on")

        def _write_checkpoint(self, model: Any, trial: Any, folder: Path) -> None:
            written = spec.work_dir / f"checkpoint-{self.state.global_step}"
            try:
                super(SFTTrainer, self)._save_checkpoint(model, trial)
                os.rename(written, folder)
            except (RuntimeError, SafetensorError) as e:  # what torch and safetensors raise where the disk is full
                raise OSError(str(e)) from e
            finally:
                shutil.rmtree(written, ignore_errors=True)

    return Trainer


def _is_step(logs: dict[str, float]) -> bool:
    """Whether the trainer's log entry is of an optimizer step, not of the whole training."""
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
    """Ends the stage before a checkpoint of weights that are not numbers could be kept.

    Raises:
        RlkitError: the step's loss or gradient is not finite.
    """
    loss, norm = figures["learner/loss"], figures["learner/grad_norm"]
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise RlkitError(
            f"step {figures['step']:.0f} of the sft stage had loss {loss:g} and gradient norm {norm:g}, so its weights "
            "are of no use any more (its last checkpoint is whole): lower its learning_rate or raise warmup_steps"
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
        "logging_nan_inf_filter": False,  # it would write 0 where the loss is not a number
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
        # The demonstrations are tokens with labels already: prompts are rendered in one place only.
        "dataset_kwargs": {"skip_prepare_dataset": True},
    }
    return SFTConfig(**keys)
