"""bfloat16 passes leave float32 weights and float32 sums of gradients behind."""

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from rlkit.learner.precision import autocast, computing

SHAPE = {
    "vocab_size": 61,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}


def model_of(factory=AutoModelForCausalLM, **more):
    torch.manual_seed(5)
    return factory.from_config(AutoConfig.for_model("qwen2", **SHAPE, **more), dtype=torch.float32).train()


def loss_of(model, seed):
    ids = torch.randint(0, 61, (2, 17), generator=torch.Generator().manual_seed(seed))
    return model(input_ids=ids, labels=ids, use_cache=False).loss


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_gradients_are_float32_sums_of_what_a_bfloat16_model_gives(tied, checkpointing):
    model, half = (model_of(tie_word_embeddings=tied) for _ in range(2))
    for parameter in half.parameters():
        parameter.data = parameter.data.bfloat16()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    expected = {}
    for seed in range(3):
        half.zero_grad()
        loss_of(half, seed).backward()
        for name, grad in gradients(half).items():
            expected[name] = expected.get(name, 0.0) + grad.float()

    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    objects = list(model.parameters())
    with computing(model, "bfloat16"):
        loss_of(model, 0).backward()
        loss_of(model, 1).backward()
    # A second visit goes on adding to the same sums.
    with computing(model, "bfloat16"):
        loss_of(model, 2).backward()
    ours = gradients(model)
    assert ours.keys() == expected.keys()
    for name, grad in ours.items():
        assert grad.dtype == torch.float32
        torch.testing.assert_close(grad, expected[name], rtol=0, atol=0)
    assert all(a is b for a, b in zip(objects, model.parameters(), strict=True))
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())


def test_updates_below_a_bfloat16_step_are_not_lost():
    model = model_of()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    weight = model.model.layers[0].mlp.up_proj.weight
    with torch.no_grad():
        weight.fill_(1.0)
    for _ in range(8):
        with computing(model, "bfloat16"):
            loss_of(model, 0).backward()
        weight.grad = torch.full_like(weight, -(2.0**-10))  # an eighth of the step from 1.0
        optimizer.step()
        optimizer.zero_grad()
    assert torch.all(weight == 1.0 + 2.0**-7)
    with computing(model, "bfloat16"):
        assert weight.dtype == torch.bfloat16
        assert torch.all(weight == 1.0 + 2.0**-7)


def test_an_error_inside_restores_the_weights_and_drops_the_hooks():
    model = model_of()
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(IndexError), computing(model, "bfloat16"):
        (loss_of(model, 0) + model(input_ids=torch.tensor([[10_000]])).logits.sum()).backward()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    model.zero_grad()
    loss_of(model, 0).backward()
    plain = model_of()
    loss_of(plain, 0).backward()
    assert all(torch.equal(a, b) for a, b in zip(gradients(model).values(), gradients(plain).values(), strict=True))


def test_frozen_weights_are_copied_and_get_no_gradient():
    model = model_of()
    model.requires_grad_(False)
    model.lm_head.weight.requires_grad_(True)
    with computing(model, "bfloat16"):
        assert all(p.dtype == torch.bfloat16 for p in model.parameters())
        loss_of(model, 0).backward()
    assert list(gradients(model)) == ["lm_head.weight"]
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_a_value_head_and_rotary_tables_stay_float32():
    model = model_of(AutoModelForSequenceClassification, num_labels=1)
    tables = {name: b.clone() for name, b in model.named_buffers()}
    with computing(nn.ModuleDict({"model": model}), "bfloat16"):
        assert model.score.weight.dtype == torch.float32
        assert model.model.norm.weight.dtype == torch.bfloat16
        assert all(torch.equal(tables[name], b) for name, b in model.named_buffers())
        assert all(b.dtype == torch.float32 for b in model.buffers())


@pytest.mark.parametrize(
    ("precision", "weights", "products"),
    [
        ("float32", torch.float32, torch.float32),
        ("bfloat16", torch.bfloat16, torch.bfloat16),
        ("bfloat16_autocast", torch.float32, torch.bfloat16),
    ],
)
def test_what_each_precision_computes_with(precision, weights, products):
    model = model_of()
    up = model.model.layers[0].mlp.up_proj
    with computing(model, precision), autocast(model, precision, "cpu"):
        assert up.weight.dtype == weights
        assert up(torch.randn(3, 64, dtype=weights)).dtype == products
    with autocast(model, precision, "cpu"):  # a pass outside, without a copy of the weights
        assert up(torch.randn(3, 64)).dtype == products
