"""A loss of one's own, from one file: it learns as a built-in one does, and what is wrong with it is one sentence."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from rlkit.algorithm.step_arrays import StepSamples
from rlkit.errors import PluginError
from rlkit.learner.policy_loss import load_policy_loss
from rlkit.learner.torch_learner import Learner
from tests.learner.updates import groups_of, near_policy, spec_of

HERE = Path(__file__).parent / "losses"
EXAMPLE = Path(__file__).parents[2] / "examples/extending"
FILE = "./own_losses.py"


def own_spec(model, name, **stage):
    return dataclasses.replace(spec_of(model, objective=f"{FILE}:{name}", **stage), recipe_dir=HERE)


def test_a_loss_from_a_file_learns_bit_for_bit_as_the_built_in_one_it_repeats(tiny_model):
    keys = {"updates_per_step": 2, "kl_coef": 0.05}
    ends = []
    for spec in (spec_of(tiny_model, objective="clip", **keys), own_spec(tiny_model, "same_as_clip", **keys)):
        learner = Learner(spec)
        report = learner.train_step(StepSamples.of(near_policy(learner, groups_of(5))))
        ends.append((learner.weights(), report.metrics["learner/loss"], report.metrics["learner/clip_fraction"]))
    (ours, *figures), (theirs, *their_figures) = ends
    assert figures == their_figures
    assert figures[1] > 0
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(("objective", "moves"), [("pulls_without_advantage", True), ("clip", False)])
def test_a_loss_of_ones_own_sees_samples_without_advantage_too(tiny_model, objective, moves):
    learner = Learner(own_spec(tiny_model, objective) if moves else spec_of(tiny_model, objective=objective))
    equal = [dataclasses.replace(group, rewards=(1.0,) * 4) for group in groups_of(2)]
    assert (learner.train_step(StepSamples.of(equal)).metrics["learner/updates"] == 1) is moves


def test_the_examples_loss_is_the_log_prob_times_the_advantage(tiny_model):
    spec = spec_of(tiny_model, objective="./loss.py:plain_policy_gradient", updates_per_step=2)
    learner = Learner(dataclasses.replace(spec, recipe_dir=EXAMPLE))
    report = learner.train_step(StepSamples.of(near_policy(learner, groups_of(4))))
    assert (report.metrics["learner/updates"], report.metrics["learner/clip_fraction"]) == (2, 0)
    tokens, clip = SimpleNamespace(logprobs_C=torch.tensor([-2.0]), advantages_C=torch.tensor([3.0])), None
    assert learner.objective.policy_loss(tokens, torch.ones(1), clip).loss_C.tolist() == [6.0]


PROBLEMS = {
    "takes_two": r"takes \(tokens, ratio_C\), and a policy loss is called with \(tokens, ratio_C, clip\)",
    "returns_a_tensor": r"returned Tensor, and a policy loss returns rlkit.PolicyLoss",
    "returns_a_mean": r"returned a loss_C of shape \[\]: it must be \[C\], as ratio_C is, here \[3\]",
    "has_no_gradient": "returned a loss without gradient",
    "raises": "raised ZeroDivisionError: no bound",
    "NUMBER": "of type int, and must be a class or a function",
    "same_as_clop": r"has no class or function 'same_as_clop' \(did you mean 'same_as_clip'\?\)",
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_is_no_policy_loss_is_refused_with_the_key_and_the_reason(name):
    with pytest.raises(PluginError, match=rf"^stages\.1\.objective: .*{PROBLEMS[name]}"):
        load_policy_loss(f"{FILE}:{name}", HERE, "stages.1.objective")


def test_a_file_or_module_that_is_not_there_is_named():
    with pytest.raises(PluginError, match=r"stages\.1\.objective: there is no file \./own_loss\.py in the recipe's"):
        load_policy_loss("./own_loss.py:same_as_clip", HERE, "stages.1.objective")
    with pytest.raises(PluginError, match="there is no module named 'no_such_lab'"):
        load_policy_loss("no_such_lab.losses:mine", HERE, "stages.1.objective")
    assert load_policy_loss("tests.learner.losses.own_losses:same_as_clip", HERE, "stages.1.objective")
