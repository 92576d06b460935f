"""The records that flow between the stages: rlkit's architecture in one file.

    Task -> Sample -> Group -> ScoredGroup -> StepSamples -> TrainBatch -> weights vN

Every record is frozen: a stage makes new records, it never fills in another stage's blanks.

The path of a sample; an arrow crosses from one process to another and says what is sent:

    engine   draws a task's samples: Group                                  rollout/engine.py
      -> Group                                                              rollout/rollout_pool.py
    driver   hands the group on as it comes                                 stages/online/collector.py
      -> Group without log-probs                                            scoring/processes/schedule.py
    scorer   lets every reward part score it                                scoring/combine.py
      -> scores alone                                                       scoring/processes/scoring_worker.py
    driver   joins group and scores: ScoredGroup, also written to disk      scoring/combine.py, watch/runlog.py
      -> StepSamples: the step's arrays without text, for all ranks once    learner/learner_group.py
    learner  leaves out what has no reward, adds advantages: TrainBatch     algorithm/batch.py, algorithm/shape.py
             packs it, works out loss and gradient                          algorithm/objective.py, learner/update.py
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
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


_NONE: Any = ()
"""No tokens; `Sample` makes an array of it."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One completion of a task, as the sampler drew it. Token ids and log-probs may be given as any sequence."""

    id: str
    """"<task id>#<sample number>"."""
    response: str
    """The reply's text; begins with the forced "<think>" where the recipe forces it."""
    num_tokens: int
    """Tokens drawn (the forced start is not counted)."""
    finish_reason: str = "stop"
    """"stop" (end of text or a stop string) or "length" (cut at max_tokens)."""
    token_ids: NDArray[np.int32] = _NONE
    """[T] drawn tokens, the end-of-text token included."""
    logprobs: NDArray[np.float32] = _NONE
    """[T] log-probability of each drawn token under the sampler, at the sampling temperature, in nats. Empty in what a
    reward plugin is given."""
    seed: int = 0
    """Seed of this request alone; its text is a function of (weights, prompt ids, seed, sampling keys)."""
    policy_version: int = 0
    """Step whose last update made the weights it was drawn from (the oldest, if they changed under it)."""
    prompt_ids: NDArray[np.int32] = _NONE
    """[P] tokens the model was shown, the forced start of the reply included."""

    def __post_init__(self) -> None:
        import numpy as np  # not at the top: `import rlkit` has to be fast

        object.__setattr__(self, "token_ids", np.asarray(self.token_ids, np.int32))
        object.__setattr__(self, "logprobs", np.asarray(self.logprobs, np.float32))
        object.__setattr__(self, "prompt_ids", np.asarray(self.prompt_ids, np.int32))

    def __eq__(self, other: object) -> bool:
        return self._content() == other._content() if isinstance(other, Sample) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._content())

    def _content(self) -> tuple[object, ...]:
        """Every field; arrays as their bytes, since `==` of arrays is an array."""
        arrays = (self.token_ids, self.logprobs, self.prompt_ids)
        plain = (self.id, self.response, self.num_tokens, self.finish_reason, self.seed, self.policy_version)
        return (*plain, *(array.tobytes() for array in arrays))


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

    def without_logprobs(self) -> Group:
        """The group as it goes to the scoring processes: what judges a reply reads no log-probs."""
        return replace(self, samples=tuple(replace(sample, logprobs=_NONE) for sample in self.samples))


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


@dataclass(frozen=True, eq=False)
class Sequences:
    """Prompts and their completions, flat: what a network is shown.

    Axes: S sequences, N all their tokens (prompt and completion) end to end, C all completion tokens end to end.
    """

    token_ids_N: NDArray[np.int32]
    """[N] token ids."""
    lengths_S: tuple[int, ...]
    """Tokens of each sequence, prompt included; they add to N."""
    prompt_lengths_S: tuple[int, ...]
    """Prompt tokens of each sequence."""

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Sequences:
        """The samples end to end."""
        return Sequences(
            token_ids_N=_end_to_end([ids for s in samples for ids in (s.prompt_ids, s.token_ids)], "int32"),
            lengths_S=tuple(len(s.prompt_ids) + len(s.token_ids) for s in samples),
            prompt_lengths_S=tuple(len(s.prompt_ids) for s in samples),
        )

    @cached_property
    def completion_lengths_S(self) -> tuple[int, ...]:
        """Completion tokens of each sequence; they add to C."""
        return tuple(n - p for n, p in zip(self.lengths_S, self.prompt_lengths_S, strict=True))

    @cached_property
    def starts_N(self) -> tuple[int, ...]:
        """Where each sequence begins among the N tokens, and the end of the last."""
        return (0, *accumulate(self.lengths_S))

    @cached_property
    def starts_C(self) -> tuple[int, ...]:
        """Where each sequence's completion tokens begin among the C, and the end of the last."""
        return (0, *accumulate(self.completion_lengths_S))

    def tokens_of(self, sequence: int) -> slice:
        """Where a sequence's completion tokens lie among the C."""
        return slice(self.starts_C[sequence], self.starts_C[sequence + 1])


def _end_to_end(parts: Sequence[Any], dtype: str) -> NDArray[Any]:
    import numpy as np

    return np.concatenate([np.zeros(0, dtype), *parts])


@dataclass(frozen=True, eq=False)
class StepSamples:
    """What the learner is sent of a step: every sample, graded or not, in the step's order, without any text.

    Axes: S samples, Q different prompts, P all tokens of those end to end, C all completion tokens end to end.
    """

    prompt_ids_P: NDArray[np.int32]
    """[P] each prompt once, however many samples answer it."""
    prompt_lengths_Q: tuple[int, ...]
    """Tokens of each prompt; they add to P."""
    prompts_S: tuple[int, ...]
    """Number of each sample's prompt."""
    completion_ids_C: NDArray[np.int32]
    """[C] drawn tokens."""
    completion_lengths_S: tuple[int, ...]
    """Drawn tokens of each sample; they add to C."""
    sampler_logprobs_C: NDArray[np.float32]
    """[C] the sampler's log-probability of each drawn token."""
    groups_S: tuple[int, ...]
    """Number of each sample's group in the step, rising from 0."""
    rewards_S: NDArray[np.float64]
    """[S] total reward; not a number where a part could not grade the sample."""
    truncated_S: tuple[bool, ...]
    """Whether each reply was cut at the token limit."""
    policy_versions_S: tuple[int, ...]
    """Version each sample was drawn from."""

    @classmethod
    def of(cls, groups: Sequence[ScoredGroup]) -> StepSamples:
        """The samples of a step's groups."""
        samples = [sample for group in groups for sample in group.samples]
        prompts = {sample.prompt_ids.tobytes(): sample.prompt_ids for sample in samples}
        number = {prompt: i for i, prompt in enumerate(prompts)}
        rewards = [math.nan if reward is None else reward for group in groups for reward in group.rewards]
        return StepSamples(
            prompt_ids_P=_end_to_end(list(prompts.values()), "int32"),
            prompt_lengths_Q=tuple(map(len, prompts.values())),
            prompts_S=tuple(number[sample.prompt_ids.tobytes()] for sample in samples),
            completion_ids_C=_end_to_end([sample.token_ids for sample in samples], "int32"),
            completion_lengths_S=tuple(len(sample.token_ids) for sample in samples),
            sampler_logprobs_C=_end_to_end([sample.logprobs for sample in samples], "float32"),
            groups_S=tuple(number for number, group in enumerate(groups) for _ in group.samples),
            rewards_S=_end_to_end([rewards], "float64"),
            truncated_S=tuple(sample.finish_reason == "length" for sample in samples),
            policy_versions_S=tuple(sample.policy_version for sample in samples),
        )


@dataclass(frozen=True, eq=False)
class TrainBatch(Sequences):
    """The sequences that a step learns from: everything the losses need and nothing else."""

    groups_S: tuple[int, ...]
    """Number of each sequence's group in the step, rising."""
    masked_S: tuple[bool, ...]
    """A masked sequence counts for baselines and in no loss."""
    sampler_logprobs_C: Tensor
    """[C] float32, the sampler's log-probability of each completion token."""
    advantages_C: Tensor
    """[C] float32."""
    old_logprobs_C: Tensor | None
    """[C] float32, of the policy that the ratio is against; None: of the weights as they are in the update itself."""
    reference_logprobs_C: Tensor | None
    """[C] float32, of the KL's reference; None without one."""
    values_C: Tensor | None
    """[C] float32, the critic's before the step's updates; None without one."""
    returns_C: Tensor | None
    """[C] float32, what the critic should have said; None without one."""
