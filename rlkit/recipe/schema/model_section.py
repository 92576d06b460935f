"""`model`: the weights a run starts from."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from rlkit.recipe.schema.section import PathText, Section

HEAD_SIZES = (32, 64, 96, 128, 160, 192, 224, 256)
"""Widths of an attention head that the engine's kernels have on every device."""
DEFAULT_HEAD_SIZES = (128, 64, 32)
"""Widths of a head that the shape left to rlkit may get."""
HIDDEN_SIZES = range(32, 16_384 + 1, 32)
NUM_HEADS = range(1, 512 + 1)
DEFAULT_HIDDEN = 128


class ModelInitKeys(Section):
    """A small model made from nothing: random weights and a byte-level BPE tokenizer trained on the run's own texts.

    Of the widths and heads give those that matter to you: the others follow from them.
    """

    architecture: Literal["qwen2", "qwen3"] = "qwen2"
    """The transformers architecture; the saved model is an ordinary one of its kind."""
    vocab_size: int = Field(384, ge=320, le=200_000)
    """Tokens: the 256 bytes, the special tokens and room for some merges."""
    hidden_size: int = Field(DEFAULT_HIDDEN, ge=HIDDEN_SIZES.start, le=HIDDEN_SIZES[-1], multiple_of=HIDDEN_SIZES.step)
    """Width: the engine's kernels need attention heads of 32 or a multiple of it. Left out: 128, or num_heads x 32
    where num_heads does not divide 128 into such heads."""
    intermediate_size: int = Field(3 * DEFAULT_HIDDEN, ge=32, le=65_536)
    """Width of the MLP. Left out: 3 x hidden_size."""
    num_layers: int = Field(4, ge=1, le=256)
    """Decoder layers."""
    num_heads: int = Field(4, ge=NUM_HEADS.start, le=NUM_HEADS[-1])
    """Attention heads; hidden_size / num_heads is the head size: 32, 64, 96, 128, 160, 192, 224 or 256. Left out: four
    heads or more, of 32, 64 or 128."""
    num_kv_heads: int = Field(2, ge=NUM_HEADS.start, le=NUM_HEADS[-1])
    """Key-value heads; divides num_heads. Left out: half of num_heads, or the next smaller number that divides it."""
    max_position_embeddings: int = Field(512, ge=32, le=1_000_000)
    """Longest context, in tokens. Left out: 512, or the next power of two that holds rollout.max_tokens and a
    prompt."""
    tie_word_embeddings: bool = True
    """Whether the output layer shares the input embedding's weights."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_shape(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        allowed = {"hidden_size": HIDDEN_SIZES, "num_heads": NUM_HEADS, "num_kv_heads": NUM_HEADS}
        sizes = [raw.get(key) for key in allowed]
        # A value that is not allowed is refused by its own field: what follows from it would be refused beside it.
        if not all(n is None or (type(n) is int and n in fit) for n, fit in zip(sizes, allowed.values(), strict=True)):
            return raw
        return {**_shape(*sizes), **raw}

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_kv_heads={self.num_kv_heads} does not divide num_heads={self.num_heads}: "
                f"choose one of {', '.join(map(str, _divisors(self.num_heads)))}, or leave num_kv_heads out"
            )
        if self.hidden_size % self.num_heads or self.hidden_size // self.num_heads not in HEAD_SIZES:
            fitting = [self.hidden_size // size for size in HEAD_SIZES if self.hidden_size % size == 0]
            raise ValueError(
                f"hidden_size={self.hidden_size} / num_heads={self.num_heads} = "
                f"{self.hidden_size / self.num_heads:g} is no head size that the engine's attention kernels have "
                f"({', '.join(map(str, HEAD_SIZES))}): with this hidden_size num_heads may be "
                f"{', '.join(map(str, sorted(fitting)))}; or leave it out"
            )
        return self


def _shape(hidden: int | None, heads: int | None, kv_heads: int | None) -> dict[str, int]:
    """Widths and heads that go with those that are given."""
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
    """At least four heads where heads of 32 or more allow it; a multiple of the key-value heads where there is one."""
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
    """Make a small model from nothing instead."""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.path is None) == (self.init is None):
            given = "neither is" if self.path is None else "both are"
            raise ValueError(f"give exactly one of model.path and model.init, here {given} given")
        return self
