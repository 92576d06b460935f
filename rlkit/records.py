"""The records that flow between the stages: rlkit's architecture in one file.

    Task -> Sample -> Group -> ScoredGroup -> TrainBatch -> weights vN

Every record is frozen: a stage makes new records, it never fills in another stage's blanks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Task:
    """One problem with what is needed to check an answer to it."""

    id: str
    """Unique within a run; names the source and the row."""
    kind: str
    """What judges it: "math", "code", "exact", "choice", "numeric" or a kind that a plugin adds."""
    prompt: str
    """The user's words, before the prompt template and the chat template."""
    reference: Any
    """math, exact, choice, numeric: the gold answer as text, or a list of texts of which each is right; code: {"mode",
    "entry_point", "tests" | "test_code"} (see rlkit.verify.code.code_judge); a plugin's kind: what its judge takes."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Free columns; "domain" and "difficulty" are understood by filters and mixtures, "choices", "tolerance" and
    "abs_tolerance" by the accuracy part."""
    history: tuple[Mapping[str, Any], ...] = ()
    """Messages before `prompt`, each with "role" and "content": the task's own system message and earlier turns."""

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The whole prompt as chat messages, `prompt` as the user's last one."""
        return [*map(dict, self.history), _asked(self.prompt)]

    @property
    def wording(self) -> str:
        """The whole prompt as one text: two tasks with equal wordings ask the same."""
        return wording_of(self.history, self.prompt)


def wording_of(history: Sequence[Mapping[str, Any]], prompt: str) -> str:
    """`prompt` alone, or after the messages before it: "system: Be brief.\n\nuser: What is 1 + 1?"."""
    if not history:
        return prompt
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in (*history, _asked(prompt)))


def _asked(prompt: str) -> dict[str, Any]:
    return {"role": "user", "content": prompt}


@dataclass(frozen=True)
class Sample:
    """One completion of a task, as the sampler drew it."""

    id: str
    """"<task id>#<sample number>"."""
    response: str
    """The reply's text; begins with the forced "<think>" where the recipe forces it."""
    num_tokens: int
    """Tokens drawn (the forced start is not counted)."""
    finish_reason: str = "stop"
    """"stop" (end of text or a stop string) or "length" (cut at max_tokens)."""
    token_ids: tuple[int, ...] = ()
    """[T] drawn tokens, the end-of-text token included."""
    logprobs: tuple[float, ...] = ()
    """[T] log-probability of each drawn token under the sampler, at the sampling temperature, in nats."""
    seed: int = 0
    """Seed of this request alone; its text is a function of (weights, prompt ids, seed, sampling keys)."""
    policy_version: int = 0
    """Step whose last update made the weights it was drawn from (the oldest, if they changed under it)."""
    prompt_ids: tuple[int, ...] = ()
    """[P] tokens the model was shown, the forced start of the reply included."""


NOT_APPLICABLE = "not_applicable"
"""The verdict of a part that does not apply to a sample."""


@dataclass(frozen=True)
class Score:
    """One reward part's opinion of one sample."""

    value: float | None
    """Finite number, or None: could not be graded, so the sample leaves the baseline and the loss; with the verdict
    "not_applicable", the part says nothing of this sample, and the other parts' sum counts."""
    verdict: str = ""
    """A short name: "correct", "wrong", "timeout", ..."""
    reason: str = ""
    """One sentence for a person."""
    evidence: Any = None
    """What the value rests on, JSON-serialisable."""

    @classmethod
    def not_applicable(cls, reason: str, evidence: Any = None) -> Score:
        """This part does not apply to this sample: its weight leaves the sample's sum (see `scoring.combine`)."""
        return cls(None, NOT_APPLICABLE, reason, evidence)

    @property
    def applies(self) -> bool:
        """False where the part does not apply to the sample; True where it graded it, or could not."""
        return self.value is not None or self.verdict != NOT_APPLICABLE


@dataclass(frozen=True)
class Verdict:
    """A judge's finding about one answer. Judges know nothing of rewards."""

    verdict: str
    """math: "correct" | "wrong" | "unscored";
    code: "pass" | "fail" | "timeout" | "memory" | "output" | "killed" | "unscored"."""
    detail: str = ""
    """Why, in a few words: "unparsable", "timeout", "memory", "crash", or what differed."""
    seconds: float = 0.0
    """Wall-clock seconds spent judging."""
    passed: int = 0
    """Code: tests passed."""
    total: int = 0
    """Code: tests run."""
    tests: tuple[Mapping[str, Any], ...] = ()
    """Code: {"verdict", "seconds", "cpu_seconds", "detail"} of each test, in order."""
    hidden_passed: int = 0
    """Code: tests passed of those that are held back: no part of the verdict, of passed, total or tests."""
    hidden_total: int = 0
    """Code: tests held back."""
    tier: str = ""
    """Code: what isolated the program; empty where none ran."""
    cpu_seconds: float = 0.0
    """Code: CPU that the program took on all its tests, the start of each process included."""


@dataclass(frozen=True)
class Group:
    """A task and the samples of it drawn in one step: what a reward plugin is given."""

    task: Task
    samples: tuple[Sample, ...]
    scores: Mapping[str, tuple[Score, ...]] = field(default_factory=dict)
    """By part name, the scores of the parts that the plugin names in `needs`."""


@dataclass(frozen=True)
class ScoredGroup:
    """A group with every part's scores and the combined reward."""

    task: Task
    samples: tuple[Sample, ...]
    parts: Mapping[str, tuple[Score, ...]]
    """By part name, one score a sample, in the samples' order."""
    weights: Mapping[str, float]
    """By part name; they add to 1."""
    rewards: tuple[float | None, ...]
    """Total of each sample; None where a part could not be graded."""
    seconds: Mapping[str, float] = field(default_factory=dict, compare=False)
    """By part name, wall-clock seconds that its plugin took for the group; no part of what two runs have in common."""


@dataclass(frozen=True)
class TrainBatch:
    """The sequences of a step, flat: everything the losses need and nothing else.

    Axes: S sequences, N all their tokens (prompt and completion) end to end, C all completion tokens end to end.
    """

    token_ids_N: Tensor
    """[N] int64."""
    lengths_S: tuple[int, ...]
    """Tokens of each sequence, prompt included; they add to N."""
    prompt_lengths_S: tuple[int, ...]
    """Prompt tokens of each sequence."""
    policy_versions_S: tuple[int, ...]
    """Version each sequence was drawn from."""
    groups_S: tuple[int, ...]
    """Number of each sequence's group in the step, rising."""
    masked_S: tuple[bool, ...]
    """A masked sequence counts for baselines and in no loss."""
    sampler_logprobs_C: Tensor
    """[C] float32, the sampler's log-probability of each completion token."""
    advantages_C: Tensor
    """[C] float32."""
    old_logprobs_C: Tensor | None = None
    """[C] float32, of the policy that the ratio is against; None: of the weights as they are in the update itself."""
    reference_logprobs_C: Tensor | None = None
    """[C] float32, of the KL's reference; None without one."""
    values_C: Tensor | None = None
    """[C] float32, the critic's before the step's updates; None without one."""
    returns_C: Tensor | None = None
    """[C] float32, what the critic should have said; None without one."""

    @cached_property
    def completion_lengths_S(self) -> tuple[int, ...]:
        """Completion tokens of each sequence; they add to C."""
        return tuple(n - p for n, p in zip(self.lengths_S, self.prompt_lengths_S, strict=True))

    @cached_property
    def starts_C(self) -> tuple[int, ...]:
        """Where each sequence's completion tokens begin among the C, and the end of the last."""
        return (0, *accumulate(self.completion_lengths_S))

    def tokens_of(self, sequence: int) -> slice:
        """Where a sequence's completion tokens lie among the C."""
        return slice(self.starts_C[sequence], self.starts_C[sequence + 1])
