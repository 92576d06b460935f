"""Parts in processes of their own: who runs where, in which order, in which batches, and what a fault costs there."""

import logging
import os
import signal
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlkit import Group, Sample, Score, Task
from rlkit.cluster import restarts
from rlkit.errors import ClusterError, PluginError, ScoringError
from rlkit.recipe.schema.reward_section import RewardKeys
from rlkit.scoring.combine import PartScores
from rlkit.scoring.processes import schedule
from rlkit.scoring.processes.child_processes import ChildProcesses, LocalPool
from rlkit.scoring.processes.schedule import plan_calls
from rlkit.scoring.processes.scoring_worker import StartReply
from rlkit.scoring.processes.worker_processes import WorkerLost

HERE = Path(__file__).parent
ONLY = dict.fromkeys(("accuracy", "reasoning", "format", "efficiency"))
RUNTIME = {"num_workers": 1, "timeout_s": 4, "memory_mb": 128}


def plugin(cls, **keys):
    return {"plugin": f"./plugins.py:{cls}", "weight": 1, **keys}


def reward(*, runtime=RUNTIME, **parts):
    return RewardKeys.model_validate({**ONLY, **parts, "runtime": runtime})


def group(*replies, name="t"):
    return Group(Task(name, "math", "?", "7"), tuple(Sample(f"{name}#{i}", text, 1) for i, text in enumerate(replies)))


def score(reward, *groups, on_event=lambda kind, text: None):
    return score_all(reward, groups, on_event)


def score_all(reward, groups, on_event=lambda kind, text: None):
    pool = LocalPool(reward, HERE, on_event=on_event)
    try:
        return [scored for _, scored in sorted(pool.score(enumerate(groups)))]
    finally:
        pool.close()


@st.composite
def placed_parts(draw):
    """Parts that need some of those before them, each at one of three places."""
    count = draw(st.integers(1, 8))
    needs = {i: tuple(draw(st.sets(st.integers(0, i - 1)))) if i else () for i in range(count)}
    return needs, {i: draw(st.integers(0, 2)) for i in range(count)}


@given(placed_parts())
def test_visits_hold_every_part_once_after_those_it_needs(case):
    needs, place_of = case
    visits = plan_calls(needs, place_of)
    done = [name for visit in visits for name in visit.parts]
    assert sorted(done) == sorted(needs)
    assert all(done.index(need) < done.index(name) for name in needs for need in needs[name])
    assert all(place_of[name] == visit.pool for visit in visits for name in visit.parts)
    assert all(a.pool != b.pool for a, b in pairwise(visits))


def test_parts_without_needs_across_places_take_one_visit_a_place():
    assert [v.parts for v in plan_calls({"a": (), "b": (), "c": ("a",)}, {"a": 0, "b": 1, "c": 0})] == [
        ("a", "c"),
        ("b",),
    ]


def test_a_part_with_actors_has_a_process_of_its_own_and_scores_go_both_ways():
    parts = {
        "base": plugin("Where"),
        "own": plugin("AddsOne", to="base", actors={}),
        "last": plugin("AddsOne", to="own"),
        "gpu": plugin("Where", actors={"gpus": 0.5}),
    }
    (scored,) = score(reward(**parts), group("a", "b"))
    assert [scored.parts[name][0].value for name in ("base", "own", "last", "gpu")] == [1, 2, 3, 1]
    pids = {name: scored.parts[name][0].evidence["pid"] for name in parts}
    assert pids["base"] == pids["last"] != pids["own"] != pids["gpu"] != pids["base"]
    assert scored.parts["base"][0].evidence["gpus"] == ""
    assert scored.parts["gpu"][0].evidence["gpus"] == os.environ.get("CUDA_VISIBLE_DEVICES")


def test_every_part_may_have_processes_of_its_own():
    (scored,) = score(reward(one=plugin("Where", actors={"num_workers": 2})), group("a"))
    assert scored.rewards == (1.0,)


def test_waiting_groups_are_scored_together_up_to_the_bound(tmp_path):
    def groups():
        for i in range(20):
            if i == 4:  # the first is at work, three are waiting
                (tmp_path / "gate").touch()
            yield group("a", "b", name=str(i))

    own = plugin("Gated", actors={"groups_per_call": 3}, gate=str(tmp_path / "gate"))
    scored = score_all(reward(several=own), groups())
    assert [s.rewards for s in scored] == [(0.5, 0.5)] * 20
    sizes = {s.parts["several"][0].reason for s in scored}
    assert "3 groups" in sizes
    assert sizes <= {"well", "2 groups", "3 groups"}  # "well": alone
    alone = score(reward(several=plugin("Several")), *(group("a", name=str(i)) for i in range(9)))
    assert {s.parts["several"][0].reason for s in alone} == {"well"}


@pytest.mark.parametrize(("word", "verdict"), [("hang", "timeout"), ("die", "crash"), ("raise", "plugin_error")])
def test_one_reply_costs_a_batch_of_groups_only_its_own_score(word, verdict):
    own = plugin("Several", actors={"groups_per_call": 4})
    keys = reward(several=own, runtime={**RUNTIME, "timeout_s": 1})
    groups = [group("a", word if i == 5 else "b", name=str(i)) for i in range(12)]
    scored = score(keys, *groups)
    assert [s.rewards for s in scored] == [(0.5, None if i == 5 else 0.5) for i in range(12)]
    assert scored[5].parts["several"][1].verdict == verdict


def test_an_own_actor_that_only_dies_stops_the_run_although_the_others_score():
    keys = reward(good=plugin("Where"), bad=plugin("OnReply", actors={}), runtime={**RUNTIME, "max_restarts": 3})
    with pytest.raises(ScoringError, match=r"'bad' ended its process: signal 9.*4 scoring processes in a row"):
        score(keys, *(group("die", name=str(i)) for i in range(20)))


def test_what_a_plugin_loads_at_its_start_does_not_count_as_memory_of_scoring():
    (scored,) = score(reward(big=plugin("HoldsMuch", actors={})), group("a"))
    assert scored.rewards == (200.0,)


def test_a_plugin_that_cannot_start_is_one_sentence():
    with pytest.raises(PluginError, match=r"^reward.x: its start\(\) failed: OSError: no weights file$"):
        score(reward(x=plugin("NoWeights", actors={})), group("a"))


def test_the_time_of_each_part_comes_with_its_group():
    scored = score(reward(slow=plugin("Slow"), where=plugin("Where")), group("a", "b"), group("c", name="u"))
    assert [s.seconds["slow"] >= 0.05 * len(s.samples) for s in scored] == [True, True]
    assert all(0 < s.seconds["where"] < s.seconds["slow"] for s in scored)
    (hung,) = score(reward(bad=plugin("OnReply"), runtime={**RUNTIME, "timeout_s": 1}), group("a", "hang"))
    assert hung.seconds["bad"] >= 1 + 0.5  # the group, then the sample alone, each to its end
    (scored, again) = (score(reward(where=plugin("Slow")), group("a"))[0] for _ in range(2))
    assert scored == again  # times tell no two runs apart


def test_the_last_traceback_of_each_part_is_told_once_and_kept_with_the_sample():
    events = []
    keys = reward(bad=plugin("OnReply"))
    scored = score(keys, group("a", "raise"), group("raise", name="u"), on_event=lambda *event: events.append(event))
    ((kind, text),) = events
    assert kind == "plugin_error"
    assert text.startswith("reward part 'bad' failed; its last traceback:\nTraceback (most recent call last):\n")
    assert 'plugins.py", line ' in text
    assert text.endswith("ZeroDivisionError: a mistake")
    assert "isolate.py" not in text  # the plugin's own frames only
    assert scored[0].parts["bad"][1].evidence == {"traceback": text.partition("\n")[2]}
    assert scored[0].parts["bad"][0].evidence is None


def test_a_long_silence_is_told_with_its_deadline(monkeypatch, caplog):
    monkeypatch.setattr(schedule, "_HEARTBEAT_S", 0.5)
    with caplog.at_level(logging.INFO, "rlkit.waiting"):
        score(reward(bad=plugin("OnReply"), runtime={**RUNTIME, "timeout_s": 2}), group("hang"))
    assert "waiting for the scores of 1 groups: " in caplog.text
    assert "(limit 2 s)" in caplog.text


def test_shares_of_gpus_are_whole_beyond_one():
    for gpus in (1.5, -1):
        with pytest.raises(ValueError, match="gpus"):
            reward(x=plugin("Where", actors={"gpus": gpus}))


def test_a_process_that_is_ended_from_outside_costs_a_lone_sample_nothing():
    """One part, one sample: nothing else is tried after it, so the first loss alone must not be held against it."""
    events = []
    pool = LocalPool(reward(slow=plugin("Slow")), HERE, on_event=lambda *event: events.append(event))
    (handle,) = pool.handles

    def groups():
        os.kill(handle.process.pid, signal.SIGSTOP)
        yield 0, group("a")
        os.kill(handle.process.pid, signal.SIGKILL)

    try:
        ((_, scored),) = pool.score(groups())
    finally:
        pool.close()
    assert scored.parts["slow"][0].value == 1.0
    assert [kind for kind, _ in events] == ["scorer_replaced"]


def test_a_process_that_does_not_start_again_is_tried_until_the_losses_are_used_up(monkeypatch):
    pauses = []
    monkeypatch.setattr(restarts, "time", SimpleNamespace(sleep=pauses.append, monotonic=time.monotonic))
    pool = LocalPool(reward(x=plugin("OnReply"), runtime={**RUNTIME, "max_restarts": 4}), HERE)
    start, failures = ChildProcesses.start, iter([PluginError("no memory"), ClusterError("no answer")])

    def start_but(workers, count):
        failure = next(failures, None)
        if failure is not None:
            raise failure
        return start(workers, count)

    monkeypatch.setattr(ChildProcesses, "start", start_but)
    ((_, scored),) = pool.score([(0, group("die"))])
    pool.close()
    assert scored.parts["x"][0].verdict == "crash"
    assert pauses == [0.25, 0.5, 1.0]  # before the second try, the third, and after the sample's second crash


class Called:
    """A process of `Forgetful`."""

    def __init__(self):
        self.calls = []


class Forgetful:
    """Processes as Ray's actors: one that dies takes the replies along that were on their way."""

    calls_per_worker = 4

    def __init__(self):
        self.started = 0
        self.busy = False

    def start(self, count):
        self.started += count
        return [(Called(), StartReply(needs={"x": ()})) for _ in range(count)]

    def submit(self, handle, groups, parts):
        handle.calls.append(groups)
        return handle, len(handle.calls) - 1

    def wait(self, tickets, timeout_s):
        return set() if self.busy else set(tickets)

    def result(self, ticket):
        handle, number = ticket
        if any(s.response == "die" for groups in handle.calls[number:] for g in groups for s in g.samples):
            raise WorkerLost("dead")
        groups = handle.calls[number]
        return [PartScores({"x": (Score(1.0),) * len(g.samples)}, {"x": 0.0}) for g in groups]

    def kill(self, handle):
        pass


def test_a_sample_is_not_blamed_for_the_call_that_was_queued_behind_it():
    pool = schedule.GroupScheduler(lambda place: Forgetful(), reward(x=plugin("OnReply")))
    groups = [group("ok", "die", "ok"), group("ok", "ok", "die"), group("ok", "ok", "ok"), group("die", "ok", "ok")]
    found = [scored.parts["x"] for _, scored in sorted(pool.score(enumerate(groups)))]
    assert [[score.value for score in scores] for scores in found] == [
        [1.0, None, 1.0],
        [1.0, 1.0, None],
        [1.0, 1.0, 1.0],
        [None, 1.0, 1.0],
    ]


def test_a_step_that_is_left_starts_no_process_until_the_next_one():
    workers = Forgetful()
    pool = schedule.GroupScheduler(
        lambda place: workers, reward(x=plugin("OnReply"), runtime={**RUNTIME, "num_workers": 2})
    )

    def interrupted():
        workers.busy = True
        yield from enumerate([group("a")] * 5)
        workers.busy = False
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(pool.score(interrupted()))
    assert workers.started == 2
    ((_, scored),) = pool.score([(0, group("b"))])
    assert (scored.parts["x"][0].value, len(pool.handles), workers.started) == (1.0, 1, 3)
