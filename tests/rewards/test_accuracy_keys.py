"""What a recipe and a task may ask of the math judge."""

import pytest

from rewards.accuracy import Accuracy
from rlkit import Group, Sample, Task


def verdict(reference, response, metadata=None, **keys):
    group = Group(Task("t", "math", "p", reference, metadata or {}), (Sample("s", response, 9),))
    return Accuracy(**keys).score(group)[0].verdict


@pytest.mark.parametrize(
    ("reference", "response", "metadata", "keys", "expected"),
    [
        ("5050", r"\boxed{\sum_{k=1}^{100} k}", {}, {}, "correct"),
        ("5050", r"\boxed{\sum_{k=1}^{100} k}", {}, {"unevaluated": False}, "wrong"),
        ("7", "so we get 7", {}, {}, "correct"),
        ("7", "so we get 7", {}, {"last_number": False}, "unparsable"),
        ("3.14159", r"\boxed{3.1416}", {}, {}, "wrong"),
        ("3.14159", r"\boxed{3.1416}", {}, {"tolerance": 1e-4}, "correct"),
        ("3.14159", r"\boxed{3.1416}", {"tolerance": 1e-4}, {}, "correct"),
        ("3.14159", r"\boxed{3.15}", {"tolerance": 1e-4}, {}, "wrong"),
        ("B", r"\boxed{12}", {"choices": {"A": "11", "B": "12"}}, {}, "correct"),
        ("B", r"\boxed{11}", {"choices": {"A": "11", "B": "12"}}, {}, "wrong"),
    ],
)
def test_keys_and_task_columns_change_what_is_right(reference, response, metadata, keys, expected):
    assert verdict(reference, response, metadata, **keys) == expected


def test_a_tolerance_out_of_range_is_refused():
    with pytest.raises(ValueError, match="tolerance=2 must be"):
        Accuracy(tolerance=2)
