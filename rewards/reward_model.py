"""reward_model: a learned model's opinion. It can be gamed in training: give it little weight and watch its metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from rlkit import Group, Score, SequenceModel

_PARAGRAPHS = re.compile(r"\n[ \t]*\n")
_MAX_STEPS = 32


class RewardModel:
    """sigmoid(logit) of a sequence-classification model for each reply, in [0, 1], in batches.

    Give it processes of its own, `actors: {gpus: 1}`: there its batches hold replies of several groups, and it sees a
    GPU.

    A reply that is too long for the model earns 0: were it cut, what is cut off could be anything.

    Args:
        path: the model, a folder or a name on the Hub, in Hugging Face format with one or two labels.
        max_tokens: longest prompt and reply together.
        tokens_per_batch: padded tokens that are scored at once.
        per_step: score the reply up to each of its paragraphs, and take the lowest, so that one bad step shows.
        device: "auto" takes a GPU where there is one.
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
        """One score a sample."""
        return self.score_groups([group])[0]

    def score_groups(self, groups: Sequence[Group]) -> list[list[Score]]:
        """One score a sample, the replies of all groups in the same batches."""
        texts = [[_prefixes(s.response) if self._per_step else [s.response] for s in g.samples] for g in groups]
        pairs = [(g.task.messages, text) for g, own in zip(groups, texts, strict=True) for some in own for text in some]
        logits = iter(self._model.score(pairs))
        return [[_score([next(logits) for _ in some]) for some in own] for own in texts]


def _score(logits: list[float | None]) -> Score:
    known = [logit for logit in logits if logit is not None]
    if len(known) < len(logits):
        return Score(0.0, "too_long", "the reply is longer than the reward model reads")
    # Beyond 50 the exponential changes nothing that a double can hold.
    values = [1 / (1 + math.exp(-max(-50.0, min(50.0, logit)))) for logit in known]
    reason = f"the lowest of {len(values)} steps" if len(values) > 1 else ""
    return Score(min(values), "", reason, {"logits": [round(logit, 4) for logit in known]})


def _prefixes(response: str) -> list[str]:
    """The reply up to the end of each of its first 31 paragraphs, and whole."""
    ends = [match.start() for match in _PARAGRAPHS.finditer(response.rstrip())][: _MAX_STEPS - 1]
    return [*(response[:end] for end in ends), response]
