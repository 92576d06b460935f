"""Scores texts with a Hugging Face sequence-classification model. Used by reward-model plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Prompt = str | Sequence[Mapping[str, Any]]
"""A user's text, or chat messages."""


class SequenceModel:
    """Scores (prompt, reply) pairs with a sequence-classification model, in batches.

    `start` or the first call loads the model, so that a plugin can be constructed and sent to other processes cheaply.

    Args:
        path: a folder or a name on the Hub, in Hugging Face format, with one label (its logit is the score) or two (the
            score is the log-odds of the second).
        max_tokens: maximum length of prompt and reply together, in tokens.
        tokens_per_batch: tokens in one batch, including padding.
        device: "auto" uses a GPU if there is one.

    Raises:
        ValueError: the model has another number of labels.
        OSError: the model does not exist.
    """

    def __init__(
        self, path: str, *, max_tokens: int = 4096, tokens_per_batch: int = 16_384, device: str = "auto"
    ) -> None:
        from transformers import AutoConfig

        labels = AutoConfig.from_pretrained(path).num_labels
        if labels not in (1, 2):
            raise ValueError(f"{path} has {labels} labels; a reward model has one or two")
        self._path = path
        self._max_tokens = max_tokens
        self._tokens_per_batch = tokens_per_batch
        self._device = device
        self._loaded: tuple[Any, Any] | None = None

    def start(self) -> None:
        """Loads the model. Call it from the plugin's own `start()`.

        Raises:
            OSError: its files are incomplete.
        """
        self._load()

    def score(self, pairs: Sequence[tuple[Prompt, str]]) -> list[float | None]:
        """The score of each pair, in order; None for a pair that is longer than `max_tokens`.

        A pair's score does not depend on the order of the pairs, because batches are formed by length and text.
        """
        tokenizer, _ = self._load()
        rows = [self._encode(tokenizer, prompt, reply) for prompt, reply in pairs]
        scores: list[float | None] = [None] * len(rows)
        order = sorted(
            (i for i, row in enumerate(rows) if len(row) <= self._max_tokens), key=lambda i: (len(rows[i]), rows[i])
        )
        while order:
            count = max(1, min(len(order), self._tokens_per_batch // len(rows[order[-1]])))
            batch, order = order[-count:], order[:-count]
            for i, score in zip(batch, self._score_batch([rows[i] for i in batch]), strict=True):
                scores[i] = score
        return scores

    def _encode(self, tokenizer: Any, prompt: Prompt, reply: str) -> list[int]:
        history = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        messages = [
            # Replace lone surrogates, which tokenizers reject.
            {**message, "content": message["content"].encode("utf-8", "replace").decode()}
            for message in (*history, {"role": "assistant", "content": reply})
        ]
        if tokenizer.chat_template:
            text = tokenizer.apply_chat_template(messages, tokenize=False)
            return list(tokenizer(text, add_special_tokens=False)["input_ids"])
        text = "\n".join(message["content"] for message in messages)
        return list(tokenizer(text)["input_ids"]) or [tokenizer.eos_token_id or 0]

    def _score_batch(self, rows: list[list[int]]) -> list[float]:
        import torch

        tokenizer, model = self._load()
        width = max(map(len, rows))
        filler = tokenizer.pad_token_id
        ids = torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows], device=model.device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=mask).logits.float()
        values = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
        return [float(value) for value in values.cpu()]

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            import torch
            from transformers import AutoModelForSequenceClassification, AutoTokenizer

            device = self._device
            if device == "auto":
                device = "cuda" if torch.cuda.is_available() else "cpu"
            tokenizer = AutoTokenizer.from_pretrained(self._path)
            model = AutoModelForSequenceClassification.from_pretrained(self._path).to(device).eval()
            if tokenizer.pad_token_id is None:
                tokenizer.pad_token = tokenizer.eos_token
            # A decoder's classification head uses the last token that is not padding.
            model.config.pad_token_id = tokenizer.pad_token_id
            self._loaded = tokenizer, model
        return self._loaded
