"""The policy's forward pass over packed rows."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rlkit.algorithm.batch import MicroBatch
from rlkit.algorithm.logprobs import token_logprobs


@dataclass(frozen=True)
class TokenOutputs:
    """What the policy says of a row's completion tokens."""

    logprobs_C: Tensor
    """[C] float32 log-probability of each, in nats, at the sampling temperature."""
    entropy_C: Tensor
    """[C] float32 entropy of the distribution each was drawn from, in nats."""


class Policy(nn.Module):
    """A Hugging Face causal language model that answers with log-probabilities instead of logits."""

    def __init__(self, model: Any, *, temperature: float, precision: str, device: str) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.precision = precision
        self.device = device

    def forward(self, row: MicroBatch) -> TokenOutputs:
        """Log-probs and entropy of the row's completion tokens."""
        with autocast(self.precision, self.device):
            hidden_TH = decode(self.model, row)
            logprobs_C, entropy_C = token_logprobs(
                self.model.get_output_embeddings(),
                hidden_TH[row.predict_C],
                row.targets_C,
                temperature=self.temperature,
            )
        return TokenOutputs(logprobs_C, entropy_C)


class Critic(nn.Module):
    """A Hugging Face sequence classifier with one label, read at every completion token."""

    def __init__(self, model: Any, *, precision: str, device: str) -> None:
        super().__init__()
        self.model = model
        self.precision = precision
        self.device = device

    def forward(self, row: MicroBatch) -> Tensor:
        """[C] float32 value before each completion token: what the reply is expected to earn from there on."""
        with autocast(self.precision, self.device):
            hidden_TH = decode(self.model, row)
            values_C: Tensor = self.model.score(hidden_TH[row.predict_C]).squeeze(-1)
        return values_C.float()


def decode(model: Any, row: MicroBatch) -> Tensor:
    """[T, H] last hidden states of a packed row."""
    # use_cache=False: with a cache transformers ignores the restarting positions and packed sequences would see each
    # other.
    output = model.base_model(input_ids=row.token_ids_T[None], position_ids=row.position_ids_T[None], use_cache=False)
    hidden_TH: Tensor = output.last_hidden_state[0]
    return hidden_TH


def autocast(precision: str, device: str) -> AbstractContextManager[Any]:
    """bfloat16 autocast where the precision asks for it."""
    if precision == "bfloat16":
        return torch.autocast(device, torch.bfloat16)
    return nullcontext()
