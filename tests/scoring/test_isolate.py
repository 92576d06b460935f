"""What one sample does to a part costs that sample; a part that compares samples compares those that are left."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlkit import Group, Sample, Score, Task
from rlkit.recipe.schema.reward_section import CombineKeys, RewardPartKeys
from rlkit.scoring.combine import score_group
from rlkit.scoring.plugins.plugin import load_part
from rlkit.scoring.processes.isolate import GuardedPlugin, guarded, isolate_group
from rlkit.scoring.processes.scoring_call import FailedCall, ScoringCall
from tests.scoring.plugins import Shares

HERE = Path(__file__).parent


def part(cls):
    return load_part("mine", RewardPartKeys(plugin=f"./plugins.py:{cls}", weight=1), HERE)


def group(*replies):
    samples = tuple(Sample(f"t#{i}", text, i + 1) for i, text in enumerate(replies))
    return Group(Task("t", "math", "?", "7"), samples)


@given(st.lists(st.sampled_from(["well", "fine", "raise"]), min_size=1, max_size=8))
def test_samples_at_fault_are_left_out_and_the_rest_are_compared_with_each_other(replies):
    whole = group(*replies)
    scores = GuardedPlugin("mine", Shares()).score(whole)
    well = tuple(s for s in whole.samples if s.response != "raise")
    expected = iter(Shares().score(Group(whole.task, well)) if well else [])
    for sample, score in zip(whole.samples, scores, strict=True):
        if sample.response == "raise":
            assert (score.value, score.verdict) == (None, "plugin_error")
            assert score.reason.startswith("reward part 'mine' raised ValueError: poison at ")
        else:
            assert score == next(expected)


@pytest.mark.parametrize("word", ["raise", "few", "nan", "text", "type"])
def test_a_bad_reply_costs_itself_only(word):
    scored = score_group(group("a", word, "b"), guarded([part("OnReply")]), {"mine": 1.0}, CombineKeys())
    assert scored.rewards == (0.5, None, 0.5)
    assert scored.parts["mine"][1].verdict == "plugin_error"
    assert "reward part 'mine'" in scored.parts["mine"][1].reason


def test_what_no_sample_does_alone_costs_the_group():
    class NotTogether:
        def score(self, group):
            return [Score(1.0)] if len(group.samples) == 1 else []

    scores = GuardedPlugin("mine", NotTogether()).score(group("a", "b"))
    assert [s.value for s in scores] == [None, None]
    assert "returned 0 scores for 2 samples; it fails on these samples together, on none alone" in scores[0].reason


def test_a_process_that_is_out_of_memory_tries_nothing_more():
    class Eats:
        calls = 0

        def score(self, group):
            self.calls += 1
            raise MemoryError

    eats = Eats()
    scores = GuardedPlugin("mine", eats).score(group("a", "b"))
    assert [(s.value, s.verdict) for s in scores] == [(None, "memory")] * 2
    assert eats.calls == 1


def outcomes(steps, do):
    """Drives the steps; `do` says what becomes of each call. Gives the calls and the end."""
    calls = []
    try:
        call = next(steps)
        while True:
            calls.append(call)
            call = steps.send(do(call))
    except StopIteration as end:
        return calls, end.value


def test_a_group_that_was_lost_is_taken_apart_by_part_and_then_by_sample():
    needs = {"accuracy": (), "bad": ("accuracy",), "last": ()}
    whole = group("a", "die", "b", "c")

    def do(call: ScoringCall):
        if call.parts == ("bad",) and any(s.response == "die" for s in call.group.samples):
            return FailedCall("crash", "reward part 'bad' ended its process")
        values = call.group.scores.get("accuracy", [Score(float(s.num_tokens)) for s in call.group.samples])
        return tuple(values)

    calls, scores = outcomes(isolate_group(whole, needs, FailedCall("crash", "?")), do)
    assert [(*c.parts, len(c.group.samples), c.share) for c in calls] == [
        ("accuracy", 4, 1.0),
        ("bad", 4, 1.0),
        *[("bad", 1, 0.25)] * 4,
        ("bad", 3, 1.0),
        ("last", 4, 1.0),
    ]
    assert [s.value for s in scores["accuracy"]] == [1, 2, 3, 4]
    assert [s.value for s in scores["bad"]] == [1, None, 3, 4]
    assert scores["bad"][1] == Score(None, "crash", "reward part 'bad' ended its process")
    assert [s.value for s in scores["last"]] == [1, 2, 3, 4]


@pytest.mark.parametrize(("cls", "values"), [("OneByOne", [1, 2]), ("OneByOneAsync", [1, 2]), ("GroupAsync", [1, 1])])
def test_plugins_may_score_one_sample_and_may_be_async(cls, values):
    assert [s.value for s in part(cls).plugin.score(group("a", "bb"))] == values
