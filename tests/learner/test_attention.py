"""Every way to attend over a packed row gives the same log-probs and gradients as each sequence alone."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from rlkit.errors import RecipeError
from rlkit.learner.attention import PACKED, packed_kwargs, use_attention
from tests.tensor_sizes import TensorSizes

SHAPE = {
    "vocab_size": 61,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
MODELS = {
    "qwen2": {},
    "qwen3": {},
    "llama": {},
    "mistral": {"sliding_window": 5},
    "mixtral": EXPERTS,
    "qwen2_moe": {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32,
    },
}
LENGTHS = (7, 1, 23, 12)


def model_of(kind, **more):
    torch.manual_seed(7)
    config = AutoConfig.for_model(kind, **SHAPE, **more)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float64)
    if "experts" in str(model):
        model.set_experts_implementation("eager")  # the others have no float64
    for parameter in model.parameters():  # the usual 0.02 makes attention nearly uniform
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def row_of(lengths, seed=3):
    g = torch.Generator().manual_seed(seed)
    ids_T = torch.randint(0, SHAPE["vocab_size"], (sum(lengths),), generator=g)
    return ids_T, torch.cat([torch.arange(n) for n in lengths])


def logprobs(model, ids_T, positions_T, **kwargs):
    logits_TV = model(input_ids=ids_T[None], position_ids=positions_T[None], use_cache=False, **kwargs).logits[0]
    return torch.log_softmax(logits_TV, -1).gather(-1, ids_T[:, None])[:, 0]


def backward(model, logprobs_T):
    model.zero_grad()
    (logprobs_T * torch.linspace(-1, 1, len(logprobs_T), dtype=torch.float64)).sum().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def alone(model):
    """Log-probs and gradient with each sequence in a call of its own, by plain eager attention (softmax in float32)."""
    model.set_attn_implementation("eager")
    ids_T, _ = row_of(LENGTHS)
    logprobs_T = torch.cat([logprobs(model, ids, torch.arange(len(ids))) for ids in ids_T.split(LENGTHS)])
    return logprobs_T.detach(), backward(model, logprobs_T)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", sorted(MODELS))
def test_packed_sdpa_and_eager_equal_each_sequence_alone(kind, checkpointing):
    model = model_of(kind, **MODELS[kind]).train()
    expected, expected_grad = alone(model)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    for name in ("auto", "packed", "sdpa", "eager"):
        assert use_attention(model, name) == ("packed" if name == "auto" else name)
        ids_T, positions_T = row_of(LENGTHS)
        logprobs_T = logprobs(model, ids_T, positions_T, **packed_kwargs(LENGTHS, "cpu"))
        grad = backward(model, logprobs_T)
        torch.testing.assert_close(logprobs_T.detach(), expected, atol=1e-5, rtol=0)
        assert float((grad - expected_grad).norm() / expected_grad.norm()) < 1e-5


def test_packed_never_builds_a_tensor_of_all_tokens_by_all_tokens():
    model = model_of("qwen2")
    use_attention(model, "packed")
    lengths = (8,) * 40
    ids_T, positions_T = row_of(lengths)
    hidden = packed_kwargs(lengths, "cpu")
    with TensorSizes() as made:
        model.model(input_ids=ids_T[None], position_ids=positions_T[None], use_cache=False, **hidden)
    # The widest activation is the MLP's.
    assert max(made.sizes) == sum(lengths) * SHAPE["intermediate_size"] < sum(lengths) ** 2


def test_bfloat16_autocast_attends_in_bfloat16():
    model = model_of("qwen2").float()
    use_attention(model, "packed")
    ids_T, positions_T = row_of(LENGTHS)
    full = logprobs(model, ids_T, positions_T, **packed_kwargs(LENGTHS, "cpu"))
    with torch.autocast("cpu", torch.bfloat16):
        half = logprobs(model, ids_T, positions_T, **packed_kwargs(LENGTHS, "cpu"))
    assert 0 < float((full - half).detach().abs().max()) < 1.0


@pytest.mark.parametrize(("kind", "more"), [("gemma2", {"attn_logit_softcapping": 5.0}), ("gpt_oss", EXPERTS)])
def test_models_whose_scores_are_more_than_a_softmax_fall_back_and_refuse_packed(kind, more):
    model = model_of(kind, **more).float()
    with pytest.raises(RecipeError, match=r"learner\.attention='packed' does not fit"):
        use_attention(model, "packed")
    assert use_attention(model, "auto") == "eager"
    assert model.config._attn_implementation == "eager"


def test_a_model_with_a_recurrent_state_cannot_be_packed():
    state = {"linear_num_value_heads": 2, "linear_num_key_heads": 2, "linear_key_head_dim": 16}
    layers = ["linear_attention", "full_attention"]
    model = model_of("qwen3_next", layer_types=layers, num_experts=0, linear_value_head_dim=16, **state)
    for name in ("auto", "packed", "sdpa"):
        with pytest.raises(RecipeError, match="packed sequences would interact"):
            use_attention(model, name)


def test_a_library_that_is_not_there_is_named():
    model = model_of("qwen2").float()
    if torch.cuda.is_available():
        pytest.skip("flash-attn may be here")
    with pytest.raises(RecipeError, match=r"learner\.attention='flash_attention_2' does not fit Qwen2ForCausalLM"):
        use_attention(model, "flash_attention_2")
    use_attention(model, "auto")
    assert model.config._attn_implementation == PACKED
