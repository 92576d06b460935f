"""The policy's forward pass over packed rows."""

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
    """What the policy says of a row's completion tokens. A tuple: sharding looks for tensors in what forward gives."""

    logprobs_C: Tensor
    """[C] float32 log-probability of each, in nats, at the sampling temperature."""
    entropy_C: Tensor
    """[C] float32 entropy of the distribution each was drawn from, in nats."""
    router_logits: tuple[Tensor, ...] = ()
    """[T, E] of each layer with experts, over all tokens of the row; empty for a dense model."""


class Policy(nn.Module):
    """A Hugging Face causal language model that answers with log-probabilities instead of logits."""

    def __init__(self, model: Any, *, temperature: float, precision: str, device: str, attention: str = "auto") -> None:
        super().__init__()
        use_attention(model, attention)
        self.model = model
        self.temperature = temperature
        self.precision = precision
        self.device = device
        self.routing = routing_of(model)

    def forward(self, row: MicroBatch, only_routers: bool = False) -> TokenOutputs:
        """Log-probs and entropy of the row's completion tokens; `only_routers`: what the routers say and no more."""
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
    """A Hugging Face sequence classifier with one label, read at every completion token."""

    def __init__(self, model: Any, *, precision: str, device: str, attention: str = "auto") -> None:
        super().__init__()
        use_attention(model, attention)
        self.model = model
        self.precision = precision
        self.device = device

    def forward(self, row: MicroBatch) -> Tensor:
        """[C] float32 value before each completion token: what the reply is expected to earn from there on."""
        with autocast(self.model, self.precision, self.device):
            hidden_TH, _ = decode(self.model, row)
        # Outside: autocast would round values to three digits.
        values_C1: Tensor = self.model.score(hidden_TH[row.predict_C].to(self.model.score.weight.dtype))
        # A sum over the one label, not a view of it: sharding hooks the tensor that forward gives.
        return values_C1.float().sum(-1)


@dataclass(frozen=True)
class Routing:
    """How a mixture of experts chooses."""

    num_experts: int
    """Of each layer that has some."""
    top_k: int
    """Experts of each token."""
    aux_coef: float
    """Weight of the load-balancing loss that the model's makers chose; 0.001 where the config has none."""


def routing_of(model: Any) -> Routing | None:
    """The routing of a transformers model, from its config.

    None: it is dense, or chooses by more than its routers' logits (by a bias of its own, as DeepSeek-V3, or by groups):
    what they say would tell neither the load nor how to balance it.
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
    """([T, H] last hidden states of a packed row, [T, E] router logits of each layer with experts where asked for)."""
    # use_cache=False: with a cache transformers ignores the restarting positions and packed sequences would see each
    # other.
    output = model.base_model(
        input_ids=row.token_ids_T[None],
        position_ids=row.position_ids_T[None],
        use_cache=False,
        **({"output_router_logits": True} if routers else {}),
        **packed_kwargs(row.lengths, row.token_ids_T.device),
    )
    hidden_TH: Tensor = output.last_hidden_state[0]
    return hidden_TH, tuple(getattr(output, "router_logits", None) or ())
