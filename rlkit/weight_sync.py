"""Learner -> every engine, after each step's last update, stamped with the version and checked.

The weights travel through Ray's object store as one block of bytes, which Ray copies at the speed of memory; a table of
tensors takes it ten times as long (`tests/bench/sampling.py`). The parity gate then compares a canary's log-probs: an
engine that kept old weights anywhere (a packed copy, a tied layer, a cache) is found before it draws a single sample.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.errors import ParityError

if TYPE_CHECKING:
    from torch import Tensor

    from rlkit.records import Sample

CANARY_PROMPTS = 4
CANARY_TOKENS = 16
"""The canary: this many prompts, this many tokens of each, drawn with fixed seeds after every sync."""


ALIGNMENT = 64
"""Bytes: each tensor of a block begins at a multiple of it, as the kernels that read it like best."""


class TensorPlace(NamedTuple):
    """Where a tensor lies in a block of weights."""

    name: str
    """Its Hugging Face name."""
    dtype: str
    """torch's name of its type: "float32"."""
    shape: tuple[int, ...]
    offset: int
    """Of its first byte."""


@dataclass(frozen=True)
class PublishedWeights:
    """A policy's weights on their way to the engines."""

    block: NDArray[np.uint8]
    """[bytes] all tensors, one after the other."""
    places: tuple[TensorPlace, ...]

    def tensors(self) -> dict[str, Tensor]:
        """The weights by name, without a copy: views of `block`, which must not be written to."""
        import torch

        found = {}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given (NumPy array|buffer) is not writable")
            block = torch.from_numpy(self.block)
        for place in self.places:
            dtype = getattr(torch, place.dtype)
            num_bytes = math.prod(place.shape) * dtype.itemsize
            found[place.name] = block[place.offset : place.offset + num_bytes].view(dtype).view(place.shape)
        return found


class WeightBlock:
    """The learner's side: memory that every publication is written into.

    It is kept from one sync to the next: the first write to fresh memory costs several times as much as the copy.
    """

    def __init__(self) -> None:
        self._block: NDArray[np.uint8] = np.empty(0, np.uint8)

    def fill(self, weights: Mapping[str, Tensor]) -> PublishedWeights:
        """Copies the weights into the block. The result is good until the next call."""
        places, size = [], ALIGNMENT  # not empty: an empty array has no strides to view it by
        for name, tensor in weights.items():
            places.append(TensorPlace(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), size))
            size += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
        if len(self._block) != size:
            self._block = np.empty(size, np.uint8)
        published = PublishedWeights(self._block, tuple(places))
        for name, room in published.tensors().items():
            room.copy_(weights[name])
        return published


def load_into_engine(llm: Any, weights: Mapping[str, Tensor]) -> None:
    """Loads weights (Hugging Face names) into a vLLM engine of this process, in place."""
    llm.collective_rpc(_load_into_worker, args=(weights,))
    # Cached prefixes were computed by the old weights.
    if not llm.reset_prefix_cache():
        raise RuntimeError("the engine still holds requests of the old weights: drain it before a weight sync")


def _load_into_worker(worker: Any, weights: Mapping[str, Tensor]) -> None:
    runner = worker.model_runner
    on_cpu = worker.device.type == "cpu"
    with left_unpacked(unmultiplied_embeddings(runner.model) if on_cpu else []):
        runner.reload_weights(weights_iterator=iter(weights.items()))
    if on_cpu:
        repack_cpu_linears(runner.model)
        repack_cpu_experts(runner.model)


def unmultiplied_embeddings(model: Any) -> list[Any]:
    """Input embeddings that are looked up and never multiplied, since an output layer of its own makes the logits."""
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding

    layers = [module for module in model.modules() if isinstance(module, VocabParallelEmbedding)]
    embeddings = [layer for layer in layers if not isinstance(layer, ParallelLMHead)]
    return embeddings if len(embeddings) < len(layers) else []


@contextmanager
def left_unpacked(embeddings: Sequence[Any]) -> Iterator[None]:
    """vLLM makes no packed copies of these layers inside the block: of a small model they take a fifth of a reload."""
    for layer in embeddings:
        layer.quant_method.process_weights_after_loading = lambda layer: None
    try:
        yield
    finally:
        for layer in embeddings:
            del layer.quant_method.process_weights_after_loading  # the class's own shows again


def repack_cpu_linears(model: Any) -> int:
    """Renews the packed copies that vLLM's CPU kernels made of weights they also keep; returns how many.

    reload_weights repacks linear layers whose plain weight was dropped after packing. A layer that keeps its plain
    weight (an output layer tied to the embedding) gets the new weight but multiplies with its old packed copy, on
    the CPUs where packing copies: log-probs are then off by as much as the training moved.
    """
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

    left_out = set(unmultiplied_embeddings(model))
    repacked = 0
    for module in model.modules():
        if module in left_out:
            continue
        weight = getattr(module, "weight", None)
        if hasattr(module, "cpu_linear") and weight is not None and weight.ndim == 2 and weight.numel() > 0:
            dispatch_cpu_unquantized_gemm(module, remove_weight=False)
            repacked += 1
    return repacked


def repack_cpu_experts(model: Any) -> int:
    """Packs freshly loaded experts as vLLM's CPU kernel reads them; returns of how many layers.

    vLLM packs them when its kernel is set up, which happens once: reload_weights leaves plain weights where the kernel
    expects packed ones.
    """
    repacked = 0
    for module in model.modules():
        kernel = getattr(getattr(module, "quant_method", None), "moe_kernel", None)
        if kernel is not None and getattr(module, "w13_weight", None) is not None:
            kernel.fused_experts.process_weights_after_loading(module)
            repacked += 1
    return repacked


def max_logprob_gap(samples: Sequence[Sample], learner_logprobs: Sequence[Sequence[float]]) -> float:
    """Largest difference between the engine's and the learner's log-prob of a canary token, in nats."""
    return worst(
        abs(ours - theirs)
        for sample, row in zip(samples, learner_logprobs, strict=True)
        for theirs, ours in zip(sample.logprobs, row, strict=True)
    )


def worst(gaps: Iterable[float]) -> float:
    """The largest; not a number, if any is: `max` would only see that of the first."""
    return max(gaps, key=lambda gap: (math.isnan(gap), gap))


def check_parity(gap: float, *, limit: float, version: int, precision: str) -> None:
    """The gate.

    Raises:
        ParityError: the gap is above the limit, or not a number.
    """
    if math.isnan(gap):
        raise ParityError(
            f"after the sync of policy version {version} log-probs of the engine or the learner are not numbers: its "
            "weights hold some that are not finite, or a pass overflows; go on from an earlier checkpoint or model"
        )
    if not gap <= limit:
        raise ParityError(
            f"after the sync of policy version {version} an engine's log-probs differ from the learner's by {gap:.3g} "
            f"nats, more than rollout.parity_limit={limit:g} ({precision}): the engine does not hold the learner's "
            "weights, so the run was stopped before it could train on wrong log-probs; raise the limit only if the "
            "model's kernels are known to differ this much"
        )
