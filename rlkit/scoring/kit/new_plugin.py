"""`rlkit reward new`: writes a small plugin and its test for the user to change."""

from __future__ import annotations

import keyword
import re
import sys
from pathlib import Path

from rlkit.errors import UsageError

_PLUGIN = '''"""{name}: a reward part. Change `_share` to measure what you want to reward."""

from dataclasses import dataclass

from rlkit import Group, Score


@dataclass(frozen=True)
class {cls}:
    """Rewards a reply for the numbers of the prompt that it mentions; in [0, 1].

    A recipe can set the fields, beside `plugin` and `weight`; rlkit checks them before a run starts.
    """

    full: float = 0.5  # share of the prompt's numbers that earns the full score, 1

    def __post_init__(self) -> None:
        if not 0 < self.full <= 1:
            raise ValueError(f"full={{self.full}} must be above 0 and at most 1")

    # To get the scores of other parts in `group.scores`: needs = ("accuracy",)

    def score(self, group: Group) -> list[Score]:
        """One score for each sample, in order. `group.task` has the prompt, the reference and the kind."""
        return [self._one(group.task.prompt, sample.response) for sample in group.samples]

    def _one(self, prompt: str, response: str) -> Score:
        share = _share(prompt, response)
        if share is None:
            # None: the sample cannot be graded, and the update leaves it out.
            # To count the other parts' scores, return Score.not_applicable("the prompt has no numbers").
            return Score(None, "no_numbers", "the prompt has no numbers")
        return Score(min(1.0, share / self.full), reason=f"{{share:.0%}} of the prompt's numbers", evidence=share)


def _share(prompt: str, response: str) -> float | None:
    numbers = {{word.strip(".,?!") for word in prompt.split() if any(c.isdigit() for c in word)}}
    return sum(number in response for number in numbers) / len(numbers) if numbers else None
'''

_TEST = '''"""{cls}: scores of cases computed by hand."""

import pytest
from rlkit import Group, Sample, Task

from {name} import {cls}


def values(prompt, *responses, **arguments):
    samples = tuple(Sample(f"t#{{i}}", text, len(text) // 4) for i, text in enumerate(responses))
    group = Group(Task("t", "math", prompt, "7"), samples)
    return [score.value for score in {cls}(**arguments).score(group)]


def test_the_score_is_the_share_of_the_prompts_numbers():
    prompt = "What is 3 + 4?"
    assert values(prompt, "3 and 4 make 7", "3 is there", "I do not know") == [1.0, 1.0, 0.0]
    assert values(prompt, "3 is there", full=1) == [0.5]


def test_a_prompt_without_numbers_cannot_be_graded():
    assert values("Say hello.", "hello") == [None]


def test_full_must_be_above_0():
    with pytest.raises(ValueError, match="full=0"):
        {cls}(full=0)
'''


def class_name(name: str) -> str:
    """my_reward -> MyReward."""
    return "".join(word.capitalize() for word in name.split("_") if word)


def write_plugin(name: str, folder: Path) -> tuple[Path, Path]:
    """Writes NAME.py and test_NAME.py into a folder and returns their paths.

    Raises:
        UsageError: the name is not a valid module name, or a file exists already.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise UsageError(
            f"{name!r} is not a valid module name: use lower-case letters, digits and _, such as my_reward"
        )
    if name in sys.stdlib_module_names or name in ("rlkit", "rewards"):
        raise UsageError(f"{name!r} would hide the module of that name: choose another name, such as my_{name}")
    plugin, test = folder / f"{name}.py", folder / f"test_{name}.py"
    for path in (plugin, test):
        if path.exists():
            raise UsageError(f"{path} exists already: choose another name")
    try:
        plugin.write_text(_PLUGIN.format(name=name, cls=class_name(name)), encoding="utf-8")
        test.write_text(_TEST.format(name=name, cls=class_name(name)), encoding="utf-8")
    except OSError as e:
        raise UsageError(f"{e.filename}: cannot be written ({e.strerror})") from e
    return plugin, test
