"""Shards a network over several ranks (FSDP2): each holds a part of every weight, gradient and optimizer moment."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import TCPStore
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor

from rlkit.learner.precision import float32_names
from rlkit.learner.ranks import Ranks


def open_meeting(host: str, num_ranks: int, *, timeout_s: float) -> TCPStore:
    """Opens a rendezvous store for the ranks in this process, on a free port (`.port`)."""
    # Port 0: the system chooses a free port when binding, so no other process can take it in between.
    return TCPStore(host, 0, num_ranks, is_master=True, timeout=timedelta(seconds=timeout_s), wait_for_workers=False)


def join_meeting(host: str, port: int, num_ranks: int, *, timeout_s: float) -> TCPStore:
    """Connects another rank to the rendezvous store."""
    return TCPStore(host, port, num_ranks, is_master=False, timeout=timedelta(seconds=timeout_s))


def connect(rank: int, num_ranks: int, meeting: TCPStore, *, device: str, timeout_s: float) -> Ranks:
    """Joins the learner's process group; no collective operation waits longer than `timeout_s`."""
    limit = timedelta(seconds=timeout_s)
    # Metrics and per-token values are summed on the CPU, weights and gradients on their own device.
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, store=meeting, rank=rank, world_size=num_ranks, timeout=limit)
    return Ranks(rank, num_ranks, dist.new_group(backend="gloo", timeout=limit))


def shard(module: nn.Module, ranks: Ranks, *, device: str, cpu_offload: bool, in_bfloat16: bool) -> None:
    """Shards the weights of a policy or critic over the ranks, in place. Call it before the optimizer is made.

    Each decoder layer is gathered for its forward and backward pass and freed afterwards; the rest (embedding, last
    norm, output layer) is gathered for the whole pass. Gradients are summed over the ranks, not averaged, because the
    loss weights of every micro-batch are divided by the whole update's counts already. They are summed after each
    micro-batch; otherwise every rank would hold a whole gradient.

    Args:
        module: Its `model` is a transformers model, the same on every rank.
        ranks: This process's rank; `connect` was called before.
        device: "cpu" or "cuda".
        cpu_offload: Keep weights, gradients and moments in main memory, and run the optimizer there.
        in_bfloat16: Gather weights as bfloat16 and compute in bfloat16; gradients are summed in float32.
    """
    mesh = init_device_mesh(device, (ranks.size,))
    offload = CPUOffloadPolicy() if cpu_offload else OffloadPolicy()
    full = MixedPrecisionPolicy()
    half = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32) if in_bfloat16 else full
    in_full = _float32_parts(module) if in_bfloat16 else []
    for part in [*in_full, *decoder_layers(module.model), module]:
        precision = full if part in in_full else half
        # Free the root too after a forward pass: after one without a backward pass (log-probs before an update), the
        # gathered weights would otherwise remain and be outdated after the optimizer's step.
        fully_shard(part, mesh=mesh, reshard_after_forward=True, offload_policy=offload, mp_policy=precision)
        assert isinstance(part, FSDPModule)
        part.set_gradient_divide_factor(1.0)
        part.set_force_sum_reduction_for_comms(True)  # gloo has no sum with a factor


def decoder_layers(model: Any) -> list[nn.Module]:
    """The decoder layers, by transformers' `_no_split_modules`."""
    names = set(model._no_split_modules or ())
    return [module for module in model.modules() if type(module).__name__ in names]


def _float32_parts(module: nn.Module) -> list[nn.Module]:
    kept = float32_names(module)
    return [part for name, part in module.named_modules() if name.rpartition(".")[2] in kept]


def whole(tensor: Tensor) -> Tensor:
    """Gathers a tensor if it is sharded; then every rank must call this for the same tensor."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def copy_weights(source: Iterable[Tensor], target: Iterable[Tensor]) -> None:
    """Copies weights from `source` to `target`, which must have the same shapes and sharding."""
    with torch.no_grad():
        for ours, theirs in zip(target, source, strict=True):
            ours.copy_(theirs)
