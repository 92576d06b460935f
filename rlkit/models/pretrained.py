"""Loads models from a folder or the Hub for a learner: float32 weights, and no dropout."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    logging,
)

from rlkit.errors import RecipeError


def load_model(path: str, *, device: str = "cpu", quantization: Any = None) -> Any:
    """Loads a causal language model in float32 (the master weights), in evaluation mode and without dropout.

    Dropout would make the learner's log-probabilities differ from the sampler's.

    Args:
        path: Folder or Hub name.
        device: Device of the weights.
        quantization: A transformers quantization config, for weights that are not trained; None: float32.

    Raises:
        RecipeError: The model cannot be loaded.
    """
    silence_loading()
    options = {} if quantization is None else {"quantization_config": quantization, "device_map": {"": device}}
    try:
        config = AutoConfig.from_pretrained(path)
        model = AutoModelForCausalLM.from_pretrained(path, config=config, dtype=torch.float32, **options)
    except (OSError, ValueError, ImportError) as e:
        raise RecipeError(f"model {path} cannot be loaded: {str(e).splitlines()[0]}") from e
    model = _without_dropout(model)
    return model if quantization is not None else model.to(device)


def load_critic(path: str, *, device: str = "cpu") -> Any:
    """Loads a sequence classifier with one label in float32: a reward model, or a language model with a new zero head.

    Raises:
        RecipeError: The model cannot be loaded, has another number of labels, or has no linear head `score`.
    """
    silence_loading()
    try:
        config = AutoConfig.from_pretrained(path)
        is_classifier = any("SequenceClassification" in name for name in config.architectures or ())
        if is_classifier and config.num_labels != 1:
            raise RecipeError(f"critic {path} has {config.num_labels} labels; a critic needs exactly one")
        config.num_labels = 1
        model = AutoModelForSequenceClassification.from_pretrained(path, config=config, dtype=torch.float32)
    except (OSError, ValueError) as e:
        raise RecipeError(f"critic {path} cannot be loaded: {str(e).splitlines()[0]}") from e
    head = getattr(model, "score", None)
    if not isinstance(head, nn.Linear):
        raise RecipeError(f"critic {path} ({type(model).__name__}) has no linear head `score`, which a critic needs")
    if not is_classifier:
        nn.init.zeros_(head.weight)
    return _without_dropout(model).to(device)


def silence_loading() -> None:
    """Turns off transformers' progress bars and warnings. Errors are still raised."""
    logging.disable_progress_bar()
    logging.set_verbosity_error()


def _without_dropout(model: Any) -> Any:
    """Sets all dropout and router jitter to 0."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if isinstance(value, float) and ("drop" in name or "jitter" in name):
                setattr(module, name, 0.0)
    return model


def recompute_activations(model: Any) -> None:
    """Turns on activation checkpointing: the backward pass recomputes the activations inside the layers.

    transformers checkpoints only in training mode, so this sets it for the layers; the rest stays in evaluation mode.
    """
    model.gradient_checkpointing_enable({"use_reentrant": False})
    for module in model.modules():
        if getattr(module, "gradient_checkpointing", False):
            module.training = True


def context_length(path: str) -> int:
    """Context length of a model from its config, in tokens; 2048 if the config does not give it."""
    config = AutoConfig.from_pretrained(path)
    return int(getattr(config, "max_position_embeddings", 0) or 2048)
