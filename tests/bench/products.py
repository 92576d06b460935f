"""Matrix products of this machine: how fast they are, and in which precisions a comparison is worth its time."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch
from torch.nn import functional

from rlkit.plan.machine import Machine


@dataclass(frozen=True)
class Shape:
    """Of a dense model."""

    hidden_size: int = 896
    intermediate_size: int = 4864
    num_heads: int = 14
    num_kv_heads: int = 2


QWEN_05B = Shape()
"""Qwen2.5-0.5B's layers."""


def now() -> float:
    """Seconds of a clock, once the GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def gemm_rates(
    dtype: torch.dtype, shape: Shape = QWEN_05B, *, tokens: int = 1024, square: int = 2048, device: str = "cpu"
) -> dict[str, float]:
    """GFLOP/s of a large square product and of the products of a layer over so many tokens."""

    def rate(shapes: list[tuple[int, int, int]]) -> float:
        operands = [
            (torch.randn(m, k, device=device).to(dtype), torch.randn(n, k, device=device).to(dtype))
            for m, k, n in shapes
        ]
        taken = []
        for _ in range(9):
            began = now()
            for left, right in operands:
                functional.linear(left, right)
            taken.append(now() - began)
        return 2 * sum(m * k * n for m, k, n in shapes) / statistics.median(taken) / 1e9

    hidden, wide = shape.hidden_size, shape.intermediate_size
    narrow = hidden // shape.num_heads * shape.num_kv_heads
    layer = [(tokens, hidden, hidden)] * 2 + [(tokens, hidden, narrow)] * 2
    layer += [(tokens, hidden, wide)] * 2 + [(tokens, wide, hidden)]
    return {"square": rate([(square, square, square)]), "layer": rate(layer)}


def worth_measuring(kinds: list[str], option: str) -> list[str]:
    """Of these kinds of run, those that a machine measures in minutes; prints which it leaves out, and why.

    torch multiplies bfloat16 by plain loops where the CPU has no instruction for it, five to ninety times slower than
    float32 (the input gradients at 1 GFLOP/s): a comparison with the peer, whose default that is, then takes hours.
    """
    if torch.cuda.is_available() or Machine.detect().bfloat16:
        return kinds
    left_out = [kind for kind in kinds if kind != "float32"]
    print(
        f"{' and '.join(left_out)} left out: this CPU has no bfloat16 products (AVX-512 BF16 or AMX), TRL's default; "
        f"{option} names what is measured all the same, in hours",
        flush=True,
    )
    return ["float32"]
