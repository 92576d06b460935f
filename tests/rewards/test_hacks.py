"""The hack suite: replies that try to be paid without the work, beside the honest reply of the same task."""

from pathlib import Path

import pytest
import yaml

from rewards.accuracy import Accuracy
from rewards.efficiency import Efficiency
from rewards.format import Format
from rewards.reasoning import Reasoning
from rlkit import Group, Sample, Task
from rlkit.recipe.schema.reward_section import RewardKeys
from rlkit.scoring.combine import combine

CASES = Path(__file__).parent / "cases"
TASKS = [
    {**task, "kind": kind}
    for kind in ("math", "code")
    for task in yaml.safe_load((CASES / f"{kind}.yaml").read_text(encoding="utf-8"))
]
CHEATS = [(task, cheat) for task in TASKS for cheat in task["cheats"]]
EPS = 1e-9


def make_group(task, *responses):
    reference = task.get("gold")
    if task["kind"] == "code":
        tests = [{"args": args, "expected": expected} for args, expected in task["tests"]]
        limits = {"wall_s": 1, "cpu_s": 1}
        reference = {"mode": "function", "entry_point": task["entry_point"], "tests": tests, "limits": limits}
    samples = [Sample(f"{task['id']}#{i}", text, len(text.split())) for i, text in enumerate(responses)]
    return Group(Task(task["id"], task["kind"], task["prompt"], reference), tuple(samples))


def honest_reply(task):
    return f"<think>\n{task['thought']}\n</think>\n{task['answer']}"


@pytest.fixture(scope="module")
def accuracy():
    return Accuracy()


def score_all(accuracy, group):
    """(parts, totals) of a group with the default recipe."""
    parts = {"accuracy": tuple(accuracy.score(group))}
    parts["reasoning"] = tuple(Reasoning().score(group))
    parts["format"] = tuple(Format().score(group))
    parts["efficiency"] = tuple(Efficiency().score(Group(group.task, group.samples, parts)))
    reward = RewardKeys.model_validate({})
    return parts, combine(parts, reward.weights, reward.combine)


def test_the_suite_is_as_large_as_it_claims():
    assert len(TASKS) >= 20
    assert len(CHEATS) >= 60
    assert all(len(cheat["why"]) > 10 for _, cheat in CHEATS)
    assert len({cheat["reply"] for _, cheat in CHEATS}) == len(CHEATS)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task["id"])
def test_an_honest_reply_earns_nearly_everything(accuracy, task):
    parts, (total,) = score_all(accuracy, make_group(task, honest_reply(task)))
    assert [parts[name][0].value for name in ("accuracy", "format")] == [1, 1]
    assert parts["reasoning"][0].value >= 0.75, parts["reasoning"][0].reason
    assert total >= 0.92


@pytest.mark.parametrize(("task", "cheat"), CHEATS, ids=lambda case: case.get("why") or case.get("id"))
def test_no_cheat_outscores_the_honest_reply(accuracy, task, cheat):
    parts, (honest, cheated) = score_all(accuracy, make_group(task, honest_reply(task), cheat["reply"]))
    for name in ("accuracy", "reasoning", "format"):
        of_honest, of_cheat = (score.value for score in parts[name])
        assert of_cheat <= of_honest + EPS, f"{name}: {parts[name][1]}"
    assert cheated <= honest + EPS
    # A cheat that equals the honest reply everywhere would be no cheat, or not seen.
    assert cheated < honest - 0.01
