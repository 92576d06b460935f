"""Keys of a stage combine freely: any combination that a recipe may hold, over several updates of a step."""

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rlkit.algorithm.step_arrays import StepSamples
from rlkit.learner.networks import FrozenPolicy
from rlkit.learner.shard import whole
from rlkit.learner.torch_learner import Learner
from rlkit.models.pretrained import load_critic, load_model
from tests.learner.reference import reference_update
from tests.learner.updates import gradient, groups_of, moved, near_policy, spec_of

NUM_GROUPS = 4


def one_of(*values):
    return st.sampled_from(values)


COMMON = {
    "loss_mean": one_of("token", "sequence", "constant"),
    "objective": one_of("clip", "cispo"),
    "ratio_level": one_of("token", "sequence"),
    "clip_low": one_of(0.2, 0.05, 1.0),
    "clip_high": one_of(0.2, 0.28, 4.0),
    "dual_clip": one_of(None, 1.5),
    "kl_coef": one_of(0.0, 0.1),
    "kl": one_of("k1", "k2", "k3"),
    "kl_in": one_of("loss", "reward"),
    "kl_weighted": st.booleans(),
    "entropy_coef": one_of(0.0, 0.05),
    "old_logprobs": one_of("sampler", "learner"),
    "correction": one_of("none", "truncate", "mask"),
    "correction_level": one_of("token", "sequence"),
    "correction_max": one_of(2.0, 1.2, 5.0),
    "correction_min": one_of(0.5, 0.2),
    "mask_truncated": st.booleans(),
    "updates_per_step": one_of(1, 2),
    "passes_per_step": one_of(1, 2),
}
KEYS = {
    "grpo": COMMON
    | {
        "baseline": one_of("group", "leave_one_out", "batch"),
        "normalize": one_of("group", "batch", "none"),
    },
    "ppo": COMMON
    | {"gamma": one_of(1.0, 0.9), "gae_lambda": one_of(0.95, 0.5, 0.0), "normalize": one_of("batch", "none")},
}
VALUE_CLIPS = one_of(0.2, 0.02, None)


@st.composite
def stages(draw, kind):
    """Keys of a stage that a recipe may hold."""
    keys = {name: draw(values) for name, values in KEYS[kind].items()}
    # Keys without effect are refused; leaving them out keeps the draw.
    if keys["kl_coef"] == 0 or keys["kl_in"] == "reward":
        del keys["kl_weighted"]
    if keys["objective"] == "cispo":
        del keys["dual_clip"]
    if keys["correction"] == "none":
        del keys["correction_level"], keys["correction_max"], keys["correction_min"]
    elif keys["correction"] == "truncate":
        del keys["correction_min"]
    if keys["correction"] != "none":
        keys["old_logprobs"] = "learner"
    if keys.get("baseline") == "batch" and keys["normalize"] == "group":
        keys["normalize"] = "none"
    if kind == "ppo":
        keys["critic"] = {"learning_rate": 1e-2, "max_grad_norm": 1e9, "value_clip": draw(VALUE_CLIPS)}
    return keys


class Watched:
    """Weights before each of an optimizer's steps, and the gradient that it saw."""

    def __init__(self, optimizer, module):
        self.weights, self.gradients = [], []
        self._module = module
        optimizer.register_step_pre_hook(self._look)

    def _look(self, *_):
        self.weights.append([whole(p.detach()).clone() for p in self._module.parameters()])
        self.gradients.append(gradient(self._module))

    def at(self, update, double):
        """A float64 model with the weights of that update."""
        with torch.no_grad():
            for p, weight in zip(double.parameters(), self.weights[update], strict=True):
                p.copy_(weight)
        return double


@pytest.mark.parametrize("kind", KEYS)
@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), seed=st.integers(0, 10_000), tokens_per_microbatch=one_of(40, 111, 4096))
def test_every_update_of_any_combination_of_keys_equals_the_float64_reference(
    tiny_model, kind, data, seed, tokens_per_microbatch
):
    keys = data.draw(stages(kind))
    learner_keys = {"tokens_per_microbatch": tokens_per_microbatch}
    try:
        # A small step: a large one would take every ratio beyond its bounds.
        spec = spec_of(tiny_model, kind=kind, learner=learner_keys, learning_rate=1e-4, max_grad_norm=1e9, **keys)
    except ValidationError as e:
        raise AssertionError(f"refused: {keys}") from e
    learner = Learner(spec)
    groups = near_policy(learner, groups_of(seed, num_groups=NUM_GROUPS))
    reference, critic = None, None
    if isinstance(learner.reference, FrozenPolicy):
        moved(learner.reference.network.model, seed)
        reference = moved(load_model(str(tiny_model)), seed).double()
    policies = Watched(learner.optimizer, learner.policy)
    if learner.critic is not None:
        moved(learner.critic.model, seed + 1)
        critics = Watched(learner.critic_optimizer, learner.critic)
    learner.train_step(StepSamples.of(groups))

    count = spec.stage.updates_per_step
    assume(len(policies.gradients) == count * spec.stage.passes_per_step)  # else a part told nothing
    began = [load_model(str(tiny_model)).double(), None]
    policies.at(0, began[0])
    if learner.critic is not None:
        began[1], critic = (load_critic(str(tiny_model)).double() for _ in range(2))
        critics.at(0, began[1])
    for update, found in enumerate(policies.gradients):
        first = NUM_GROUPS // count * (update % count)
        model = policies.at(update, load_model(str(tiny_model)).double())
        expected = reference_update(
            model,
            groups,
            spec.stage,
            temperature=0.7,
            max_tokens=40,
            reference_model=reference,
            critic=critic and critics.at(update, critic),
            before=began,
            part=range(first, first + NUM_GROUPS // count),
        )
        assume(expected.margin > 1e-5 and expected.scale > 0)
        expected.loss.backward()
        theirs = gradient(model)
        assert float((found - theirs).norm()) <= 1e-5 * float(theirs.norm()), f"update {update} of {keys}"
        if critic is not None:
            critic.zero_grad()
            expected.critic_loss.backward()
            theirs = gradient(critic)
            gap = critics.gradients[update] - theirs
            assert float(gap.norm()) <= 1e-5 * float(theirs.norm()), f"critic's update {update} of {keys}"
