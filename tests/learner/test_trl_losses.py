"""The losses equal TRL's own loss code on the same samples, where TRL has the algorithm."""

import pytest
import torch

from rlkit.algorithm.batch import gather
from rlkit.algorithm.shape import compared_advantages
from rlkit.algorithm.step_arrays import Sequences, StepSamples
from rlkit.learner.torch_learner import Learner
from tests.learner.updates import groups_of, near_policy, spec_of, taken_gradients

CASES = {
    # ours, and the same in TRL's arguments
    "grpo": ({"loss_mean": "sequence"}, {"loss_type": "grpo"}),
    "grpo with KL": ({"preset": "grpo"}, {"loss_type": "grpo", "beta": 0.04, "use_bias_correction_kl": False}),
    "weighted KL": ({"preset": "grpo", "kl_weighted": True}, {"loss_type": "grpo", "beta": 0.04}),
    "dr_grpo": ({"preset": "dr_grpo"}, {"loss_type": "dr_grpo", "scale_rewards": "none"}),
    "dapo": ({"preset": "dapo"}, {"loss_type": "dapo", "epsilon_high": 0.28}),
    "gspo": (
        {"preset": "gspo"},
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4},
    ),
    # TRL bounds the ratio itself, we its distance from 1.
    "cispo": ({"preset": "cispo"}, {"loss_type": "cispo", "epsilon_high": 5.0}),
    "dual clip": ({"dual_clip": 1.5}, {"loss_type": "bnpo", "delta": 1.5}),
    "entropy bonus": ({"entropy_coef": 0.05}, {"loss_type": "bnpo", "entropy_coef": 0.05}),
}


def padded(rows, *, left=False, value=0.0):
    longest = max(map(len, rows))
    filled = [[value] * (longest - len(r)) + list(r) if left else list(r) + [value] * (longest - len(r)) for r in rows]
    return torch.tensor(filled)


def trl_inputs(samples, advantages_S, reference):
    inputs = {
        "prompt_ids": padded([s.prompt_ids.tolist() for s in samples], left=True, value=0),
        "prompt_mask": padded([[1] * len(s.prompt_ids) for s in samples], left=True, value=0),
        "completion_ids": padded([s.token_ids.tolist() for s in samples], value=0),
        "completion_mask": padded([[1] * len(s.token_ids) for s in samples], value=0),
        "old_per_token_logps": padded([s.logprobs.tolist() for s in samples]),
        "advantages": advantages_S,
        "num_items_in_batch": torch.tensor(sum(len(s.token_ids) for s in samples)),
    }
    return inputs if reference is None else inputs | {"ref_per_token_logps": padded(reference)}


@pytest.fixture(scope="module")
def trl_trainer(tiny_model, tmp_path_factory):
    """Makes TRL's trainer with given arguments."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    def make(**arguments):
        config = GRPOConfig(
            output_dir=str(tmp_path_factory.mktemp("trl")),
            use_cpu=True,
            bf16=False,
            report_to="none",
            temperature=0.7,
            max_completion_length=40,
            gradient_accumulation_steps=1,
            gradient_checkpointing=False,
            **arguments,
        )
        trainer = GRPOTrainer(
            model=str(tiny_model),
            reward_funcs=lambda completions, **_: [0.0] * len(completions),
            args=config,
            train_dataset=Dataset.from_dict({"prompt": ["1 + 1 ="] * 8}),
        )
        trainer.current_gradient_accumulation_steps = 1
        trainer.model.float().train()
        return trainer

    return make


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_equal_trls(tiny_model, trl_trainer, name):
    ours, theirs = CASES[name]
    trainer = trl_trainer(**theirs)
    learner = Learner(spec_of(tiny_model, max_grad_norm=1e9, **ours))
    groups = near_policy(learner, groups_of(11, num_groups=2))
    samples = [s for group in groups for s in group.samples]
    reference = None
    if learner.reference is not None:
        with torch.no_grad():
            for p in learner.reference.network.model.parameters():
                p.mul_(0.9)
        policy, learner.policy = learner.policy, learner.reference
        reference = learner.logprobs_of(Sequences.of(samples))
        learner.policy = policy
    stage = learner.stage
    batch = gather(StepSamples.of(groups), drop_equal=False, mask_truncated=False)
    advantages_C = compared_advantages(
        batch.rewards_S,
        batch.completion_lengths_S,
        batch.groups_S,
        baseline=stage.baseline,
        normalize=stage.normalize,
    )
    advantages_S = torch.stack([advantages_C[batch.tokens_of(s)][0] for s in range(len(samples))])

    loss = trainer._compute_loss(trainer.model, trl_inputs(samples, advantages_S, reference))
    loss.backward()
    theirs_gradient = torch.cat([p.grad.flatten() for p in trainer.model.parameters()]).double()
    report, found = taken_gradients(learner, groups)
    assert report.metrics["learner/loss"] == pytest.approx(loss.item(), rel=1e-4, abs=1e-6)
    assert float((found["policy"] - theirs_gradient).norm() / theirs_gradient.norm()) < 1e-4
