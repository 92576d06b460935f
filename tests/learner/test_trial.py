"""What a learner finds out about an architecture before it learns."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from rlkit.algorithm.step_arrays import Sequences, StepSamples
from rlkit.errors import RecipeError
from rlkit.learner import network_trial as trial
from rlkit.learner.torch_learner import Learner
from rlkit.models.save import save_model
from rlkit.models.tokenizer import load_tokenizer
from tests.learner.updates import groups_of, spec_of, taken_gradients

SHAPE = {"vocab_size": 384, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
BLIND = {
    "gpt_oss": {"num_key_value_heads": 1, "head_dim": 32, "num_local_experts": 4, "num_experts_per_tok": 2},
    "nemotron": {"num_key_value_heads": 1, "head_dim": 32, "intermediate_size": 64},
    "bloom": {"n_head": 2, "n_layer": 2},
}
"""Architectures that take no notice of where packed sequences begin, in the pinned transformers."""


def saved(kind, tokenizer_path, out, **more):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SHAPE, **more), dtype=torch.float32)
    with torch.no_grad():
        for weight in (p for p in model.parameters() if p.ndim > 1):
            weight.normal_(std=0.15)
    save_model(model, load_tokenizer(str(tokenizer_path)), out)
    return out


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", BLIND)
def test_sequences_that_would_see_each_other_are_refused_and_can_have_rows_of_their_own(
    tiny_model, tmp_path, kind, precision
):
    model = saved(kind, tiny_model, tmp_path / kind, **BLIND[kind])
    with pytest.raises(
        RecipeError, match=r"sequences in one row affect each other.*set learner\.tokens_per_microbatch=1"
    ):
        Learner(spec_of(model, learner={"precision": precision}))
    learner = Learner(spec_of(model, learner={"precision": precision, "tokens_per_microbatch": 1}))
    samples = groups_of(5, num_groups=1)[0].samples
    assert learner.logprobs_of(Sequences.of(samples)) == [
        row for s in samples for row in learner.logprobs_of(Sequences.of([s]))
    ]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_nothing_is_random_while_a_model_with_dropout_learns(tiny_model, tmp_path, checkpointing):
    model = saved("opt", tiny_model, tmp_path / "opt", ffn_dim=64, word_embed_proj_dim=64, dropout=0.3)
    found = []
    for _ in range(2):
        learner = Learner(spec_of(model, learner={"activation_checkpointing": checkpointing}))
        found.append(taken_gradients(learner, groups_of(4))[1]["policy"])
    assert torch.equal(*found)
    assert float(found[0].norm()) > 0


@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_activations_are_worked_out_again_although_the_model_is_in_evaluation_mode(tiny_model, monkeypatch, kind):
    counts = []
    for checkpointing in (False, True):
        learner = Learner(spec_of(tiny_model, kind=kind, learner={"activation_checkpointing": checkpointing}))
        model = (learner.policy if learner.critic is None else learner.critic).model
        assert not any(
            part.training for part in model.modules() if isinstance(part, torch.nn.Dropout | torch.nn.Linear)
        )
        mlp, calls = model.base_model.layers[0].mlp, []
        # A forward hook is not called where the second pass stops early.
        monkeypatch.setattr(mlp, "forward", lambda x, f=mlp.forward, calls=calls: [calls.append(1), f(x)][1])
        learner.train_step(StepSamples.of(groups_of(1)))
        counts.append(len(calls))
    assert counts[1] == counts[0] + 1


def test_a_network_that_answers_at_random_is_refused(tiny_model, monkeypatch):
    outputs = trial._outputs
    monkeypatch.setattr(trial, "_outputs", lambda *args: [x + 0.1 * torch.randn_like(x) for x in outputs(*args)])
    with pytest.raises(RecipeError, match="does not give the same log-probs twice"):
        Learner(spec_of(tiny_model))
