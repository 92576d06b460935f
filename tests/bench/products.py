"""Matrix products of this machine: how fast they are, and in which precisions a comparison is worth its time."""

from __future__ import annotations

import statistics
import time

import torch
from torch.nn import functional

from rlkit.recipe.machine import Machine


def gemm_rates(dtype: torch.dtype, tokens: int = 1024) -> dict[str, float]:
    """GFLOP/s of a large square product and of the products of a layer of Qwen2.5-0.5B's shape."""

    def rate(shapes: list[tuple[int, int, int]]) -> float:
        operands = [(torch.randn(m, k).to(dtype), torch.randn(n, k).to(dtype)) for m, k, n in shapes]
        taken = []
        for _ in range(9):
            began = time.perf_counter()
            for left, right in operands:
                functional.linear(left, right)
            taken.append(time.perf_counter() - began)
        return 2 * sum(m * k * n for m, k, n in shapes) / statistics.median(taken) / 1e9

    layer = [(tokens, 896, 896)] * 2 + [(tokens, 896, 128)] * 2 + [(tokens, 896, 4864)] * 2 + [(tokens, 4864, 896)]
    return {"square": rate([(2048, 2048, 2048)]), "layer": rate(layer)}


def worth_measuring(kinds: list[str], option: str) -> list[str]:
    """Of these kinds of run, those that a machine measures in minutes; prints which it leaves out, and why.

    torch multiplies bfloat16 by a plain loop where the CPU has no instruction for it, some eighty times slower than
    float32: an update of the peer's, whose default that precision is, then takes hours.
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
