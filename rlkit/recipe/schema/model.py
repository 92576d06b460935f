"""`model`: the weights a run starts from."""

from typing import Literal, Self

from pydantic import Field, model_validator

from rlkit.recipe.schema.section import PathText, Section


class ModelInit(Section):
    """A small model made from nothing: random weights and a byte-level BPE tokenizer trained on the run's own texts."""

    architecture: Literal["qwen2", "qwen3"] = "qwen2"
    """The transformers architecture; the saved model is an ordinary one of its kind."""
    vocab_size: int = Field(384, ge=320, le=200_000)
    """Tokens, the 256 bytes and the special ones included."""
    hidden_size: int = Field(128, ge=32, le=16_384, multiple_of=32)
    """Width."""
    intermediate_size: int = Field(384, ge=32, le=65_536)
    """Width of the MLP."""
    num_layers: int = Field(4, ge=1, le=256)
    """Decoder layers."""
    num_heads: int = Field(4, ge=1, le=256)
    """Attention heads; hidden_size / num_heads is the head size, a multiple of 32."""
    num_kv_heads: int = Field(2, ge=1, le=256)
    """Key-value heads; divides num_heads."""
    max_position_embeddings: int = Field(512, ge=32, le=1_000_000)
    """Longest context, in tokens."""
    tie_word_embeddings: bool = True
    """Whether the output layer shares the input embedding's weights."""

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_kv_heads={self.num_kv_heads} does not divide num_heads={self.num_heads}")
        if self.hidden_size % self.num_heads or (self.hidden_size // self.num_heads) % 32:
            raise ValueError(
                f"hidden_size / num_heads = {self.hidden_size / self.num_heads:g} is not a multiple of 32, "
                "which the engine's attention kernel needs"
            )
        return self


class Model(Section):
    """Exactly one of `path` and `init`."""

    path: PathText | None = Field(None, min_length=1)
    """Folder or Hugging Face Hub name of a causal language model."""
    init: ModelInit | None = None
    """Make a small model from nothing instead."""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.path is None) == (self.init is None):
            raise ValueError("give exactly one of model.path and model.init")
        return self
