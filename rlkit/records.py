"""The records that are passed from one part of rlkit to the next.

    Task -> Sample -> Group -> ScoredGroup -> StepSamples -> TrainBatch -> weights vN

`StepSamples` and `TrainBatch`, which are arrays without text, are in `rlkit.algorithm.step_arrays`.

Every record is immutable: each part creates new records and never changes those it receives.

The path of a sample. An arrow crosses from one process to another, and names what is sent:

    engine   samples replies to a task: Group                               rollout/engine.py
      -> Group                                                              rollout/rollout_pool.py
    driver   passes each group on when it arrives                           stages/online/collector.py
      -> Group without log-probs                                            scoring/processes/schedule.py
    scorer   runs every reward part on it                                   scoring/combine.py
      -> scores alone                                                       scoring/processes/scoring_worker.py
    driver   joins group and scores: ScoredGroup, also written to disk      scoring/combine.py, watch/runlog.py
      -> StepSamples: the step's arrays without text, once for all ranks    learner/learner_group.py
    learner  drops samples without reward, adds advantages: TrainBatch      algorithm/batch.py, algorithm/shape.py
             packs it, computes loss and gradient                           algorithm/objective.py, learner/update.py
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Task:
    """One problem and the reference that its answers are judged by."""

    id: str
    """Unique within a run; contains the source and the row."""
    kind: str
    """Selects the judge: "math", "code", "exact", "choice", "numeric" or a kind that a plugin adds."""
    prompt: str
    """The problem's text, before the prompt template and the chat template."""
    reference: Any
    """math, exact, choice, numeric: the correct answer as text, or a list of accepted answers; code: {"mode",
    "entry_point", "tests" | "test_code"} (see rlkit.verify.code.code_judge); a plugin's kind: the input of its
    judge."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Other columns of the row. Filters and mixtures use "domain" and "difficulty"; the accuracy part uses "choices",
    "tolerance" and "abs_tolerance"."""
    history: tuple[Mapping[str, Any], ...] = ()
    """Messages before `prompt`, each with "role" and "content": the task's own system message and earlier turns."""

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The whole prompt as chat messages; the last one is `prompt`, with the role "user"."""
        return [*map(dict, self.history), _user_message(self.prompt)]

    @property
    def wording(self) -> str:
        """The whole prompt as one text; two tasks with equal texts are duplicates."""
        return wording_of(self.history, self.prompt)


def wording_of(history: Sequence[Mapping[str, Any]], prompt: str) -> str:
    """`prompt` alone, or after the messages before it: "system: Be brief.\n\nuser: What is 1 + 1?"."""
    if not history:
        return prompt
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in (*history, _user_message(prompt)))


def _user_message(prompt: str) -> dict[str, Any]:
    return {"role": "user", "content": prompt}


_NONE: Any = ()
"""No tokens; `Sample` converts it to an empty array."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One completion of a task, as the engine sampled it. Token ids and log-probs may be given as any sequence."""

    id: str
    """"<task id>#<sample number>"."""
    response: str
    """The reply's text; begins with "<think>" if data.prompt.force_think is set."""
    num_tokens: int
    """Sampled tokens (the forced "<think>" is not counted)."""
    finish_reason: str = "stop"
    """"stop" (end of text or a stop string) or "length" (cut at max_tokens)."""
    token_ids: NDArray[np.int32] = _NONE
    """[T] sampled tokens, including the end-of-text token."""
    logprobs: NDArray[np.float32] = _NONE
    """[T] log-probability of each sampled token under the sampler, at the sampling temperature, in nats. Empty in the
    samples that reward plugins get."""
    seed: int = 0
    """Seed of this request alone; the reply is a function of (weights, prompt ids, seed, sampling keys)."""
    policy_version: int = 0
    """Step whose last update produced the weights that sampled it (the oldest, if they changed during sampling)."""
    prompt_ids: NDArray[np.int32] = _NONE
    """[P] tokens of the prompt, including the forced start of the reply."""

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
    """The score that one reward part gives one sample."""

    value: float | None
    """A finite number. None: the sample could not be graded and is left out of the baseline and the loss; with the
    verdict "not_applicable": only this part is left out of the sample's reward."""
    verdict: str = ""
    """A short name: "correct", "wrong", "timeout", ..."""
    reason: str = ""
    """Explanation for the user, one sentence."""
    evidence: Any = None
    """Details that support the value; JSON-serialisable."""

    @classmethod
    def not_applicable(cls, reason: str, evidence: Any = None) -> Score:
        """A score that leaves this part out of the sample's reward (see `scoring.combine`)."""
        return cls(None, NOT_APPLICABLE, reason, evidence)

    @property
    def applies(self) -> bool:
        """False if the part does not apply to the sample; True if it graded it or failed to."""
        return self.value is not None or self.verdict != NOT_APPLICABLE


@dataclass(frozen=True)
class Verdict:
    """A judge's result for one answer. Judges do not depend on rewards."""

    verdict: str
    """math: "correct" | "wrong" | "unscored";
    code: "pass" | "fail" | "timeout" | "memory" | "output" | "killed" | "unscored"."""
    detail: str = ""
    """The reason, in a few words: "unparsable", "timeout", "memory", "crash", or what differed."""
    seconds: float = 0.0
    """Wall-clock seconds spent judging."""
    passed: int = 0
    """Code: number of visible tests passed."""
    total: int = 0
    """Code: number of visible tests."""
    tests: tuple[Mapping[str, Any], ...] = ()
    """Code: {"verdict", "seconds", "cpu_seconds", "detail"} of each test, in order."""
    hidden_passed: int = 0
    """Code: number of hidden tests passed; hidden tests do not count in verdict, passed, total or tests."""
    hidden_total: int = 0
    """Code: number of hidden tests."""
    tier: str = ""
    """Code: the sandbox tier that isolated the program; empty if no program ran."""
    cpu_seconds: float = 0.0
    """Code: CPU seconds of the program on all its tests, including the start of each process."""


@dataclass(frozen=True)
class Group:
    """A task and its samples of one step: the input of a reward plugin."""

    task: Task
    samples: tuple[Sample, ...]
    scores: Mapping[str, tuple[Score, ...]] = field(default_factory=dict)
    """By part name: the scores of the parts that the plugin lists in `needs`."""

    def without_logprobs(self) -> Group:
        """The group as it is sent to the scoring processes, which do not read log-probs."""
        return replace(self, samples=tuple(replace(sample, logprobs=_NONE) for sample in self.samples))


@dataclass(frozen=True)
class ScoredGroup:
    """A group with every part's scores and the combined rewards."""

    task: Task
    samples: tuple[Sample, ...]
    parts: Mapping[str, tuple[Score, ...]]
    """By part name: one score per sample, in the order of the samples."""
    weights: Mapping[str, float]
    """By part name; they sum to 1."""
    rewards: tuple[float | None, ...]
    """Combined reward of each sample; None if a part could not grade it."""
    seconds: Mapping[str, float] = field(default_factory=dict, compare=False)
    """By part name: wall-clock seconds that its plugin took for the group. Not compared: they differ between equal
    runs."""
