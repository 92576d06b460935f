"""reward_model: the score of a learned model. Training can exploit it: give it little weight and watch its metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from rlkit import Group, Score, SequenceModel

_PARAGRAPHS = re.compile(r"\n[ \t]*\n")
_MAX_STEPS = 32


class RewardModel:
    """sigmoid(logit) of a sequence-classification model for each reply, in [0, 1].

    Give it its own processes, `actors: {gpus: 1}`: only then a GPU is visible to it, and its batches contain replies of
    several groups.

    A reply that is too long for the model gets 0. It is not truncated, because the model would not see its end.

    Args:
        path: the model, a folder or a name on the Hub, in Hugging Face format with one or two labels.
        max_tokens: maximum length of prompt and reply together, in tokens.
        tokens_per_batch: tokens in one batch, including padding.
        per_step: score the reply up to the end of each paragraph and use the lowest score, to find one bad step.
        device: "auto" uses a GPU if there is one.
    """

    def __init__(
        self,
        path: str,
        max_tokens: int = 4096,
        tokens_per_batch: int = 16_384,
        per_step: bool = False,
        device: str = "auto",
    ) -> None:
        if max_tokens < 1 or tokens_per_batch < 1:
            raise ValueError(f"max_tokens={max_tokens} and tokens_per_batch={tokens_per_batch} must be above 0")
        self._model = SequenceModel(path, max_tokens=max_tokens, tokens_per_batch=tokens_per_batch, device=device)
        self._per_step = per_step

    def start(self) -> None:
        """Loads the model."""
        self._model.start()

    def score(self, group: Group) -> list[Score]:
        """One score per sample."""
        return self.score_groups([group])[0]

    def score_groups(self, groups: Sequence[Group]) -> list[list[Score]]:
        """One score per sample; the batches contain replies of all groups."""
        texts = [[_prefixes(s.response) if self._per_step else [s.response] for s in g.samples] for g in groups]
        pairs = [(g.task.messages, text) for g, own in zip(groups, texts, strict=True) for some in own for text in some]
        logits = iter(self._model.score(pairs))
        return [[_score([next(logits) for _ in some]) for some in own] for own in texts]


def _score(logits: list[float | None]) -> Score:
    known = [logit for logit in logits if logit is not None]
    if len(known) < len(logits):
        return Score(0.0, "too_long", "the reply is longer than the reward model's max_tokens")
    # Clamp at 50 to avoid an overflow: beyond it the sigmoid is 0 or 1 in double precision.
    values = [1 / (1 + math.exp(-max(-50.0, min(50.0, logit)))) for logit in known]
    reason = f"the lowest of {len(values)} steps" if len(values) > 1 else ""
    return Score(min(values), "", reason, {"logits": [round(logit, 4) for logit in known]})


def _prefixes(response: str) -> list[str]:
    """The reply up to the end of each of its first 31 paragraphs, and the whole reply."""
    ends = [match.start() for match in _PARAGRAPHS.finditer(response.rstrip())][: _MAX_STEPS - 1]
    return [*(response[:end] for end in ends), response]
