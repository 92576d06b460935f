"""The policy and the critic: forward passes over packed rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from rlkit.algorithm.batch import MicroBatch
from rlkit.algorithm.logprobs import token_logprobs
from rlkit.learner.attention import packed_kwargs, use_attention
from rlkit.learner.head import logit_form
from rlkit.learner.precision import autocast


class TokenOutputs(NamedTuple):
    """The policy's outputs for a row's completion tokens. A tuple, because FSDP must find the tensors in it."""

    logprobs_C: Tensor
    """[C] float32 log-probability of each token, in nats, at the sampling temperature."""
    entropy_C: Tensor
    """[C] float32 entropy of the distribution that each token was drawn from, in nats."""
    router_logits: tuple[Tensor, ...] = ()
    """For each layer with experts, [T, E] over all tokens of the row; empty for a dense model."""


class Policy(nn.Module):
    """A Hugging Face causal language model whose forward pass returns log-probabilities instead of logits."""

    def __init__(self, model: Any, *, temperature: float, precision: str, device: str, attention: str = "auto") -> None:
        super().__init__()
        use_attention(model, attention)
        self.model = model
        self.temperature = temperature
        self.precision = precision
        self.device = device
        self.routing = routing_of(model)

    def forward(self, row: MicroBatch, only_routers: bool = False) -> TokenOutputs:
        """Log-probs and entropy of the row's completion tokens; with `only_routers`, only the router logits."""
        with autocast(self.model, self.precision, self.device):
            hidden_TH, router_logits = decode(self.model, row, routers=self.routing is not None)
            if only_routers:
                return TokenOutputs(hidden_TH[:0, 0], hidden_TH[:0, 0], router_logits)
            logprobs_C, entropy_C = token_logprobs(
                self.model.get_output_embeddings(),
                hidden_TH[row.predict_C],
                row.targets_C,
                temperature=self.temperature,
                form=logit_form(self.model),
            )
        return TokenOutputs(logprobs_C, entropy_C, router_logits)


class Critic(nn.Module):
    """A Hugging Face sequence classifier with one label, which is evaluated at every completion token."""

    def __init__(self, model: Any, *, precision: str, device: str, attention: str = "auto") -> None:
        super().__init__()
        use_attention(model, attention)
        self.model = model
        self.precision = precision
        self.device = device

    def forward(self, row: MicroBatch) -> Tensor:
        """[C] float32 value before each completion token: the expected reward from there on."""
        with autocast(self.model, self.precision, self.device):
            hidden_TH, _ = decode(self.model, row)
        # Outside of autocast, which would round values to three digits.
        values_C1: Tensor = self.model.score(hidden_TH[row.predict_C].to(self.model.score.weight.dtype))
        # A sum over the one label instead of a view, because FSDP hooks the tensor that forward returns.
        return values_C1.float().sum(-1)


@dataclass(frozen=True)
class Routing:
    """How a mixture of experts routes tokens."""

    num_experts: int
    """Experts of each layer that has experts."""
    top_k: int
    """Experts chosen for each token."""
    aux_coef: float
    """Weight of the load-balancing loss in the model's config; 0.001 if the config has none."""


def routing_of(model: Any) -> Routing | None:
    """The routing of a transformers model, from its config.

    None if the model is dense, or if its choice of experts depends on more than the router logits (a bias, as in
    DeepSeek-V3, or groups): then the logits show neither the load nor how to balance it.
    """
    config = model.config.get_text_config()
    counts = (getattr(config, key, None) for key in ("num_experts", "num_local_experts", "n_routed_experts"))
    num_experts = next((count for count in counts if count), None)
    top_k = getattr(config, "num_experts_per_tok", None)
    if not num_experts or not top_k or (getattr(config, "n_group", None) or 1) > 1:
        return None
    if any(name.endswith("e_score_correction_bias") for name in model.state_dict()):
        return None
    coef = getattr(config, "router_aux_loss_coef", None)
    return Routing(num_experts, top_k, 0.001 if coef is None else coef)


def decode(model: Any, row: MicroBatch, *, routers: bool = False) -> tuple[Tensor, tuple[Tensor, ...]]:
    """([T, H] last hidden states of a packed row, [T, E] router logits of each layer with experts if asked for)."""
    # use_cache=False: with a cache, transformers ignores that positions restart, and packed sequences would attend to
    # each other.
    output = model.base_model(
        input_ids=row.token_ids_T[None],
        position_ids=row.position_ids_T[None],
        use_cache=False,
        **({"output_router_logits": True} if routers else {}),
        **packed_kwargs(row.lengths, row.token_ids_T.device),
    )
    hidden_TH: Tensor = output.last_hidden_state[0]
    return hidden_TH, tuple(getattr(output, "router_logits", None) or ())
