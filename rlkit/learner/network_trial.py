"""Tests a network before its first update: a sequence must get the same outputs anywhere in a packed row."""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor

from rlkit.algorithm.batch import pack
from rlkit.algorithm.step_arrays import Sequences
from rlkit.errors import RecipeError
from rlkit.learner.policy import Critic, Policy

LENGTH = 16
"""Tokens of each test sequence."""
AGREE = 1e-3
"""Allowed mean difference of log-probs (or values) from rounding, in nats; for the smallest models it is 1e-7."""
AGREE_HALF = 0.05
"""The same for bfloat16 computation or 4-bit weights."""


def try_rows(network: Policy | Critic, around: AbstractContextManager[None], *, packed: bool) -> None:
    """Runs one sequence after another one, a second time, and before a third one; the three outputs must be equal.

    Some architectures ignore the boundaries of packed sequences, and some use random numbers in training mode. Every
    rank must call this.

    Args:
        network: The network, ready for training.
        around: Context for its forward passes.
        packed: Whether rows will hold several sequences; otherwise the sequence runs alone, twice.

    Raises:
        RecipeError: the outputs differ.
    """
    config = network.model.config.get_text_config()
    g = torch.Generator().manual_seed(0)
    first, probe, third = torch.randint(0, config.vocab_size, (3, LENGTH), generator=g).tolist()
    half = network.precision != "float32" or getattr(network.model, "is_quantized", False)
    limit = AGREE_HALF if half else AGREE
    row = (first, probe) if packed else (probe,)
    with torch.no_grad(), around:
        behind, again = (_outputs(network, *row)[-1] for _ in range(2))
        before = _outputs(network, probe, third)[0] if packed else behind
    name = type(network.model).__name__
    if not _apart(behind, again) <= limit:
        raise RecipeError(
            f"{name} does not give the same log-probs twice (the mean difference is {_apart(behind, again):.2g} nats): "
            "something in it is random in training mode, or not finite; set dropout and noise to 0 in its config.json"
        )
    if not _apart(behind, before) <= limit:
        raise RecipeError(
            f"{name} lets sequences in one row affect each other (the mean difference of their log-probs is "
            f"{_apart(behind, before):.2g} nats): set learner.tokens_per_microbatch=1, so that each has its own row"
        )


def _outputs(network: Policy | Critic, *sequences: list[int]) -> tuple[Tensor, ...]:
    """The log-probs (or values) of the tokens of each sequence, which are packed into one row."""
    lengths, prompt_lengths = ((n,) * len(sequences) for n in (LENGTH, 1))
    tried = Sequences(np.array(sequences, np.int32).reshape(-1), lengths, prompt_lengths)
    (row,) = pack(tried, tokens_per_microbatch=LENGTH * len(sequences))
    found = network(row.to(network.device))
    values_C: Tensor = found if isinstance(found, Tensor) else found.logprobs_C
    return torch.split(values_C.float().cpu(), LENGTH - 1)


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().mean())
