"""Log-probs read from hidden states are those of the model's own logits, whatever it does to them."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from rlkit.algorithm.logprobs import token_logprobs
from rlkit.learner.head import logit_form

SHAPE = {
    "vocab_size": 61,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "pad_token_id": 0,
}
MODELS = {
    "qwen2": {},
    "gemma2": {"final_logit_softcapping": 2.0},
    "cohere": {"logit_scale": 0.3},
    "granite": {"logits_scaling": 4.0},
}


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_the_form_of_the_logits_is_the_models_own(kind):
    torch.manual_seed(1)
    config = AutoConfig.for_model(kind, **SHAPE, **MODELS[kind])
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    ids, targets = torch.randint(1, 61, (1, 9)), torch.randint(0, 61, (9,))
    with torch.no_grad():
        hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0]
        ours, _ = token_logprobs(
            model.get_output_embeddings(), hidden, targets, temperature=0.7, form=logit_form(model)
        )
        logits = model(input_ids=ids, use_cache=False).logits[0]
    theirs = torch.log_softmax(logits / 0.7, -1).gather(-1, targets[:, None])[:, 0]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert float(theirs.std()) > 0.1  # else any factor would do
