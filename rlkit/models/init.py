"""Creates the new model of `model.init`, with random weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    set_seed,
)

from rlkit.models.save import save_model
from rlkit.models.tokenizer import train_tokenizer
from rlkit.recipe.schema import ModelInitKeys


def init_model(init: ModelInitKeys, texts: Iterator[str], *, seed: int, out: Path) -> None:
    """Writes a model with random weights and a tokenizer trained on `texts` to the folder `out`."""
    tokenizer = train_tokenizer(texts, init.vocab_size)
    tokenizer.model_max_length = init.max_position_embeddings
    kwargs: dict[str, Any] = {
        "vocab_size": init.vocab_size,
        "hidden_size": init.hidden_size,
        "intermediate_size": init.intermediate_size,
        "num_hidden_layers": init.num_layers,
        "num_attention_heads": init.num_heads,
        "num_key_value_heads": init.num_kv_heads,
        "head_dim": init.hidden_size // init.num_heads,
        "max_position_embeddings": init.max_position_embeddings,
        "tie_word_embeddings": init.tie_word_embeddings,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
        # The usual 0.02 suits hidden sizes in the thousands. At 128 activations shrink, and training is several times
        # slower.
        "initializer_range": init.hidden_size**-0.5,
    }
    config = AutoConfig.for_model(init.architecture, **kwargs)
    set_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    save_model(model, tokenizer, out)
