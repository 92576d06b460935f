"""Samples as arrays: how they compare, and what of a step goes to the learner and to the scorers."""

import pickle
from dataclasses import replace

import numpy as np

from rlkit import Group, Sample, Score, ScoredGroup, Task
from rlkit.algorithm.batch import gather
from rlkit.algorithm.step_arrays import StepSamples

SAMPLE = Sample("t#0", "7", 2, "stop", (5, 6), (-0.1, -2.0), 3, 1, (1, 2, 3))


def test_a_sample_takes_any_sequence_and_holds_arrays():
    assert (SAMPLE.token_ids.dtype, SAMPLE.logprobs.dtype, SAMPLE.prompt_ids.dtype) == (np.int32, np.float32, np.int32)
    assert (list(SAMPLE.token_ids), len(SAMPLE.logprobs), SAMPLE.prompt_ids[-1]) == ([5, 6], 2, 3)
    assert Sample("t#0", "7", 2).token_ids.tolist() == []


def test_samples_are_equal_by_their_content():
    again = pickle.loads(pickle.dumps(SAMPLE))
    assert again == SAMPLE
    assert hash(again) == hash(SAMPLE)
    for change in ({"token_ids": (5, 7)}, {"logprobs": (-0.1, -2.5)}, {"prompt_ids": (1, 2)}, {"response": "8"}):
        assert replace(SAMPLE, **change) != SAMPLE
    assert SAMPLE != "7"


def test_the_learner_gets_arrays_each_prompt_once_and_no_text():
    task = Task("secret task", "math", "secret prompt", "secret gold")
    one, other = (replace(SAMPLE, id=f"secret {i}", response="secret") for i in range(2))
    longer = replace(SAMPLE, token_ids=(8, 9, 10), logprobs=(-1.0,) * 3, prompt_ids=(4,), finish_reason="length")
    scores = {"part": (Score(1.0, "secret verdict", "secret reason", {"secret": 1}),) * 2}
    groups = [
        ScoredGroup(task, (one, other), scores, {"part": 1.0}, (0.5, None)),
        ScoredGroup(task, (longer, SAMPLE), scores, {"part": 1.0}, (0.0, 1.0)),
    ]
    step = StepSamples.of(groups)
    assert step.prompt_ids_P.tolist() == [1, 2, 3, 4]
    assert (step.prompt_lengths_Q, step.prompts_S) == ((3, 1), (0, 0, 1, 0))
    assert step.completion_ids_C.tolist() == [5, 6, 5, 6, 8, 9, 10, 5, 6]
    assert step.completion_lengths_S == (2, 2, 3, 2)
    assert (step.groups_S, step.truncated_S) == ((0, 0, 1, 1), (False, False, True, False))
    assert step.policy_versions_S == (1, 1, 1, 1)
    np.testing.assert_array_equal(step.rewards_S, [0.5, np.nan, 0.0, 1.0])
    assert b"secret" not in pickle.dumps(step)

    graded = gather(step, drop_equal=False, mask_truncated=True)
    assert graded.token_ids_N.tolist() == [1, 2, 3, 5, 6, 4, 8, 9, 10, 1, 2, 3, 5, 6]
    assert (graded.lengths_S, graded.prompt_lengths_S) == ((5, 4, 5), (3, 1, 3))
    assert (graded.groups_S, graded.masked_S) == ((0, 1, 1), (False, True, False))
    assert graded.places_S == ((0, 0), (1, 0), (1, 1))
    assert graded.sampler_logprobs_C.tolist() == [*SAMPLE.logprobs, -1.0, -1.0, -1.0, *SAMPLE.logprobs]


def test_a_step_without_samples_is_empty():
    graded = gather(StepSamples.of([]), drop_equal=True, mask_truncated=True)
    assert (graded.lengths_S, len(graded.token_ids_N), len(graded.rewards_S)) == ((), 0, 0)


def test_scorers_get_everything_but_log_probs():
    group = Group(Task("t", "math", "?", "7"), (SAMPLE,))
    (shown,) = group.without_logprobs().samples
    assert shown.logprobs.tolist() == []
    assert replace(shown, logprobs=SAMPLE.logprobs) == SAMPLE
