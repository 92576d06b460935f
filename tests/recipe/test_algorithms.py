"""The keys that choose an algorithm: presets fill what is not given, and what does not fit is refused."""

import pytest
from pydantic import ValidationError

from rlkit.recipe.schema import GrpoKeys, PpoKeys
from rlkit.recipe.schema.presets import GRPO_PRESETS


@pytest.mark.parametrize("name", GRPO_PRESETS)
def test_a_preset_fills_the_keys_that_are_not_given(name):
    stage = GrpoKeys(kind="grpo", steps=1, preset=name)
    assert {key: getattr(stage, key) for key in GRPO_PRESETS[name]} == GRPO_PRESETS[name]


def test_a_given_key_comes_before_the_presets():
    stage = GrpoKeys(kind="grpo", steps=1, preset="dapo", clip_high=0.5)
    assert (stage.clip_high, stage.dynamic_sampling, stage.sampling_rounds) == (0.5, True, 10)


def test_the_resolved_keys_of_a_preset_load_to_the_same_stage():
    for name in GRPO_PRESETS:
        stage = GrpoKeys(kind="grpo", steps=1, preset=name)
        assert GrpoKeys(**stage.model_dump()) == stage


def test_updates_of_a_stage_are_steps_times_parts_times_passes():
    stage = GrpoKeys(kind="grpo", steps=5, prompts_per_step=4, updates_per_step=2, passes_per_step=3)
    assert stage.num_updates == 30


REFUSED = {
    "correction needs the learner's": ({"correction": "truncate"}, "set old_logprobs to learner"),
    "a bound that cispo lacks": (
        {"objective": "cispo", "dual_clip": 3.0},
        "dual_clip=3.0 bounds the clipped surrogate",
    ),
    "nothing to refresh": ({"reference_every": 5}, "set kl_coef above 0"),
    "a weight of nothing": ({"kl_weighted": True}, "set kl_coef above 0 and kl_in to loss"),
    "a weight of what is in the reward": ({"kl_weighted": True, "kl_coef": 0.1, "kl_in": "reward"}, "kl_in to loss"),
    "a bound of no correction": ({"correction_max": 3.0}, "has no effect with correction=none"),
    "a level of no correction": (
        {"correction_level": "sequence"},
        "correction_level=sequence has no effect with correction=none: set correction to truncate or mask",
    ),
    "a lower bound where only the upper one counts": (
        {"correction": "truncate", "old_logprobs": "learner", "correction_min": 0.9},
        "correction_min=0.9 has no effect with correction=truncate: set correction to mask",
    ),
    "rounds of nothing": ({"dynamic_sampling_rounds": 3}, "set dynamic_sampling to true"),
    "one sample a group": ({"samples_per_prompt": 1}, "here baseline=group and normalize=group"),
    "a group's spread of the step's mean": ({"baseline": "batch"}, "normalize=batch or none"),
    "filling where every group tells": (
        {"baseline": "batch", "normalize": "batch", "dynamic_sampling": True},
        "set dynamic_sampling to false, or baseline to group",
    ),
    "more updates than prompts": (
        {"prompts_per_step": 2, "updates_per_step": 3},
        "updates_per_step=3 is more than prompts_per_step=2",
    ),
    "an unknown objective": ({"objective": "clop"}, "'clip', 'cispo', 'module:function', './file.py:function'"),
    "an objective without its function": ({"objective": "./my_loss.py:"}, "'./file.py:function'"),
    "an unknown preset": ({"preset": "dappo"}, "dapo"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_with_what_to_do(name):
    keys, expected = REFUSED[name]
    with pytest.raises(ValidationError, match=expected):
        GrpoKeys(kind="grpo", steps=3, **keys)


@pytest.mark.parametrize("name", ["./my_loss.py:my_loss", "my_lab.losses:my_loss", "/lab/a b/loss.py:f"])
def test_a_loss_of_ones_own_is_named_as_a_reward_plugin_is(name):
    assert GrpoKeys(kind="grpo", steps=3, objective=name, dual_clip=3.0).objective == name


def test_ppo_leaves_the_policy_steps_of_its_own():
    with pytest.raises(ValidationError, match="leaves none of the stage's steps=3 for the policy"):
        PpoKeys(kind="ppo", steps=3, critic={"warmup_only": 3})
    assert PpoKeys(kind="ppo", steps=3).samples_per_prompt == 1
