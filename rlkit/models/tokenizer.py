"""Trains the tokenizer of a new model, loads tokenizers, and compares them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from transformers import (
    AutoTokenizer,
    PreTrainedTokenizerFast,
)

from rlkit.errors import RecipeError

PAD, EOS, THINK, END_THINK = "<|pad|>", "<|im_end|>", "<think>", "</think>"


START = "<|im_start|>"


# ChatML as in Qwen's template, without tools and without a default system message.
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def train_tokenizer(texts: Iterator[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Trains a byte-level BPE tokenizer with single digits, a chat template and the think tags.

    It can encode any text, because the vocabulary contains all 256 bytes; merges shorten texts like the given ones.
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
    # Not special tokens, so that decoding keeps the think tags in a reply's text.
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in (THINK, END_THINK)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS, clean_up_tokenization_spaces=False
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def load_tokenizer(path: str) -> Any:
    """Loads the tokenizer of a model folder or Hub name.

    Raises:
        RecipeError: It cannot be loaded.
    """
    try:
        return AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError) as e:
        raise RecipeError(f"the tokenizer of {path} cannot be loaded: {str(e).splitlines()[0]}") from e


def check_same_tokens(critic: str, policy: str) -> None:
    """Checks that a critic has the policy's tokens with the same ids; it may have more tokens.

    Raises:
        RecipeError: The critic's tokenizer is missing or different.
    """
    theirs, ours = (load_tokenizer(path).get_vocab() for path in (critic, policy))
    different = ours.items() - theirs.items()
    if different:
        raise RecipeError(
            f"critic.path={critic} has another tokenizer than policy {policy} ({len(different)} of {len(ours)} tokens "
            "differ), so it would misread the policy's replies: use a reward model of the policy's family"
        )
