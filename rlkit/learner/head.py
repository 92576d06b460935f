"""Reads from a model's config how its logits are computed from its output layer."""

from __future__ import annotations

from typing import Any

from rlkit.algorithm.logprobs import LogitForm


def logit_form(model: Any) -> LogitForm:
    """The scale factor and the cap of a transformers model's logits."""
    config = model.config.get_text_config()
    scale = 1.0
    for key in ("logit_scale", "lm_head_multiplier"):  # Cohere; Falcon-H1
        scale *= getattr(config, key, None) or 1.0
    scale /= getattr(config, "logits_scaling", None) or 1.0  # Granite
    return LogitForm(scale, getattr(config, "final_logit_softcapping", None))  # Gemma
