"""AdamW against its paper, and its 8-bit form against it."""

import dataclasses
import importlib.util

import pytest
import torch
from torch import nn

from rlkit.algorithm.step_arrays import StepSamples
from rlkit.errors import RecipeError
from rlkit.learner.optimizer import build_optimizer
from rlkit.learner.torch_learner import Learner
from rlkit.recipe.schema import GrpoKeys
from tests.learner.updates import groups_of, spec_of

HAS_LIBRARY = importlib.util.find_spec("bitsandbytes") is not None


def test_adamw_is_the_papers_and_decays_matrices_only():
    torch.manual_seed(0)
    layer = nn.Linear(3, 2).double()
    keys = GrpoKeys(kind="grpo", steps=4, learning_rate=0.1, warmup_steps=2, betas=(0.8, 0.9), weight_decay=0.5)
    optimizer, schedule = build_optimizer(layer, keys, num_updates=4, kind="adamw")
    expected = {name: p.detach().clone() for name, p in layer.named_parameters()}
    moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in expected.items()}
    for t, rate in enumerate([0.05, 0.1, 0.1], start=1):
        for name, p in layer.named_parameters():
            p.grad = torch.randn_like(p)
            first, second = moments[name]
            first = 0.8 * first + 0.2 * p.grad
            second = 0.9 * second + 0.1 * p.grad**2
            moments[name] = first, second
            decay = 0.5 if name == "weight" else 0.0
            step = first / (1 - 0.8**t) / ((second / (1 - 0.9**t)).sqrt() + 1e-8)
            expected[name] = expected[name] * (1 - rate * decay) - rate * step
        optimizer.step()
        schedule.step()
        for name, p in layer.named_parameters():
            torch.testing.assert_close(p.detach(), expected[name], rtol=1e-9, atol=1e-12)


def test_the_policys_schedule_begins_with_its_own_first_update(tiny_model):
    critic = {"learning_rate": 1e-3, "warmup_only": 2}
    spec = spec_of(tiny_model, kind="ppo", warmup_steps=2, lr_schedule="linear", learning_rate=0.1, critic=critic)
    learner = Learner(dataclasses.replace(spec, stage=spec.stage.model_copy(update={"steps": 6})))
    rates = [learner.train_step(StepSamples.of(groups_of(step))).metrics["learner/learning_rate"] for step in range(6)]
    assert rates[2:] == pytest.approx([0.05, 0.1, 0.1, 0.05])
    assert learner.critic_schedule.learning_rate == 1e-3


@pytest.mark.skipif(not HAS_LIBRARY, reason="bitsandbytes is not installed")
def test_eight_bit_moments_end_near_adamw_and_continue_bitwise(tiny_model, tmp_path):
    keys = {"optimizer": "adamw_8bit"}
    whole, plain = Learner(spec_of(tiny_model, learner=keys)), Learner(spec_of(tiny_model))
    start = torch.cat([w.flatten() for w in plain.weights().values()])
    for step in range(6):
        if step == 3:
            whole.begin_save(tmp_path / "state").wait()
        whole.train_step(StepSamples.of(groups_of(step)))
        plain.train_step(StepSamples.of(groups_of(step)))
    # Small tensors keep float32 moments; the large ones must not.
    assert torch.uint8 in {v.dtype for s in whole.optimizer.state.values() for v in s.values() if hasattr(v, "dtype")}
    moved, expected = (torch.cat([w.flatten() for w in x.weights().values()]) - start for x in (whole, plain))
    assert float((moved - expected).norm() / expected.norm()) < 0.2
    resumed = Learner(spec_of(tiny_model, learner=keys))
    resumed.load_state(tmp_path / "state")
    for step in range(3, 6):
        resumed.train_step(StepSamples.of(groups_of(step)))
    ours, theirs = resumed.weights(), whole.weights()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.skipif(HAS_LIBRARY, reason="bitsandbytes is installed")
def test_eight_bit_moments_without_the_library_are_one_clear_error(tiny_model):
    with pytest.raises(RecipeError, match="adamw_8bit needs the package bitsandbytes"):
        Learner(spec_of(tiny_model, learner={"optimizer": "adamw_8bit"}))
