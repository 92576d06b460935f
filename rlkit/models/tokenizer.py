"""Tokenizers: loaded, trained for a model made from nothing, and compared."""

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


def load_tokenizer(path: str) -> Any:
    """The tokenizer of a model folder or Hub name."""
    try:
        return AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError) as e:
        raise RecipeError(f"the tokenizer of {path} cannot be loaded: {str(e).splitlines()[0]}") from e


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
