"""The composed objective: its terms by hand, and the settings that a stage gives it."""

import dataclasses
import math

import pytest
import torch

from rlkit.algorithm.objective import (
    POLICY_LOSSES,
    ClipRange,
    Correction,
    Objective,
    PolicyTokens,
    policy_objective,
)
from rlkit.recipe.schema import GrpoKeys
from rlkit.recipe.schema.online_section import OBJECTIVES

PLAIN = Objective(
    policy_loss=POLICY_LOSSES["clip"],
    clip=ClipRange(low=0.2, high=0.2, dual=None),
    ratio_level="token",
    correction=None,
    kl="k1",
    kl_coef=0.0,
    kl_weighted=False,
    entropy_coef=0.0,
)


def tokens_of(ratios, advantages, *, sampler_ratios=None, kl=None, entropies=None):
    """Tokens of one sequence whose old log-probs are -1."""
    old_C = torch.full((len(ratios),), -1.0, dtype=torch.float64)
    logprobs_C = (old_C + torch.tensor(ratios, dtype=torch.float64).log()).requires_grad_()
    sampler_C = old_C if sampler_ratios is None else old_C - torch.tensor(sampler_ratios, dtype=torch.float64).log()
    return PolicyTokens(
        logprobs_C=logprobs_C,
        entropy_C=torch.tensor(entropies or [0.0] * len(ratios), dtype=torch.float64),
        advantages_C=torch.tensor(advantages, dtype=torch.float64),
        old_logprobs_C=old_C,
        sampler_logprobs_C=sampler_C,
        reference_logprobs_C=None if kl is None else logprobs_C.detach() - torch.tensor(kl, dtype=torch.float64),
        sequence_C=torch.zeros(len(ratios), dtype=torch.int64),
    )


def test_the_examples_of_the_docstring():
    tokens = tokens_of([1.5], [1.0], entropies=[2.0])
    assert policy_objective(tokens, PLAIN).loss_C.tolist() == pytest.approx([-1.2])
    with_entropy = dataclasses.replace(PLAIN, entropy_coef=0.1)
    assert policy_objective(tokens, with_entropy).loss_C.tolist() == pytest.approx([-1.4])


def test_every_term_adds_what_its_key_says():
    tokens = tokens_of([1.1, 1.5], [1.0, -2.0], sampler_ratios=[3.0, 1.5], kl=[0.3, 0.4], entropies=[1.0, 2.0])
    correction = Correction("truncate", "token", at_most=2.0, at_least=0.5)
    objective = dataclasses.replace(PLAIN, correction=correction, kl_coef=0.1, kl_weighted=True, entropy_coef=0.01)
    found = policy_objective(tokens, objective)
    # -r A, times the correction, plus 0.1 KL r, less 0.01 entropy.
    expected = [-1.1 * 2.0 + 0.1 * 0.3 * 1.1 - 0.01, 3.0 * 1.5 + 0.1 * 0.4 * 1.5 - 0.02]
    assert found.loss_C.tolist() == pytest.approx(expected)
    assert found.correction_C.tolist() == pytest.approx([2.0, 1.5])
    assert found.kl_C.tolist() == pytest.approx([0.3, 0.4])
    assert found.ratio_C.tolist() == pytest.approx([1.1, 1.5])
    assert found.gap_C.tolist() == pytest.approx([math.log(1.1) + math.log(3), 2 * math.log(1.5)])
    assert found.clipped_C.tolist() == [False, False]


def test_a_kl_in_the_reward_is_reported_and_not_added():
    stage = GrpoKeys(kind="grpo", steps=1, kl_coef=0.1, kl="k1", kl_in="reward")
    tokens = tokens_of([1.0], [1.0], kl=[0.5])
    found = policy_objective(tokens, Objective.of(stage, POLICY_LOSSES["clip"]))
    assert (found.loss_C.tolist(), found.kl_C.tolist()) == ([-1.0], [0.5])


def test_without_a_reference_the_kl_is_to_the_old_policy():
    found = policy_objective(tokens_of([2.0], [1.0]), PLAIN)
    assert found.kl_C.tolist() == pytest.approx([0.5 + math.log(2) - 1])
    assert not found.kl_C.requires_grad


@pytest.mark.parametrize(
    ("keys", "needs_advantage"),
    [
        ({}, True),
        ({"kl_coef": 0.1}, False),
        ({"kl_coef": 0.1, "kl_in": "reward", "kl": "k1"}, True),
        ({"entropy_coef": 0.1}, False),
    ],
)
def test_tokens_without_advantage_add_something_only_by_a_kl_or_an_entropy_term(keys, needs_advantage):
    stage = GrpoKeys(kind="grpo", steps=1, **keys)
    assert Objective.of(stage, POLICY_LOSSES["cispo"]).needs_advantage is needs_advantage
    assert not Objective.of(stage, lambda tokens, ratio_C, clip: None).needs_advantage


def test_the_recipe_knows_the_built_in_losses():
    assert tuple(POLICY_LOSSES) == OBJECTIVES
