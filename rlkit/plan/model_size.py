"""Number of weights and shape of a model, from its recipe section or its folder, without building it."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlkit.recipe.schema import ModelInitKeys, ModelKeys

KNOWN = ("qwen2", "qwen3", "llama")
"""Model families whose parameters `count_parameters` counts exactly."""


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a dense decoder."""

    family: str
    """`model_type` of the config."""
    vocab_size: int
    """Tokens in the vocabulary."""
    hidden_size: int
    """Hidden size."""
    intermediate_size: int
    """Width of the MLP."""
    num_layers: int
    """Decoder layers."""
    num_heads: int
    """Attention heads."""
    num_kv_heads: int
    """Key-value heads."""
    head_dim: int
    """Size of an attention head."""
    context: int
    """Context length, in tokens."""
    tied: bool
    """Whether the output layer shares the embedding's weights."""
    attention_bias: bool = False
    """Llama: whether all four attention projections have biases."""

    @property
    def kv_numbers_per_token(self) -> int:
        """Numbers that one token takes in the key-value cache, over all layers."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim


@dataclass(frozen=True)
class ModelSize:
    """Size of a model, known before it is loaded."""

    parameters: int | None
    """Number of weights, tied ones counted once; None if unknown."""
    shape: ModelShape | None
    """Its shape; None if unknown."""
    reason: str = ""
    """Why parameters is None."""


def count_parameters(shape: ModelShape) -> int:
    """Number of weights of a qwen2, qwen3 or llama model, as transformers counts them; tied ones once."""
    q = shape.num_heads * shape.head_dim
    kv = shape.num_kv_heads * shape.head_dim
    attention = shape.hidden_size * (2 * q + 2 * kv)
    if shape.family == "qwen2":
        attention += q + 2 * kv  # biases of q, k and v
    elif shape.family == "qwen3":
        attention += 2 * shape.head_dim  # norms of q and k
    elif shape.attention_bias:
        attention += q + 2 * kv + shape.hidden_size
    layer = attention + 3 * shape.hidden_size * shape.intermediate_size + 2 * shape.hidden_size
    embeddings = shape.vocab_size * shape.hidden_size * (1 if shape.tied else 2)
    return embeddings + shape.num_layers * layer + shape.hidden_size


def shape_of_init(init: ModelInitKeys) -> ModelShape:
    """The shape of the new model that `model.init` describes."""
    return ModelShape(
        family=init.architecture,
        vocab_size=init.vocab_size,
        hidden_size=init.hidden_size,
        intermediate_size=init.intermediate_size,
        num_layers=init.num_layers,
        num_heads=init.num_heads,
        num_kv_heads=init.num_kv_heads,
        head_dim=init.hidden_size // init.num_heads,
        context=init.max_position_embeddings,
        tied=init.tie_word_embeddings,
    )


def shape_of_config(config: Mapping[str, Any]) -> ModelShape | None:
    """The shape in a Hugging Face `config.json`; None if a number is missing."""
    try:
        heads = int(config["num_attention_heads"])
        default_head_dim = 128 if config["model_type"] == "qwen3" else int(config["hidden_size"]) // heads
        return ModelShape(
            family=str(config["model_type"]),
            vocab_size=int(config["vocab_size"]),
            hidden_size=int(config["hidden_size"]),
            intermediate_size=int(config["intermediate_size"]),
            num_layers=int(config["num_hidden_layers"]),
            num_heads=heads,
            num_kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or default_head_dim),
            context=int(config["max_position_embeddings"]),
            tied=bool(config.get("tie_word_embeddings", False)),
            attention_bias=bool(config.get("attention_bias", False)),
        )
    except (KeyError, TypeError, ValueError):
        return None


def size_of(model: ModelKeys) -> ModelSize:
    """Parameters and shape of a recipe's model; unknown for a model on the Hub."""
    if model.init is not None:
        shape = shape_of_init(model.init)
        return ModelSize(count_parameters(shape), shape)
    assert model.path is not None
    folder = Path(model.path)
    if not folder.is_dir():
        return ModelSize(None, None, f"{model.path} is a Hub name: its size is known once it is downloaded")
    try:
        shape_or_none = shape_of_config(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError) as e:
        return ModelSize(None, None, f"{folder / 'config.json'} cannot be read: {e}")
    parameters = _count_safetensors(folder)
    if parameters is None and shape_or_none is not None and shape_or_none.family in KNOWN:
        parameters = count_parameters(shape_or_none)
    reason = "" if parameters is not None else f"{folder} contains no readable .safetensors file"
    return ModelSize(parameters, shape_or_none, reason)


def _count_safetensors(folder: Path) -> int | None:
    """Number of weights according to the headers of the folder's safetensors files; None if there are none."""
    files = sorted(folder.glob("*.safetensors"))
    try:
        headers = [read_header(file)[0] for file in files]
        sizes = [math.prod(t["shape"]) for header in headers for name, t in header.items() if name != "__metadata__"]
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None
    return sum(sizes) if files else None


def read_header(file: Path) -> tuple[dict[str, Any], int]:
    """Reads (header, offset of the data in bytes) of a safetensors file."""
    with file.open("rb") as f:
        (size,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(min(size, 100_000_000)))
    if not isinstance(header, dict):
        raise ValueError(f"{file} is not a safetensors file")
    return header, 8 + size
