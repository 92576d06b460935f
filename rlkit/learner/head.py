"""What a model does between its output layer and its logits."""

from __future__ import annotations

from typing import Any

from rlkit.algorithm.logprobs import LogitForm


def logit_form(model: Any) -> LogitForm:
    """The factor and the bound of a transformers model's logits, from its config."""
    config = model.config.get_text_config()
    scale = 1.0
    for key in ("logit_scale", "lm_head_multiplier"):  # Cohere; Falcon-H1
        scale *= getattr(config, key, None) or 1.0
    scale /= getattr(config, "logits_scaling", None) or 1.0  # Granite
    return LogitForm(scale, getattr(config, "final_logit_softcapping", None))  # Gemma
