"""A loss: the plain policy gradient (REINFORCE), without importance ratio and clipping."""

from typing import Any

from torch import Tensor


def plain_policy_gradient(logprobs_C: Tensor, advantages_C: Tensor, **_: Any) -> Tensor:
    return -logprobs_C * advantages_C
