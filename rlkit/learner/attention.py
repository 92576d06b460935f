"""Attention over packed rows: several sequences end to end, each attending only to itself, without a [T, T] mask."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

from rlkit.errors import RecipeError

PACKED = "rlkit_packed"
"""The name under which transformers finds `packed_attention`."""
HALF = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Bounds:
    """The boundaries of the sequences in one packed row."""

    lengths: tuple[int, ...]
    """Tokens of each sequence, in the row's order; their sum is the row's length."""
    starts: Tensor
    """[S + 1] int32 on the model's device: 0 and the cumulative sums of `lengths`, as kernels expect them."""
    longest: int
    """Length of the longest sequence."""


def use_attention(model: Any, name: str) -> str:
    """Sets a model's attention implementation. Call it before adapters or sharding wrap the model.

    Args:
        model: A transformers model.
        name: auto | packed | sdpa | flash_attention_2 | eager, as `learner.attention`. `auto` is packed, or eager if
            the model's attention scores are capped or have sinks. packed costs the sum of len^2; sdpa and eager build a
            mask of all tokens by all tokens; flash_attention_2 is transformers' integration of that library.

    Returns:
        The name of the implementation that is used.

    Raises:
        RecipeError: the model does not support that implementation, or cannot keep packed sequences apart at all.
    """
    config = model.config.get_text_config()
    # State-space and linear-attention layers carry their state past a sequence's end, whatever the mask.
    mixers = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    obstacle = _obstacle(model, config, mixers)
    if name == "auto":
        name = "eager" if obstacle else "packed"
    if any(word in mixer for mixer in mixers for word in ("linear", "mamba", "conv", "recurrent")):
        raise RecipeError(f"{type(model).__name__} has {sorted(mixers)} layers: packed sequences would interact")
    if name == "packed" and obstacle:
        raise RecipeError(f"learner.attention='packed' does not fit {type(model).__name__}: {obstacle}; use auto")
    try:
        model.set_attn_implementation(PACKED if name == "packed" else name)
    except (ValueError, ImportError) as e:
        reason = str(e).splitlines()[0]
        raise RecipeError(f"learner.attention={name!r} does not fit {type(model).__name__}: {reason}") from e
    return name


def _obstacle(model: Any, config: Any, mixers: set[str]) -> str:
    """Why `packed_attention` would not compute the model's attention; "" if it would."""
    if not getattr(model, "_supports_attention_backend", False):
        return "its layers do not take an attention function"
    if getattr(config, "attn_logit_softcapping", None):
        return "its attention scores are capped"
    if not getattr(model, "_supports_sdpa", False):
        return "its attention is more than a softmax over keys"  # gpt-oss: learned sinks
    if mixers:
        return f"it has {sorted(mixers)} layers"
    return ""


def packed_kwargs(lengths: Sequence[int], device: torch.device | str) -> dict[str, Any]:
    """The extra arguments of a decoder's call for a row of sequences of these lengths.

    They are passed with each call and not stored, so recomputed activations use the same bounds.
    """
    starts = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32).to(device)
    bounds = Bounds(tuple(lengths), starts, max(lengths))
    # transformers' own flash attention reads the same values under the four other names.
    return {
        "packed_bounds": bounds,
        "cu_seq_lens_q": starts,
        "cu_seq_lens_k": starts,
        "max_length_q": bounds.longest,
        "max_length_k": bounds.longest,
    }


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packed_bounds: Bounds | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each sequence of a packed row, as an attention function of transformers.

    Args:
        module: The attention layer; unused.
        query: [1, heads, T, D].
        key: [1, key-value heads, T, D]; if there are fewer key heads, groups of query heads share them.
        value: As key.
        attention_mask: None: transformers builds no mask for a registered attention function.
        packed_bounds: The row's sequences; None: one sequence.
        scaling: Factor of the scores, by default 1 / sqrt(D).
        sliding_window: Number of keys that a query attends to, including its own; None: all up to its own.
        **kwargs: Other arguments of the layers; capped scores and sinks are not supported.

    Returns:
        [1, T, heads, D], and no attention weights.
    """
    for name in ("softcap", "s_aux", "position_bias"):
        assert kwargs.get(name) is None, f"packed attention does not support {name}"
    assert not kwargs.get("dropout"), "dropout would make the learner's log-probs differ from the sampler's"
    assert query.shape[0] == 1
    assert attention_mask is None
    if torch.is_autocast_enabled(query.device.type):
        # Rotary embeddings promote queries and keys to float32 under autocast.
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    bounds = packed_bounds or packed_kwargs([query.shape[2]], query.device)["packed_bounds"]
    window = sliding_window if sliding_window is not None and sliding_window < bounds.longest else None
    if query.is_cuda and query.dtype in HALF:
        return _varlen(query, key, value, bounds, scaling, window)[None], None
    # On a CPU, the backward pass of the bfloat16 kernel takes four to six times as long as in float32.
    wide = (x.float() if x.dtype in HALF and not x.is_cuda else x for x in (query, key, value))
    parts = [
        _one_sequence(q, k, v, scaling, window)
        for q, k, v in zip(*(torch.split(x, list(bounds.lengths), dim=2) for x in wide), strict=True)
    ]
    return torch.cat(parts, dim=2).transpose(1, 2).to(query.dtype), None


def _one_sequence(query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None) -> Tensor:
    """[1, heads, n, D] for one sequence of n tokens."""
    grouped = key.shape[1] != query.shape[1]
    length = query.shape[2]
    if window is None or window >= length:
        return functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=grouped
        )
    distance = torch.arange(length, device=query.device)[:, None] - torch.arange(length, device=query.device)
    band = (distance >= 0) & (distance < window)
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=band, scale=scaling, enable_gqa=grouped)


def _varlen(
    query: Tensor, key: Tensor, value: Tensor, bounds: Bounds, scaling: float | None, window: int | None
) -> Tensor:
    """[T, heads, D] by a variable-length kernel: flash-attn's if it is installed, else torch's."""
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    starts, longest = bounds.starts, bounds.longest
    # Both count the keys before the query itself; torch requires (-1, 0) for plain causal attention.
    span = (-1, 0) if window is None else (window - 1, 0)
    result: Tensor
    if importlib.util.find_spec("flash_attn") is not None:
        kernel = importlib.import_module("flash_attn").flash_attn_varlen_func
        result = kernel(q, k, v, starts, starts, longest, longest, softmax_scale=scaling, causal=True, window_size=span)
    else:
        kernel = importlib.import_module("torch.nn.attention.varlen").varlen_attn
        grouped = k.shape[1] != q.shape[1]
        result = kernel(q, k, v, starts, starts, longest, longest, scale=scaling, window_size=span, enable_gqa=grouped)
    return result


# Not compiled: the lengths differ in every row, so torch.compile would recompile for each.
AttentionInterface.register(PACKED, torch.compiler.disable(packed_attention))  # type: ignore[no-untyped-call]
