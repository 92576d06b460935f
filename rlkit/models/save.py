"""Saves models in Hugging Face format, for `from_pretrained` and vLLM."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
)
from transformers.core_model_loading import revert_weight_conversion

from rlkit.models.pretrained import silence_loading


def kept_buffers(model: Any) -> dict[str, Tensor]:
    """Copies of the persistent buffers, by name: tensors in a model's files that are not parameters.

    Examples are a router's bias and a layer's scale.
    """
    modules = dict(model.named_modules())
    return {
        name: buffer.detach().to("cpu", copy=True)
        for name, buffer in model.named_buffers()
        if name.rpartition(".")[2] not in modules[name.rpartition(".")[0]]._non_persistent_buffers_set
    }


def save_model(model: Any, tokenizer: Any, out: Path, weights: Mapping[str, Tensor] | None = None) -> None:
    """Writes weights, config, generation config and tokenizer to `out`.

    Args:
        model: A transformers model.
        tokenizer: Its tokenizer.
        out: The folder; created if it does not exist.
        weights: Weights by name, tied ones once; by default the model's own.
    """
    silence_loading()
    out.mkdir(parents=True, exist_ok=True)
    if weights is not None and getattr(model, "is_quantized", False):
        model = _skeleton(model)
    model.save_pretrained(out, max_shard_size="5GB", state_dict=None if weights is None else dict(weights))
    tokenizer.save_pretrained(out)
    _keep_generation_end(out, tokenizer)


def stored_form(model: Any, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights with the names and shapes of published checkpoints, which engines expect.

    transformers stores the experts of a layer in one tensor; on the Hub and in vLLM each expert has its own.
    """
    pieces: dict[str, Tensor] = revert_weight_conversion(model, dict(weights))
    if pieces.keys() == weights.keys():
        return dict(weights)
    # Clone a view of a larger tensor, because sending the view would send the whole tensor.
    return {name: w if w.nbytes == w.untyped_storage().nbytes() else w.clone() for name, w in pieces.items()}


def _skeleton(model: Any) -> Any:
    """An unquantized float32 model of the same shape without weights, because saving the quantized one would keep the
    quantization."""
    config = copy.deepcopy(model.config)
    del config.quantization_config
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.generation_config = model.generation_config
    return plain


def _keep_generation_end(out: Path, tokenizer: Any) -> None:
    """Adds the end-of-text token to the generation config if it is missing, because engines stop at it."""
    path = out / "generation_config.json"
    config = json.loads(path.read_text()) if path.exists() else {}
    if config.get("eos_token_id") is None:
        config |= {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        path.write_text(json.dumps(config, indent=2) + "\n")
