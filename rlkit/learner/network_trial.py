"""What is tried of a network before its first update: that it answers a sequence alike wherever in a row it stands."""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor

from rlkit.algorithm.batch import pack
from rlkit.errors import RecipeError
from rlkit.learner.policy import Critic, Policy
from rlkit.records import Sequences

LENGTH = 16
"""Tokens of each sequence tried."""
AGREE = 1e-3
"""Mean difference of log-probs (or values) that rounding may make, in nats: of the tiniest models it is 1e-7."""
AGREE_HALF = 0.05
"""The same where products are taken in bfloat16 or over weights of 4 bits."""


def try_rows(network: Policy | Critic, around: AbstractContextManager[None], *, packed: bool) -> None:
    """Asks for one sequence behind a first, once more, and before a third: the three answers have to be the same.

    Some architectures take no notice of where packed sequences begin, others draw random numbers while they learn.
    Every rank must come here.

    Args:
        network: As it is going to learn.
        around: What its passes run in.
        packed: Whether rows are going to hold several sequences; else one alone is asked for, twice.

    Raises:
        RecipeError: the answers differ.
    """
    config = network.model.config.get_text_config()
    g = torch.Generator().manual_seed(0)
    first, probe, third = torch.randint(0, config.vocab_size, (3, LENGTH), generator=g).tolist()
    half = network.precision != "float32" or getattr(network.model, "is_quantized", False)
    limit = AGREE_HALF if half else AGREE
    row = (first, probe) if packed else (probe,)
    with torch.no_grad(), around:
        behind, again = (_answers(network, *row)[-1] for _ in range(2))
        before = _answers(network, probe, third)[0] if packed else behind
    name = type(network.model).__name__
    if not _apart(behind, again) <= limit:
        raise RecipeError(
            f"{name} does not give the same log-probs twice (the mean difference is {_apart(behind, again):.2g} nats): "
            "something in it is random while it learns, or not finite; set its dropout or noise to 0 in its config.json"
        )
    if not _apart(behind, before) <= limit:
        raise RecipeError(
            f"{name} lets sequences of one row see each other (the mean difference of their log-probs is "
            f"{_apart(behind, before):.2g} nats): set learner.tokens_per_microbatch=1, and each has its own row"
        )


def _answers(network: Policy | Critic, *sequences: list[int]) -> tuple[Tensor, ...]:
    """Of each sequence of a row, what the network says of its tokens."""
    lengths, prompt_lengths = ((n,) * len(sequences) for n in (LENGTH, 1))
    tried = Sequences(np.array(sequences, np.int32).reshape(-1), lengths, prompt_lengths)
    (row,) = pack(tried, tokens_per_microbatch=LENGTH * len(sequences))
    found = network(row.to(network.device))
    values_C: Tensor = found if isinstance(found, Tensor) else found.logprobs_C
    return torch.split(values_C.float().cpu(), LENGTH - 1)


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().mean())
