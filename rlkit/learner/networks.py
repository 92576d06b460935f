"""Builds a learner's networks: loads them, adds adapters, and shards them over the ranks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

from torch import nn

from rlkit.algorithm.batch import MicroBatch
from rlkit.errors import RecipeError
from rlkit.learner.lora import AdapterReference, add_adapters, quantization
from rlkit.learner.network_trial import try_rows
from rlkit.learner.policy import Critic, Policy, TokenOutputs, routing_of
from rlkit.learner.precision import computing
from rlkit.learner.ranks import Ranks
from rlkit.learner.shard import copy_weights, decoder_layers, shard
from rlkit.learner.spec import LearnerSpec
from rlkit.models.pretrained import load_critic, load_model, recompute_activations
from rlkit.models.tokenizer import check_same_tokens
from rlkit.recipe.schema import LearnerKeys

Network = TypeVar("Network", Policy, Critic)


class Reference(Protocol):
    """The policy that the KL divergence is measured against."""

    @property
    def network(self) -> Policy:
        """The network that runs."""

    def __call__(self, row: MicroBatch) -> TokenOutputs:
        """Like the policy's forward pass, without gradient."""

    def refresh(self) -> None:
        """Copies the policy's current weights."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Its weights."""


class FrozenPolicy(nn.Module):
    """A reference with its own copy of the weights."""

    def __init__(self, policy: Policy, frozen: Policy) -> None:
        super().__init__()
        self.network = frozen
        self._current = list(policy.parameters())

    def forward(self, row: MicroBatch) -> TokenOutputs:
        """Like the policy's forward pass."""
        outputs: TokenOutputs = self.network(row)
        return outputs

    def refresh(self) -> None:
        """See Reference."""
        copy_weights(self._current, self.network.parameters())


def build_policy(spec: LearnerSpec, ranks: Ranks, *, trained: bool = True) -> Policy:
    """Builds the policy or, with `trained=False`, a frozen copy of it."""
    lora = spec.keys.lora
    model = load_model(spec.model_path, device=spec.weights_device, quantization=quantization(lora, spec.keys.dtype))
    model.requires_grad_(trained and lora is None)
    if lora is not None:
        add_adapters(model, lora, seed=spec.seed)
    if trained and spec.keys.activation_checkpointing:
        recompute_activations(model)
    if spec.keys.router_aux_coef is not None and routing_of(model) is None:
        raise RecipeError(
            f"learner.router_aux_coef={spec.keys.router_aux_coef:g} needs a mixture of experts whose routers choose by "
            f"the largest logits, and {spec.model_path} has none: remove the key"
        )
    policy = Policy(
        model,
        temperature=spec.temperature,
        precision=spec.keys.computes_in,
        device=spec.device,
        attention=spec.keys.attention,
    )
    return _spread(policy, spec, ranks, trained=trained)


def build_reference(spec: LearnerSpec, ranks: Ranks, policy: Policy) -> Reference:
    """Builds the stage's KL reference from its start weights; with adapters, it copies only those."""
    if spec.keys.lora is not None:
        return AdapterReference(policy)
    return FrozenPolicy(policy, build_policy(spec, ranks, trained=False))


def build_critic(spec: LearnerSpec, ranks: Ranks, path: str) -> Critic:
    """Builds the critic from a reward model or a language model."""
    if path != spec.model_path:
        check_same_tokens(path, spec.model_path)
    model = load_critic(path, device=spec.weights_device)
    if spec.keys.activation_checkpointing:
        recompute_activations(model)
    keys = spec.keys
    critic = Critic(model, precision=keys.computes_in, device=spec.device, attention=keys.attention)
    return _spread(critic, spec, ranks)


def passes(network: nn.Module, keys: LearnerKeys) -> AbstractContextManager[None]:
    """Context for the passes of a network that sets their precision; sharded networks do that themselves."""
    return nullcontext() if keys.sharded else computing(network, keys.computes_in)


def _spread(network: Network, spec: LearnerSpec, ranks: Ranks, *, trained: bool = True) -> Network:
    keys = spec.keys
    if keys.compile:
        for layer in decoder_layers(network.model):
            layer.compile(dynamic=True)  # rows have many lengths
    if keys.sharded:
        in_bfloat16 = keys.computes_in == "bfloat16"
        shard(network, ranks, device=spec.device, cpu_offload=keys.cpu_offload, in_bfloat16=in_bfloat16)
    if trained:
        try_rows(network, passes(network, keys), packed=keys.microbatch_tokens > 1)
    return network
