"""`model`: the model that a run starts from."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from rlkit.recipe.schema.section import PathText, Section

HEAD_SIZES = (32, 64, 96, 128, 160, 192, 224, 256)
"""Sizes of an attention head that the engine's kernels support on every device."""
DEFAULT_HEAD_SIZES = (128, 64, 32)
"""Head sizes that rlkit chooses from if the recipe does not give num_heads."""
HIDDEN_SIZES = range(32, 16_384 + 1, 32)
NUM_HEADS = range(1, 512 + 1)
DEFAULT_HIDDEN = 128


class ModelInitKeys(Section):
    """A small new model: random weights and a byte-level BPE tokenizer trained on the run's own texts.

    Give the sizes that matter to you; rlkit derives the others from them.
    """

    architecture: Literal["qwen2", "qwen3"] = "qwen2"
    """Architecture in transformers, which loads the saved model without extra code."""
    vocab_size: int = Field(384, ge=320, le=200_000)
    """Tokens in the vocabulary: the 256 bytes, the special tokens and the BPE merges."""
    hidden_size: int = Field(DEFAULT_HIDDEN, ge=HIDDEN_SIZES.start, le=HIDDEN_SIZES[-1], multiple_of=HIDDEN_SIZES.step)
    """Hidden size: a multiple of 32, because the engine's kernels need such head sizes. By default 128, or num_heads x
    32 if num_heads does not divide 128 into supported head sizes."""
    intermediate_size: int = Field(3 * DEFAULT_HIDDEN, ge=32, le=65_536)
    """Width of the MLP; by default 3 x hidden_size."""
    num_layers: int = Field(4, ge=1, le=256)
    """Decoder layers."""
    num_heads: int = Field(4, ge=NUM_HEADS.start, le=NUM_HEADS[-1])
    """Attention heads; the head size hidden_size / num_heads must be 32, 64, 96, 128, 160, 192, 224 or 256. By default
    at least four heads of size 32, 64 or 128."""
    num_kv_heads: int = Field(2, ge=NUM_HEADS.start, le=NUM_HEADS[-1])
    """Key-value heads; divides num_heads. By default half of num_heads, or the next smaller divisor of num_heads."""
    max_position_embeddings: int = Field(512, ge=32, le=1_000_000)
    """Context length, in tokens. By default 512, or the next power of two that holds a prompt and
    rollout.max_tokens."""
    tie_word_embeddings: bool = True
    """Whether the output layer shares the input embedding's weights."""

    @model_validator(mode="before")
    @classmethod
    def _derive_sizes(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        allowed = {"hidden_size": HIDDEN_SIZES, "num_heads": NUM_HEADS, "num_kv_heads": NUM_HEADS}
        sizes = [raw.get(key) for key in allowed]
        # The field itself reports a value out of range. Sizes derived from it would only add more errors.
        if not all(n is None or (type(n) is int and n in fit) for n, fit in zip(sizes, allowed.values(), strict=True)):
            return raw
        return {**_derived_sizes(*sizes), **raw}

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_kv_heads={self.num_kv_heads} does not divide num_heads={self.num_heads}: "
                f"choose one of {', '.join(map(str, _divisors(self.num_heads)))}, or leave num_kv_heads out"
            )
        if self.hidden_size % self.num_heads or self.hidden_size // self.num_heads not in HEAD_SIZES:
            fitting = [self.hidden_size // size for size in HEAD_SIZES if self.hidden_size % size == 0]
            raise ValueError(
                f"hidden_size={self.hidden_size} / num_heads={self.num_heads} = "
                f"{self.hidden_size / self.num_heads:g} is not a head size that the engine's attention kernels support "
                f"({', '.join(map(str, HEAD_SIZES))}): with this hidden_size set num_heads to "
                f"{', '.join(map(str, sorted(fitting)))}; or leave it out"
            )
        return self


def _derived_sizes(hidden: int | None, heads: int | None, kv_heads: int | None) -> dict[str, int]:
    """Sizes that fit the given ones."""
    if hidden is None:
        hidden = DEFAULT_HIDDEN
        least = heads or kv_heads or 1
        if hidden % least or hidden // least not in HEAD_SIZES:
            hidden = 32 * least
    if heads is None:
        heads = _default_heads(hidden, kv_heads or 1)
    if kv_heads is None:
        kv_heads = next(n for n in range(max(1, heads // 2), 0, -1) if heads % n == 0)
    return {"hidden_size": hidden, "num_heads": heads, "num_kv_heads": kv_heads, "intermediate_size": 3 * hidden}


def _default_heads(hidden: int, kv_heads: int) -> int:
    """Four heads or more if a head size of at least 32 allows it, and a multiple of the key-value heads if possible."""
    by_size = [hidden // size for size in DEFAULT_HEAD_SIZES if hidden % size == 0 and size <= max(32, hidden // 4)]
    any_size = [hidden // size for size in HEAD_SIZES if hidden % size == 0]
    fitting = [n for n in (*by_size, *any_size) if n % kv_heads == 0]
    return (fitting or by_size or [1])[0]


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


class ModelKeys(Section):
    """Exactly one of `path` and `init`."""

    path: PathText | None = Field(None, min_length=1)
    """Folder or Hugging Face Hub name of a causal language model."""
    init: ModelInitKeys | None = None
    """Create a small new model with random weights instead."""

    @model_validator(mode="after")
    def _check_one_given(self) -> Self:
        if (self.path is None) == (self.init is None):
            given = "neither is" if self.path is None else "both are"
            raise ValueError(f"give exactly one of model.path and model.init, here {given} given")
        return self
