"""Small mixtures of experts, of every family that the tests name."""

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from rlkit.models.save import save_model
from rlkit.models.tokenizer import load_tokenizer

SHAPE = {
    "vocab_size": 384,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 2048,
}
FAMILIES = {
    "mixtral": {"num_local_experts": 4},
    "qwen2_moe": {"num_experts": 4, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32},
    "qwen3_moe": {"num_experts": 4, "moe_intermediate_size": 32, "norm_topk_prob": True},
}
BIASED = {"glm4_moe": {"n_routed_experts": 4, "n_group": 1, "topk_group": 1, "moe_intermediate_size": 32}}
"""Those whose routers choose by more than their logits."""


def save_mixture(kind, tokenizer_path, out):
    """Writes a random model of a family to a folder, with the tokenizer of another."""
    torch.manual_seed(4)
    config = AutoConfig.for_model(kind, **SHAPE, **(FAMILIES | BIASED)[kind])
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():  # the usual 0.02 makes routers nearly indifferent
            parameter.normal_(std=0.1)
    save_model(model, load_tokenizer(str(tokenizer_path)), out)
