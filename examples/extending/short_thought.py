"""A reward part: 1 for thoughts of up to `limit` characters, falling for longer ones."""

from dataclasses import dataclass

from rlkit import Sample, Score, Task, split_reply


@dataclass(frozen=True)
class ShortThought:
    limit: int = 40

    def score_one(self, task: Task, sample: Sample) -> Score:
        thought = split_reply(sample.response).thought or ""
        return Score(min(1.0, self.limit / max(1, len(thought))), reason=f"{len(thought)} characters of thought")
