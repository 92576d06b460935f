"""A learner goes on from what it saved as if nothing had happened, on as many ranks as there are."""

import pytest
import torch

from rlkit.algorithm.step_arrays import StepSamples
from rlkit.errors import RlkitError
from rlkit.learner.ranks import Ranks
from rlkit.learner.torch_learner import Learner
from tests.learner.updates import groups_of, spec_of

GRPO = {"kl_coef": 0.05, "reference_every": 3, "lr_schedule": "linear", "warmup_steps": 2}
PPO = {"kind": "ppo", "lr_schedule": "cosine"}
SAVED_AFTER, STEPS = 2, 4


def whole_run(ranks, spec, folder):
    """Saves on its way; gives (weights, critic's weights, next random number) at the end."""
    learner = Learner(spec, ranks)
    torch.manual_seed(5)
    for step in range(STEPS):
        if step == SAVED_AFTER:
            learner.begin_save(folder).wait()
            torch.rand(3)
        learner.train_step(StepSamples.of(groups_of(step)))
    return ending(learner)


def resumed_run(ranks, spec, folder):
    learner = Learner(spec, ranks)
    learner.load_state(folder)
    assert learner.steps_done == SAVED_AFTER
    torch.rand(3)
    for step in range(SAVED_AFTER, STEPS):
        learner.train_step(StepSamples.of(groups_of(step)))
    return ending(learner)


def ending(learner):
    critic = learner.critic and [p.detach().clone() for p in learner.critic.parameters()]
    if critic and learner.ranks.size > 1:
        critic = [p.full_tensor() for p in critic]
    return learner.weights(), critic or [], torch.rand(2)


@pytest.mark.parametrize("stage", [GRPO, PPO], ids=["grpo", "ppo"])
def test_one_rank_continues_bitwise(tiny_model, tmp_path, stage):
    spec = spec_of(tiny_model, **stage)
    whole = whole_run(Ranks(), spec, tmp_path / "learner")
    assert_equal(resumed_run(Ranks(), spec, tmp_path / "learner"), whole)


@pytest.mark.parametrize("stage", [GRPO, PPO], ids=["grpo", "ppo"])
def test_two_ranks_continue_bitwise_and_one_goes_on_from_their_state(tiny_model, two_ranks, tmp_path, stage):
    spec = spec_of(tiny_model, learner={"num_workers": 2}, **stage)
    whole = two_ranks.call(whole_run, spec, tmp_path / "learner")
    for ours, theirs in zip(two_ranks.call(resumed_run, spec, tmp_path / "learner"), whole, strict=True):
        assert_equal(ours, theirs)
    alone = resumed_run(Ranks(), spec_of(tiny_model, **stage), tmp_path / "learner")
    assert_near(alone, whole[0])


def test_two_ranks_go_on_from_the_state_of_one(tiny_model, two_ranks, tmp_path):
    whole = whole_run(Ranks(), spec_of(tiny_model, **PPO), tmp_path / "learner")
    shared = two_ranks.call(resumed_run, spec_of(tiny_model, learner={"num_workers": 2}, **PPO), tmp_path / "learner")
    assert_near(shared[0], whole)


def assert_equal(ours, theirs):
    assert list(ours[0]) == list(theirs[0])
    assert all(torch.equal(ours[0][name], theirs[0][name]) for name in ours[0])
    assert len(ours[1]) == len(theirs[1])
    assert all(torch.equal(a, b) for a, b in zip(ours[1], theirs[1], strict=True))
    assert torch.equal(ours[2], theirs[2])


def assert_near(ours, theirs):
    for a, b in zip([*ours[0].values(), *ours[1]], [*theirs[0].values(), *theirs[1]], strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_a_state_of_another_recipe_is_refused_by_name(tiny_model, tmp_path):
    Learner(spec_of(tiny_model)).begin_save(tmp_path / "learner").wait()
    with pytest.raises(RlkitError, match=r"does not fit this recipe: it lacks .* 'critic/"):
        Learner(spec_of(tiny_model, kind="ppo")).load_state(tmp_path / "learner")


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp"])
def test_a_torn_state_is_named(tiny_model, tmp_path, name):
    learner = Learner(spec_of(tiny_model))
    learner.begin_save(tmp_path / "learner").wait()
    torn = tmp_path / "learner" / name
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])
    with pytest.raises(RlkitError, match=r"the checkpoint .*learner cannot be read"):
        learner.load_state(tmp_path / "learner")
