"""Finds and tests the loss that a stage's `objective` names: a built-in one or a function of the user."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch

from rlkit.algorithm.loss import PolicyLoss
from rlkit.algorithm.objective import POLICY_LOSSES, ClipRange, PolicyLossFunction, PolicyTokens
from rlkit.errors import PluginError
from rlkit.find import find_plugin

CALL = "(tokens, ratio_C, clip)"
"""How a policy loss is called; see PolicyLossFunction."""


def load_policy_loss(name: str, recipe_dir: Path, where: str) -> PolicyLossFunction:
    """The policy loss function with a name. A user's function is called on three test tokens first.

    Args:
        name: A built-in loss, `module:function` or `./file.py:function`.
        recipe_dir: Folder that the file's path is relative to.
        where: The recipe key, for messages.

    Raises:
        PluginError: the function cannot be found or imported, or is not a valid policy loss.
    """
    if name in POLICY_LOSSES:
        return POLICY_LOSSES[name]
    function: PolicyLossFunction = find_plugin(name, recipe_dir, where)
    if problem := _find_problem(function):
        raise PluginError(f"{where}: {name} {problem}")
    return function


def _find_problem(function: Any) -> str:
    """Why a function is not a valid policy loss; "" if it is."""
    tokens, ratio_C, clip = _three_tokens()
    try:
        inspect.signature(function).bind(tokens, ratio_C, clip)
    except TypeError:
        return f"takes {inspect.signature(function)}, and a policy loss is called with {CALL}"
    except ValueError:
        pass  # a C function without a signature
    try:
        found = function(tokens, ratio_C, clip)
    except Exception as e:  # the user's function may raise anything
        return f"raised {type(e).__name__}: {' '.join(str(e).split())}"
    if not isinstance(found, PolicyLoss):
        return f"returned {type(found).__name__}, and a policy loss returns rlkit.PolicyLoss(loss_C, clipped_C)"
    for name, tensor in vars(found).items():
        if not isinstance(tensor, torch.Tensor) or tensor.shape != ratio_C.shape:
            shape = list(tensor.shape) if isinstance(tensor, torch.Tensor) else type(tensor).__name__
            return f"returned a {name} of shape {shape}: it must be [C], as ratio_C is, here [{len(ratio_C)}]"
    if not found.loss_C.requires_grad:
        return "returned a loss without gradient: compute it from ratio_C or tokens.logprobs_C without detaching both"
    return ""


def _three_tokens() -> tuple[PolicyTokens, torch.Tensor, ClipRange]:
    """Test arguments: two sequences, of two tokens and of one."""
    old_C = torch.tensor([-1.0, -2.0, -0.5])
    logprobs_C = torch.tensor([-1.1, -1.5, -0.5], requires_grad=True)
    tokens = PolicyTokens(
        logprobs_C=logprobs_C,
        entropy_C=torch.ones(3) * logprobs_C.exp(),
        advantages_C=torch.tensor([1.0, 1.0, -1.0]),
        old_logprobs_C=old_C,
        sampler_logprobs_C=old_C,
        reference_logprobs_C=None,
        sequence_C=torch.tensor([0, 0, 1]),
    )
    return tokens, torch.exp(logprobs_C - old_C), ClipRange(low=0.2, high=0.2, dual=None)
