"""Models: loaded, made from nothing, saved; always in Hugging Face format."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
    logging,
    set_seed,
)
from transformers.core_model_loading import revert_weight_conversion

from rlkit.errors import RecipeError
from rlkit.recipe.schema import ModelInit

PAD, EOS, THINK, END_THINK = "<|pad|>", "<|im_end|>", "<think>", "</think>"
START = "<|im_start|>"
# ChatML, as Qwen's own template writes it, without tools and without a default system turn.
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def train_tokenizer(texts: Iterator[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with single digits, a chat template and the think tags.

    Any text can be written with it (256 bytes are always there); merges make the run's own texts short.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 2,
        special_tokens=[PAD, START, EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    # Plain tokens, not special ones: a reply's text keeps its think tags.
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in (THINK, END_THINK)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS, clean_up_tokenization_spaces=False
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def init_model(init: ModelInit, texts: Iterator[str], *, seed: int, out: Path) -> None:
    """Writes a model with random weights and a tokenizer trained on `texts` to the folder `out`."""
    tokenizer = train_tokenizer(texts, init.vocab_size)
    tokenizer.model_max_length = init.max_position_embeddings
    kwargs: dict[str, Any] = {
        "vocab_size": init.vocab_size,
        "hidden_size": init.hidden_size,
        "intermediate_size": init.intermediate_size,
        "num_hidden_layers": init.num_layers,
        "num_attention_heads": init.num_heads,
        "num_key_value_heads": init.num_kv_heads,
        "head_dim": init.hidden_size // init.num_heads,
        "max_position_embeddings": init.max_position_embeddings,
        "tie_word_embeddings": init.tie_word_embeddings,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
        # 0.02 suits widths in the thousands; at 128 signals fade and the model learns several times slower.
        "initializer_range": init.hidden_size**-0.5,
    }
    config = AutoConfig.for_model(init.architecture, **kwargs)
    set_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    save_model(model, tokenizer, out)


def load_tokenizer(path: str) -> Any:
    """The tokenizer of a model folder or Hub name."""
    try:
        return AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError) as e:
        raise RecipeError(f"the tokenizer of {path} cannot be loaded: {str(e).splitlines()[0]}") from e


def load_model(path: str, *, device: str = "cpu", quantization: Any = None) -> Any:
    """A causal language model in float32 (the master weights), in evaluation mode, with every dropout off.

    Dropout would make the learner's log-probs differ from the sampler's.

    Args:
        path: Folder or Hub name.
        device: Where the weights go.
        quantization: A transformers quantization config for weights that stay as they are; None: float32.
    """
    _quiet()
    options = {} if quantization is None else {"quantization_config": quantization, "device_map": {"": device}}
    try:
        config = AutoConfig.from_pretrained(path)
        model = AutoModelForCausalLM.from_pretrained(path, config=config, dtype=torch.float32, **options)
    except (OSError, ValueError, ImportError) as e:
        raise RecipeError(f"model {path} cannot be loaded: {str(e).splitlines()[0]}") from e
    model = _without_noise(model)
    return model if quantization is not None else model.to(device)


def load_critic(path: str, *, device: str = "cpu") -> Any:
    """A sequence classifier with one label in float32: a reward model, or a language model's body and a head of zeros.

    Raises:
        RecipeError: it cannot be loaded, has another number of labels, or no head that reads single tokens.
    """
    _quiet()
    try:
        config = AutoConfig.from_pretrained(path)
        is_classifier = any("SequenceClassification" in name for name in config.architectures or ())
        if is_classifier and config.num_labels != 1:
            raise RecipeError(f"critic {path} has {config.num_labels} labels; a value needs exactly one")
        config.num_labels = 1
        model = AutoModelForSequenceClassification.from_pretrained(path, config=config, dtype=torch.float32)
    except (OSError, ValueError) as e:
        raise RecipeError(f"critic {path} cannot be loaded: {str(e).splitlines()[0]}") from e
    head = getattr(model, "score", None)
    if not isinstance(head, nn.Linear):
        raise RecipeError(f"critic {path} ({type(model).__name__}) has no head that reads single tokens (`score`)")
    if not is_classifier:
        nn.init.zeros_(head.weight)
    return _without_noise(model).to(device)


def check_same_tokens(critic: str, policy: str) -> None:
    """Sees that a critic reads the tokens that the policy writes.

    Raises:
        RecipeError: its tokenizer is missing, or has other numbers for the policy's tokens; it may have more.
    """
    theirs, ours = (load_tokenizer(path).get_vocab() for path in (critic, policy))
    strange = ours.items() - theirs.items()
    if strange:
        raise RecipeError(
            f"critic.path={critic} has another tokenizer than policy {policy} ({len(strange)} of {len(ours)} tokens "
            "differ) and would read other words than were written: take a reward model of the policy's family"
        )


def _quiet() -> None:
    """Ends transformers' bars and reports of loading: what goes wrong is raised."""
    logging.disable_progress_bar()
    logging.set_verbosity_error()


def _without_noise(model: Any) -> Any:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if isinstance(value, float) and ("drop" in name or "jitter" in name):
                setattr(module, name, 0.0)
    return model


def recompute_activations(model: Any) -> None:
    """Has a model keep no activations inside its layers: the backward pass works them out again.

    transformers does so in training mode only, which the rest of the model stays out of: it is for what is random.
    """
    model.gradient_checkpointing_enable({"use_reentrant": False})
    for module in model.modules():
        if getattr(module, "gradient_checkpointing", False):
            module.training = True


def kept_buffers(model: Any) -> dict[str, Tensor]:
    """Copies of what is no parameter and yet in a model's files, by name: a router's bias, a layer's scale."""
    modules = dict(model.named_modules())
    return {
        name: buffer.detach().to("cpu", copy=True)
        for name, buffer in model.named_buffers()
        if name.rpartition(".")[2] not in modules[name.rpartition(".")[0]]._non_persistent_buffers_set
    }


def context_length(path: str) -> int:
    """Longest context of a model, in tokens, from its config."""
    config = AutoConfig.from_pretrained(path)
    return int(getattr(config, "max_position_embeddings", 0) or 2048)


def save_model(model: Any, tokenizer: Any, out: Path, weights: Mapping[str, Tensor] | None = None) -> None:
    """Writes weights, config, generation config and tokenizer to `out`, as `from_pretrained` and vLLM read them.

    Args:
        model: A transformers model.
        tokenizer: Its tokenizer.
        out: Folder, made where it is not there.
        weights: By name, tied ones once; by default the model's own.
    """
    _quiet()
    out.mkdir(parents=True, exist_ok=True)
    if weights is not None and getattr(model, "is_quantized", False):
        model = _skeleton(model)
    model.save_pretrained(out, max_shard_size="5GB", state_dict=None if weights is None else dict(weights))
    tokenizer.save_pretrained(out)
    _keep_generation_end(out, tokenizer)


def stored_form(model: Any, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names and in the pieces in which models are published, as engines expect them.

    transformers keeps the experts of a layer in one tensor; on the Hub, and in vLLM, each is its own.
    """
    pieces: dict[str, Tensor] = revert_weight_conversion(model, dict(weights))
    if pieces.keys() == weights.keys():
        return dict(weights)
    # A piece of a larger tensor would be sent with all of it.
    return {name: w if w.nbytes == w.untyped_storage().nbytes() else w.clone() for name, w in pieces.items()}


def _skeleton(model: Any) -> Any:
    """A model of the same form in float32 without weights: a quantized one would be written as such."""
    config = copy.deepcopy(model.config)
    del config.quantization_config
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.generation_config = model.generation_config
    return plain


def _keep_generation_end(out: Path, tokenizer: Any) -> None:
    """A model made from nothing has no generation config of its own: without one, engines do not know where to stop."""
    path = out / "generation_config.json"
    config = json.loads(path.read_text()) if path.exists() else {}
    if config.get("eos_token_id") is None:
        config |= {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        path.write_text(json.dumps(config, indent=2) + "\n")
