"""Loads weights into a running vLLM engine, including the packed copies that its kernels use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def load_into_engine(llm: Any, weights: Mapping[str, Tensor]) -> None:
    """Loads weights (Hugging Face names) into a vLLM engine of this process, in place."""
    llm.collective_rpc(_load_into_worker, args=(weights,))
    # Cached prefixes were computed with the old weights.
    if not llm.reset_prefix_cache():
        raise RuntimeError("the engine still has requests with the old weights: finish them before a weight sync")


def _load_into_worker(worker: Any, weights: Mapping[str, Tensor]) -> None:
    runner = worker.model_runner
    on_cpu = worker.device.type == "cpu"
    with left_unpacked(unmultiplied_embeddings(runner.model) if on_cpu else []):
        runner.reload_weights(weights_iterator=iter(weights.items()))
    if on_cpu:
        repack_cpu_linears(runner.model)
        repack_cpu_experts(runner.model)


def unmultiplied_embeddings(model: Any) -> list[Any]:
    """Input embeddings that are only looked up and never used in a product: the model has a separate output layer."""
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding

    layers = [module for module in model.modules() if isinstance(module, VocabParallelEmbedding)]
    embeddings = [layer for layer in layers if not isinstance(layer, ParallelLMHead)]
    return embeddings if len(embeddings) < len(layers) else []


@contextmanager
def left_unpacked(embeddings: Sequence[Any]) -> Iterator[None]:
    """Keeps vLLM from packing these layers inside the block; with a small model, packing takes a fifth of a reload."""
    for layer in embeddings:
        layer.quant_method.process_weights_after_loading = lambda layer: None
    try:
        yield
    finally:
        for layer in embeddings:
            del layer.quant_method.process_weights_after_loading  # uncovers the class's method


def repack_cpu_linears(model: Any) -> int:
    """Packs the weights of linear layers again for vLLM's CPU kernels; returns the number of layers.

    vLLM's reload_weights packs only layers that dropped their plain weight after packing. A layer that keeps its plain
    weight (an output layer tied to the embedding) gets the new weight but, on CPUs where packing makes a copy, still
    computes with the old one: its log-probs would be those of the old weights.
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
    """Packs newly loaded expert weights for vLLM's CPU kernel; returns the number of layers.

    vLLM packs them only once, when it sets up the kernel. reload_weights then stores plain weights where the kernel
    expects packed ones.
    """
    repacked = 0
    for module in model.modules():
        kernel = getattr(getattr(module, "quant_method", None), "moe_kernel", None)
        if kernel is not None and getattr(module, "w13_weight", None) is not None:
            kernel.fused_experts.process_weights_after_loading(module)
            repacked += 1
    return repacked
