"""Models from a folder or the Hub, as a learner needs them: float32 weights, nothing random."""

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
    """A causal language model in float32 (the master weights), in evaluation mode, with every dropout off.

    Dropout would make the learner's log-probs differ from the sampler's.

    Args:
        path: Folder or Hub name.
        device: Where the weights go.
        quantization: A transformers quantization config for weights that stay as they are; None: float32.
    """
    silence_loading()
    options = {} if quantization is None else {"quantization_config": quantization, "device_map": {"": device}}
    try:
        config = AutoConfig.from_pretrained(path)
        model = AutoModelForCausalLM.from_pretrained(path, config=config, dtype=torch.float32, **options)
    except (OSError, ValueError, ImportError) as e:
        raise RecipeError(f"model {path} cannot be loaded: {str(e).splitlines()[0]}") from e
    model = _without_noise(model)
    return model if quantization is not None else model.to(device)


def load_critic(path: str, *, device: str = "cpu") -> Any:
    """A sequence classifier with one label in float32: a reward model, or a language model's body and a head of zeros.

    Raises:
        RecipeError: it cannot be loaded, has another number of labels, or no head that reads single tokens.
    """
    silence_loading()
    try:
        config = AutoConfig.from_pretrained(path)
        is_classifier = any("SequenceClassification" in name for name in config.architectures or ())
        if is_classifier and config.num_labels != 1:
            raise RecipeError(f"critic {path} has {config.num_labels} labels; a value needs exactly one")
        config.num_labels = 1
        model = AutoModelForSequenceClassification.from_pretrained(path, config=config, dtype=torch.float32)
    except (OSError, ValueError) as e:
        raise RecipeError(f"critic {path} cannot be loaded: {str(e).splitlines()[0]}") from e
    head = getattr(model, "score", None)
    if not isinstance(head, nn.Linear):
        raise RecipeError(f"critic {path} ({type(model).__name__}) has no head that reads single tokens (`score`)")
    if not is_classifier:
        nn.init.zeros_(head.weight)
    return _without_noise(model).to(device)


def silence_loading() -> None:
    """Ends transformers' bars and reports of loading: what goes wrong is raised."""
    logging.disable_progress_bar()
    logging.set_verbosity_error()


def _without_noise(model: Any) -> Any:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if isinstance(value, float) and ("drop" in name or "jitter" in name):
                setattr(module, name, 0.0)
    return model


def recompute_activations(model: Any) -> None:
    """Has a model keep no activations inside its layers: the backward pass works them out again.

    transformers does so in training mode only, which the rest of the model stays out of: it is for what is random.
    """
    model.gradient_checkpointing_enable({"use_reentrant": False})
    for module in model.modules():
        if getattr(module, "gradient_checkpointing", False):
            module.training = True


def context_length(path: str) -> int:
    """Longest context of a model, in tokens, from its config."""
    config = AutoConfig.from_pretrained(path)
    return int(getattr(config, "max_position_embeddings", 0) or 2048)
