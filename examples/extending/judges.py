"""The judge of a new task kind, `reversed`: the right answer is the reference spelled backwards."""

from rlkit import Sample, Score, Task, extract_answer


def judge_reversed(task: Task, sample: Sample) -> Score:
    right = task.reference[::-1]
    given = extract_answer(sample.response)
    return Score(1.0, "correct") if given == right else Score(0.0, "wrong", f"{given!r} is not {right!r}")
