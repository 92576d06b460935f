"""bfloat16 computation with float32 weights: by autocast, or with bfloat16 copies of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn


def autocast(module: nn.Module, precision: str, device: str) -> AbstractContextManager[Any]:
    """Context for a forward pass: bfloat16 autocast, unless the precision is float32 or the weights are bfloat16."""
    if precision == "float32" or any(p.dtype == torch.bfloat16 for p in module.parameters()):
        return nullcontext()
    return torch.autocast(device, torch.bfloat16)


@contextmanager
def computing(module: nn.Module, precision: str) -> Iterator[None]:
    """Context for the forward and backward passes of an update, or passes without gradient; acts only for `bfloat16`.

    Inside, parameters hold bfloat16 copies of their weights, and the gradients of all backward passes are summed in
    float32. At the end, parameters hold their float32 weights again, unchanged, and the sums as `.grad`: gradient
    clipping, the optimizer, saving and publishing only use float32. The parameter objects remain the same. With
    recomputed activations, the backward pass must be inside too.

    Not for sharded modules: FSDP2's mixed precision does the same when it gathers the weights.

    Args:
        module: Its float32 parameters are copied, except those in transformers' `_keep_in_fp32_modules` or in a value
            head (`score`).
        precision: The value of learner.precision.
    """
    if precision != "bfloat16":
        yield
        return
    halved = [(p, p.data) for p in _to_halve(module)]
    # Existing gradients are float32 sums already.
    sums: dict[Tensor, Tensor] = {p: p.grad for p, _ in halved if p.grad is not None}

    def collect(parameter: Tensor) -> None:
        """Adds a parameter's new bfloat16 gradient to its float32 sum."""
        assert parameter.grad is not None
        if parameter in sums:
            sums[parameter].add_(parameter.grad)
        else:
            sums[parameter] = parameter.grad.float()
        parameter.grad = None

    hooks = []
    try:
        for parameter, weight in halved:
            parameter.grad = None
            parameter.data = weight.to(torch.bfloat16)
            if parameter.requires_grad:
                hooks.append(parameter.register_post_accumulate_grad_hook(collect))  # type: ignore[no-untyped-call]
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for parameter, weight in halved:
            parameter.grad = None
            parameter.data = weight
            parameter.grad = sums.get(parameter)


def float32_names(module: nn.Module) -> set[str]:
    """Names of the modules that stay in float32: transformers' `_keep_in_fp32_modules` and a value head `score`."""
    kept = {"score"}
    for part in module.modules():
        kept |= set(getattr(part, "_keep_in_fp32_modules", None) or ())
        kept |= set(getattr(part, "_keep_in_fp32_modules_strict", None) or ())
    return kept


def _to_halve(module: nn.Module) -> list[nn.Parameter]:
    kept = float32_names(module)
    return [
        parameter
        for name, parameter in module.named_parameters()
        if parameter.dtype == torch.float32 and kept.isdisjoint(name.split("."))
    ]
