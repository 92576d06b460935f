"""Updates of real learners on drawn samples, as several tests need them."""

import dataclasses

import pytest
import torch
from hypothesis import assume
from torch.distributed.tensor import DTensor, distribute_tensor

from rlkit.algorithm.step_arrays import Sequences, StepSamples
from rlkit.learner.lora import add_adapters
from rlkit.learner.networks import FrozenPolicy
from rlkit.learner.shard import whole
from rlkit.learner.spec import LearnerSpec
from rlkit.learner.torch_learner import Learner
from rlkit.models.pretrained import load_critic, load_model
from rlkit.recipe.schema import GrpoKeys, LearnerKeys, PpoKeys
from rlkit.recipe.schema.presets import GRPO_PRESETS
from rlkit.records import Sample, ScoredGroup, Task
from tests.learner.reference import reference_update

TASK = Task("t", "math", "p", "1")


def spec_of(model, *, kind="grpo", max_tokens=40, learner=None, **stage):
    make = {"grpo": GrpoKeys, "ppo": PpoKeys}[kind]
    if kind == "ppo":
        stage = {"critic": {"learning_rate": 1e-3, "max_grad_norm": 1e9}, **stage}
    keys = make(kind=kind, steps=4, **{"learning_rate": 1e-3, **stage})
    return LearnerSpec(str(model), keys, LearnerKeys(**(learner or {})), 0.7, max_tokens, 1, True, 11)


def groups_of(seed, num_groups=3, size=4, max_tokens=30, logprob=-5.0):
    g = torch.Generator().manual_seed(seed)

    def draw(low, high, n=1):
        return torch.randint(low, high, (n,), generator=g).tolist()

    groups = []
    for _ in range(num_groups):
        prompt_ids = tuple(draw(10, 300, draw(2, 20)[0]))
        samples = []
        for number in range(size):
            ids = tuple(draw(10, 300, draw(1, max_tokens)[0]))
            logprobs = tuple(logprob - x / 10 for x in draw(0, 20, len(ids)))
            samples.append(
                Sample("s", "", len(ids), "length" if number == 1 else "stop", ids, logprobs, 0, 0, prompt_ids)
            )
        rewards = tuple(x / 10 for x in draw(0, 11, size))
        groups.append(ScoredGroup(TASK, tuple(samples), {}, {}, rewards))
    return groups


def gradient(module):
    """All gradients in one row, each by its whole where ranks share it."""
    return torch.cat([whole(p.grad).double().flatten().cpu() for p in module.parameters() if p.grad is not None])


def taken_gradients(learner, groups):
    """The report of a step, and the gradients as its optimizers saw them."""
    found = {}
    learner.optimizer.register_step_pre_hook(lambda *_: found.update(policy=gradient(learner.policy)))
    if learner.critic is not None:
        learner.critic_optimizer.register_step_pre_hook(lambda *_: found.update(critic=gradient(learner.critic)))
    return learner.train_step(StepSamples.of(groups)), found


def moved(model, seed, scale=0.02, only=""):
    """The model with its weights (whose names hold `only`) moved a little: a reference that is not the policy."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in (p for name, p in model.named_parameters() if only in name):
            noise = scale * torch.randn(p.shape, generator=g)
            is_shared = isinstance(p, DTensor)
            p.add_(distribute_tensor(noise, p.device_mesh, p.placements) if is_shared else noise.to(p.device))
    return model


def near_policy(learner, groups):
    """The groups with sampler log-probs a little off the policy's own."""
    samples = [s for group in groups for s in group.samples]
    rows = iter(learner.logprobs_of(Sequences.of(samples)))
    return [
        dataclasses.replace(
            group,
            samples=tuple(
                dataclasses.replace(
                    s,
                    logprobs=tuple(
                        float32(a + b / 4 + 1.3) for a, b in zip(next(rows), s.logprobs.tolist(), strict=True)
                    ),
                )
                for s in group.samples
            ),
        )
        for group in groups
    ]


def float32(value):
    """The nearest number that both sides can hold."""
    return torch.tensor(value, dtype=torch.float32).item()


def measured(ranks, spec, seed):
    """One step of a learner on samples near its policy: (samples, metrics, gradients as its optimizers saw them)."""
    learner = Learner(spec, ranks)
    if spec.keys.lora is not None:
        moved(learner.policy, seed, only=".lora_")  # B is zero in a new adapter
    # Near the policy's own log-probs (about -6 a token) ratios lie on either side of the bounds.
    groups = near_policy(learner, groups_of(seed))
    if isinstance(learner.reference, FrozenPolicy):
        moved(learner.reference.network.model, seed)
    if learner.critic is not None:
        moved(learner.critic.model, seed + 1)
    report, found = taken_gradients(learner, groups)
    return groups, report.metrics, found


def expect_reference(model, spec, seed, groups, metrics, found):
    """Compares what `measured` gave with the float64 reference; rightly undecided examples are dropped."""
    double, reference, critic = load_model(str(model)).double(), None, None
    learning = list(double.parameters())
    if spec.keys.lora is not None:
        learning = merge_by_hand(double, model, spec, seed)
    if spec.stage.needs_reference and spec.keys.lora is None:
        reference = moved(load_model(str(model)), seed).double()
    elif spec.stage.needs_reference:
        reference = load_model(str(model)).double()  # the base itself
    if isinstance(spec.stage, PpoKeys):
        critic = moved(load_critic(str(model)), seed + 1).double()
    expected = reference_update(
        double, groups, spec.stage, temperature=0.7, max_tokens=40, reference_model=reference, critic=critic
    )
    assume(expected.margin > 1e-5 and expected.scale > 0)
    expected.loss.backward()
    theirs = torch.cat([p.grad.flatten() for p in learning if p.grad is not None])
    assert metrics["learner/loss"] == pytest.approx(expected.loss.item(), abs=1e-5 * expected.scale)
    assert float((found["policy"] - theirs).norm() / theirs.norm()) < 1e-5
    if critic is not None:
        expected.critic_loss.backward()
        theirs = gradient(critic)
        assert metrics["critic/loss"] == pytest.approx(expected.critic_loss.item(), rel=1e-5)
        assert float((found["critic"] - theirs).norm() / theirs.norm()) < 1e-5


def merge_by_hand(double, path, spec, seed):
    """Replaces weights of a float64 model by W + alpha / rank B A with the learner's A and B; returns those."""
    twin = load_model(str(path))
    add_adapters(twin, spec.keys.lora, seed=spec.seed)
    moved(twin, seed, only=".lora_")
    learning = []
    for name, layer in twin.named_modules():
        if hasattr(layer, "lora_A"):
            a, b = (x["default"].weight.detach().double().requires_grad_() for x in (layer.lora_A, layer.lora_B))
            linear = double.get_submodule(name)
            merged = linear.weight.detach() + spec.keys.lora.alpha / spec.keys.lora.rank * b @ a
            del linear.weight
            linear.weight = merged
            learning += [a, b]
    return learning


ALGORITHMS = {
    **{name: {"preset": name} for name in GRPO_PRESETS},
    "sequence mean": {"loss_mean": "sequence", "normalize": "none", "clip_high": 0.28},
    "dual clip": {"dual_clip": 1.5},
    "entropy bonus": {"entropy_coef": 0.05, "baseline": "leave_one_out", "normalize": "group"},
    "k1 in the reward": {"kl_coef": 0.1, "kl": "k1", "kl_in": "reward", "old_logprobs": "learner"},
    "weighted k3": {"kl_coef": 0.1, "kl_weighted": True, "loss_mean": "sequence"},
    "k2 in the loss": {"kl_coef": 0.1, "kl": "k2", "mask_truncated": True},
    "learner's own log-probs": {"old_logprobs": "learner"},
    "tokens truncated": {"old_logprobs": "learner", "correction": "truncate", "correction_max": 1.2},
    "tokens masked": {
        "old_logprobs": "learner",
        "correction": "mask",
        "correction_max": 1.4,
        "ratio_level": "sequence",
    },
    "sequences truncated": {"old_logprobs": "learner", "correction": "truncate", "correction_level": "sequence"},
    "sequences masked": {
        "old_logprobs": "learner",
        "correction": "mask",
        "correction_level": "sequence",
        "correction_min": 0.2,
        "correction_max": 5.0,
        "objective": "cispo",
    },
    "ppo": {"kind": "ppo"},
    "ppo with KL": {"kind": "ppo", "kl_coef": 0.1, "kl_in": "reward", "gamma": 0.98, "gae_lambda": 0.8},
    "ppo unscaled": {"kind": "ppo", "normalize": "none", "entropy_coef": 0.01, "loss_mean": "sequence"},
}
