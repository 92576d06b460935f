"""LoRA and QLoRA through PEFT (arXiv:2106.09685, arXiv:2305.14314): adapters that learn over a base that does not.

The adapters sit inside the transformers model, whose own interface stays as it is.
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
"""PEFT's own name for a model's only adapters."""


def quantization(keys: LoraKeys | None, dtype_name: str) -> BitsAndBytesConfig | None:
    """How the base is stored, for `from_pretrained`, and the dtype of its products; None: as it is."""
    if keys is None or keys.quantize is None:
        return None
    dtype = torch.bfloat16 if dtype_name == "bfloat16" else torch.float32
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=keys.quantize, bnb_4bit_compute_dtype=dtype)


def add_adapters(model: Any, keys: LoraKeys, *, seed: int) -> None:
    """Puts new adapters into a model, in place: A random, B zero, so that nothing changes yet; the base is frozen.

    Args:
        model: A transformers model.
        keys: The recipe's.
        seed: Of A; the same on every rank.

    Raises:
        RecipeError: learner.lora.target_modules names no linear layer, or others too.
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
                f"learner.lora.target_modules={keys.target_modules!r} takes in {name}, which is no linear layer of its "
                "own: name others, or leave the key out"
            )


def _linear_layers(model: Any) -> list[str]:
    """Every linear layer but the output's. PEFT's own all-linear takes in fused experts, which it cannot adapt so."""
    output = model.get_output_embeddings()
    return [name for name, part in model.named_modules() if isinstance(part, nn.Linear) and part is not output]


def adapted(model: nn.Module) -> Iterator[tuple[str, LoraLayer]]:
    """(name, layer) of every layer with an adapter."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer))


def merged_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """(name, gathered weight) as the model would have them without adapters of their own: W + alpha / rank B A.

    Names are those before `add_adapters`; 4-bit weights come back unpacked. Every rank must go through all of them.
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
    """[out, in] what an adapter adds to its layer's weight."""
    a_RI, b_OR = whole(layer.lora_A[NAME].weight), whole(layer.lora_B[NAME].weight)
    product_OI: Tensor = layer.scaling[NAME] * (b_OR @ a_RI)
    return product_OI


class AdapterReference(nn.Module):
    """The KL's reference of a policy with adapters: the same base, and the adapters as they once were.

    At the start B is zero and the reference is the base itself. It costs a copy of the adapters, not of the model.
    """

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        # Not as submodules: the policy's weights are not the reference's.
        self._policy = (policy,)
        self._current = [p for p in policy.parameters() if p.requires_grad]
        self.kept = nn.ParameterList([nn.Parameter(p.detach().clone(), requires_grad=False) for p in self._current])

    @property
    def network(self) -> Policy:
        """What runs."""
        return self._policy[0]

    def forward(self, row: MicroBatch) -> TokenOutputs:
        """As the policy's, without gradient."""
        # Values are exchanged, not tensors: a sharded network holds on to its own.
        now = [p.detach().clone() for p in self._current]
        with torch.no_grad():
            copy_weights(self.kept, self._current)
            try:
                outputs: TokenOutputs = self.network(row)
            finally:
                copy_weights(now, self._current)
        return outputs

    def refresh(self) -> None:
        """Takes the adapters as they are now."""
        copy_weights(self._current, self.kept)
