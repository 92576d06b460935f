"""LoRA and QLoRA with PEFT (arXiv:2106.09685, arXiv:2305.14314): trained adapters on a frozen base model.

The adapters are injected into the transformers model, whose interface does not change.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor, nn
from transformers import BitsAndBytesConfig

from rlkit.algorithm.batch import MicroBatch
from rlkit.errors import RecipeError
from rlkit.learner.policy import Policy, TokenOutputs
from rlkit.learner.shard import copy_weights, whole
from rlkit.recipe.schema import LoraKeys

NAME = "default"
"""PEFT's name for a model's only adapters."""


def quantization(keys: LoraKeys | None, dtype_name: str) -> BitsAndBytesConfig | None:
    """Quantization settings for `from_pretrained`; None if the base model is not quantized."""
    if keys is None or keys.quantize is None:
        return None
    dtype = torch.bfloat16 if dtype_name == "bfloat16" else torch.float32
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=keys.quantize, bnb_4bit_compute_dtype=dtype)


def add_adapters(model: Any, keys: LoraKeys, *, seed: int) -> None:
    """Adds new adapters to a model, in place, and freezes the base. A is random and B zero: outputs do not change yet.

    Args:
        model: A transformers model.
        keys: The recipe's `learner.lora` section.
        seed: Seed of A; the same on every rank.

    Raises:
        RecipeError: learner.lora.target_modules matches no linear layer, or also other layers.
    """
    targets = _linear_layers(model) if keys.target_modules == "all-linear" else keys.target_modules
    # No dropout: it would make the learner's log-probs differ from the sampler's.
    config = LoraConfig(r=keys.rank, lora_alpha=keys.alpha, target_modules=targets, lora_dropout=0.0, bias="none")
    torch.manual_seed(seed)
    try:
        inject_adapter_in_model(config, model)
    except ValueError as e:
        raise RecipeError(
            f"learner.lora.target_modules={keys.target_modules!r} do not fit: {str(e).splitlines()[0]}"
        ) from e
    tied = model.get_input_embeddings().weight
    for name, layer in adapted(model):
        if not isinstance(layer.get_base_layer(), nn.Linear) or layer.get_base_layer().weight is tied:
            raise RecipeError(
                f"learner.lora.target_modules={keys.target_modules!r} includes {name}, which is not a separate linear "
                "layer: choose other layers, or remove the key"
            )


def _linear_layers(model: Any) -> list[str]:
    """Every linear layer except the output layer. PEFT's all-linear would include fused experts, which fail."""
    output = model.get_output_embeddings()
    return [name for name, part in model.named_modules() if isinstance(part, nn.Linear) and part is not output]


def adapted(model: nn.Module) -> Iterator[tuple[str, LoraLayer]]:
    """Yields (name, layer) of every layer that has an adapter."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer))


def merged_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yields (name, gathered weight) with the adapters merged into the base weights: W + alpha / rank B A.

    Names are those before `add_adapters`; 4-bit weights are unpacked. Every rank must iterate over all of them.
    """
    modules = dict(model.named_modules())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            owner, _, kind = name.rpartition(".")
            if ".lora_" in name:
                continue
            module = modules[owner]
            weight = whole(parameter.detach())
            if hasattr(parameter, "quant_state"):
                weight = dequantize_module_weight(module).detach().float()
            if not owner.endswith(".base_layer"):
                yield name, weight
                continue
            owner = owner.removesuffix(".base_layer")
            if kind == "weight":
                weight = weight + _product(modules[owner])
            yield f"{owner}.{kind}", weight


def _product(layer: Any) -> Tensor:
    """[out, in] the matrix that an adapter adds to its layer's weight."""
    a_RI, b_OR = whole(layer.lora_A[NAME].weight), whole(layer.lora_B[NAME].weight)
    product_OI: Tensor = layer.scaling[NAME] * (b_OR @ a_RI)
    return product_OI


class AdapterReference(nn.Module):
    """The KL reference of a policy with adapters: the same base with an earlier copy of the adapters.

    At the start B is zero, so the reference is the base model. It needs a copy of the adapters, not of the model.
    """

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        # In a tuple, so that the policy is no submodule and its weights do not count as the reference's.
        self._policy = (policy,)
        self._current = [p for p in policy.parameters() if p.requires_grad]
        self.kept = nn.ParameterList([nn.Parameter(p.detach().clone(), requires_grad=False) for p in self._current])

    @property
    def network(self) -> Policy:
        """The network that runs."""
        return self._policy[0]

    def forward(self, row: MicroBatch) -> TokenOutputs:
        """Like the policy's forward pass, without gradient."""
        # Swap the values, not the tensors: a sharded network keeps references to its tensors.
        now = [p.detach().clone() for p in self._current]
        with torch.no_grad():
            copy_weights(self.kept, self._current)
            try:
                outputs: TokenOutputs = self.network(row)
            finally:
                copy_weights(now, self._current)
        return outputs

    def refresh(self) -> None:
        """Copies the policy's current adapters."""
        copy_weights(self._current, self.kept)
