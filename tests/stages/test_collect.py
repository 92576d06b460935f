"""A step's samples are drawn round by round until enough groups tell something, and no round is drawn too many."""

from types import SimpleNamespace

import pytest

from rlkit.data.prompts import RenderedPrompt
from rlkit.data.stream import TaskStream
from rlkit.recipe.schema import Recipe
from rlkit.records import Group, Sample, Score, ScoredGroup, Task
from rlkit.stages.online.collector import SynchronousCollector
from rlkit.watch.metrics import PhaseTimer
from rlkit.watch.report import Report


class Draws:
    """A rollout pool that answers at once, the last prompt first."""

    def __init__(self):
        self.rounds = []

    def draw(self, requests):
        self.rounds.append(list(requests))
        for request in reversed(requests):
            samples = [
                Sample(f"{request.index}/{seed}", "", 1, "stop", (1,), (-1.0,), seed, 0) for seed in request.seeds
            ]
            yield request.index, Group(request.task, tuple(samples))


class Scores:
    """A scoring pool: only every `tells`-th task's samples differ."""

    def __init__(self, tells):
        self.tells = tells

    def score(self, groups, step):
        for index, group in groups:
            spread = 1.0 if int(group.task.id) % self.tells == 0 else 0.0
            rewards = tuple(spread * i for i in range(len(group.samples)))
            parts = {"part": tuple(Score(r) for r in rewards)}
            yield index, ScoredGroup(group.task, group.samples, parts, {"part": 1.0}, rewards)


def collector_of(tells, **keys):
    recipe = Recipe.model_validate(
        {
            "model": {"init": {}},
            "data": {"path": "builtin:quickstart"},
            "stages": [{"kind": "grpo", "steps": 2, "prompts_per_step": 4, "samples_per_prompt": 2, **keys}],
        }
    )
    tasks = [Task(str(i), "math", f"{i}?", "1") for i in range(1000)]
    renderer = SimpleNamespace(render=lambda task: RenderedPrompt(task.prompt, (1, 2), ""))
    draws = Draws()
    collector = SynchronousCollector(
        "stage-0-grpo",
        recipe.stages[0],
        recipe,
        stream=TaskStream(tasks, seed=0),
        renderer=renderer,
        rollout=draws,
        scoring=Scores(tells),
        report=Report(),
    )
    return collector, draws


def telling(groups):
    return [group for group in groups if group.rewards[0] != group.rewards[1]]


def test_without_dynamic_sampling_there_is_one_round():
    run, draws = collector_of(tells=1000)
    assert len(run.collect(1, PhaseTimer())) == 4
    assert [len(requests) for requests in draws.rounds] == [4]


@pytest.mark.parametrize("tells", [1, 2, 3])
def test_a_step_is_filled_with_groups_that_tell_and_with_no_more(tells):
    run, draws = collector_of(tells, dynamic_sampling=True, dynamic_sampling_rounds=100)
    groups = run.collect(1, PhaseTimer())
    assert len(telling(groups)) == 4
    # Each round draws what is missing, so the last group to come in tells.
    missing = 4
    for requests in draws.rounds:
        assert len(requests) == missing
        missing -= sum(int(r.task.id) % tells == 0 for r in requests)
    assert missing == 0
    # In the order of drawing, every task once, every sample with a seed of its own.
    drawn = [request for requests in draws.rounds for request in requests]
    assert [g.task.id for g in groups] == [r.task.id for r in drawn]
    assert [r.index for r in drawn] == list(range(len(drawn)))
    seeds = [seed for request in drawn for seed in request.seeds]
    assert len(set(seeds)) == len(seeds)


def test_the_rounds_are_bounded_where_nothing_tells():
    run, draws = collector_of(tells=10_000, dynamic_sampling=True, dynamic_sampling_rounds=3)
    groups = run.collect(1, PhaseTimer())
    assert [len(requests) for requests in draws.rounds] == [4, 4, 4]
    assert len(groups) == 12
