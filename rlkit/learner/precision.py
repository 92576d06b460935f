"""bfloat16 computation over float32 weights: by autocast, or with bfloat16 copies of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn


def autocast(module: nn.Module, precision: str, device: str) -> AbstractContextManager[Any]:
    """What a forward pass runs under: bfloat16 autocast, unless the weights are bfloat16 already or nobody asked."""
    if precision == "float32" or any(p.dtype == torch.bfloat16 for p in module.parameters()):
        return nullcontext()
    return torch.autocast(device, torch.bfloat16)


@contextmanager
def computing(module: nn.Module, precision: str) -> Iterator[None]:
    """Around the forward and backward passes of an update (or passes without gradient); nothing but for `bfloat16`.

    There, parameters hold bfloat16 copies of their weights inside. Their gradients, of any number of backward passes,
    add up in float32 as they come. On leaving, parameters hold their float32 weights again, untouched, and the sums as
    `.grad`: clipping, the optimizer and whatever saves or publishes weights see float32 only. Parameters stay the same
    objects. Recomputed activations need the backward pass to be inside too.

    A sharded module must not come here: FSDP2's own mixed precision does the same where it gathers the weights.

    Args:
        module: Its float32 parameters are copied, but for those that it wants in float32 by transformers'
            `_keep_in_fp32_modules`, or has in a head of its own (`score`).
        precision: As learner.precision.
    """
    if precision != "bfloat16":
        yield
        return
    halved = [(p, p.data) for p in _to_halve(module)]
    # Gradients from before are float32 sums like ours.
    sums: dict[Tensor, Tensor] = {p: p.grad for p, _ in halved if p.grad is not None}

    def collect(parameter: Tensor) -> None:
        """Moves a parameter's fresh bfloat16 gradient into its sum."""
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
    """Names of the parts that stay in float32: transformers' `_keep_in_fp32_modules`, and a head `score`."""
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
