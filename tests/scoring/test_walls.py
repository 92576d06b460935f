"""Plugins that cannot be stopped from inside, in real processes: ended, named, and only the sample at fault lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlkit import Group, Sample, Task
from rlkit.errors import ClusterError, PluginError, ScoringError
from rlkit.recipe.schema.reward_section import RewardKeys
from rlkit.scoring.processes.child_processes import LocalPool

HERE = Path(__file__).parent
ONLY = dict.fromkeys(("accuracy", "reasoning", "format", "efficiency"))
RUNTIME = {"num_workers": 2, "timeout_s": 4, "memory_mb": 256}


def reward(cls="OnReply", *, more=None, **runtime):
    bad = {"plugin": f"./plugins.py:{cls}", "weight": 1}
    return RewardKeys.model_validate({**ONLY, "bad": bad, **(more or {}), "runtime": {**RUNTIME, **runtime}})


@pytest.fixture
def events():
    return []


def group(*replies, name="t"):
    return Group(Task(name, "math", "?", "7"), tuple(Sample(f"{name}#{i}", text, 1) for i, text in enumerate(replies)))


HOSTILE = {
    "hang": ("timeout", "reward part 'bad' took longer than 2 s"),
    "compute": ("timeout", "reward part 'bad' took longer than 2 s"),
    "flood": ("timeout", "reward part 'bad' took longer than 2 s"),
    "die": ("crash", "reward part 'bad' ended its process: signal 9 (SIGKILL)"),
    "exit": ("crash", "reward part 'bad' ended its process: exit code 0"),
    "eat": ("memory", "reward part 'bad' took more than reward.runtime.memory_mb allows"),
}


def test_hostile_replies_cost_themselves_only(events):
    pool = LocalPool(reward(), HERE, on_event=lambda kind, text: events.append((kind, text)))
    groups = [group("a", word, name=word) for word in HOSTILE] + [group("a", "b", name=f"well {i}") for i in range(9)]
    try:
        found = {scored.task.id: scored for _, scored in pool.score(enumerate(groups))}
    finally:
        pool.close()
    assert len(found) == len(groups)
    for word, fault in HOSTILE.items():
        scored = found.pop(word)
        assert scored.rewards == (0.5, None)
        assert (scored.parts["bad"][1].verdict, scored.parts["bad"][1].reason) == fault
    assert all(scored.rewards == (0.5, 0.5) for scored in found.values())
    assert [kind for kind, _ in events] == ["scorer_replaced"] * 2 * len(HOSTILE)


def test_the_other_parts_of_a_sample_at_fault_keep_their_scores():
    more = {"short": {"plugin": "./plugins.py:ShortAnswers", "weight": 1}}
    pool = LocalPool(reward(more=more), HERE)
    try:
        ((_, scored),) = pool.score([(0, group("a", "die", "b"))])
    finally:
        pool.close()
    assert scored.rewards == (0.75, None, 0.75)
    assert [s.value for s in scored.parts["short"]] == [1.0, 1.0, 1.0]
    assert [s.verdict for s in scored.parts["bad"]] == ["", "crash", ""]


def test_a_plugin_that_only_dies_stops_the_run_with_its_name(events):
    pool = LocalPool(reward(num_workers=1, max_restarts=5), HERE, on_event=lambda *event: events.append(event))
    try:
        with pytest.raises(ScoringError, match=r"'bad' ended its process: signal 9.*6 scoring processes in a row"):
            list(pool.score((i, group("die", "die")) for i in range(100)))
    finally:
        pool.close()
    assert len(events) == 6


def test_processes_that_are_lost_now_and_then_do_not_stop_the_run():
    pool = LocalPool(reward(num_workers=1, max_restarts=2), HERE)
    try:
        found = list(pool.score((i, group("a", "die")) for i in range(4)))
    finally:
        pool.close()
    assert [scored.rewards for _, scored in found] == [(0.5, None)] * 4


def test_a_plugin_that_is_never_built_has_a_deadline(tmp_path):
    (tmp_path / "slow.py").write_text("import time\nclass Slow:\n    def __init__(self):\n        time.sleep(1000)\n")
    bad = RewardKeys.model_validate({**ONLY, "slow": {"plugin": "./slow.py:Slow", "weight": 1}})
    with pytest.raises(ClusterError, match="did not start within 2 s"):
        LocalPool(bad, tmp_path, start_timeout_s=2)


def test_a_plugin_that_cannot_be_built_is_one_sentence():
    with pytest.raises(PluginError, match=r"^reward.bad: BrokenConstructor could not be built: ValueError: no weights"):
        LocalPool(reward("BrokenConstructor"), HERE)


def test_what_a_flood_leaves_is_bounded(tmp_path):
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tests.scoring.test_walls import *\n"
        "pool = LocalPool(reward(timeout_s=2, num_workers=1), HERE)\n"
        "list(pool.score([(0, group('flood'))])); pool.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(HERE.parents[1])], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert b"this scoring process prints too much; the rest is dropped" in done.stderr
    # The sample is shown to two processes: what ended the first may have had nothing to do with it.
    assert 2 * (256 << 10) <= len(done.stderr) < 2 * (300 << 10)


def test_what_a_plugin_started_ends_with_it(tmp_path):
    (tmp_path / "starts.py").write_text(
        "import subprocess, time\nfrom pathlib import Path\n"
        "class Starts:\n    def score(self, group):\n"
        "        child = subprocess.Popen(['sleep', '1000'])\n"
        f"        Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))\n"
        "        time.sleep(1000)\n"
    )
    starts = {"plugin": "./starts.py:Starts", "weight": 1}
    pool = LocalPool(RewardKeys.model_validate({**ONLY, "s": starts, "runtime": {"timeout_s": 2}}), tmp_path)
    list(pool.score([(0, group("a"))]))
    pool.close()
    status = Path(f"/proc/{(tmp_path / 'pid').read_text()}/status")
    assert not status.exists() or "State:\tZ" in status.read_text()


def test_no_process_is_left_when_the_pool_is_closed():
    pool = LocalPool(reward(), HERE)
    pids = [handle.process.pid for handle in pool.handles]
    assert len(pids) == 2
    assert pool.resident_kb() > 0
    pool.close()
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)


def test_weights_are_those_of_the_step():
    rules = {"ramps": {"short": {"start": 0.0, "from_step": 1, "to_step": 3}}}
    more = {"short": {"plugin": "./plugins.py:ShortAnswers", "weight": 1}, "combine": rules}
    pool = LocalPool(reward(more=more, num_workers=1), HERE)
    try:
        totals = [next(pool.score([(0, group("a"))], step))[1].rewards for step in (1, 2, 3, None)]
    finally:
        pool.close()
    assert totals == [(0.5,), (pytest.approx((0.5 + 0.5) / 1.5),), (0.75,), (0.75,)]


def test_a_plugin_that_leaks_is_replaced_and_loses_no_sample(events):
    pool = LocalPool(reward("Keeps", num_workers=1), HERE, on_event=lambda *event: events.append(event))
    try:
        found = list(pool.score((i, group("keep", "a")) for i in range(10)))
    finally:
        pool.close()
    assert [scored.rewards for _, scored in found] == [(1.0, 1.0)] * 10
    assert 1 <= len(events) <= 5
    assert events[0] == ("scorer_replaced", "reward part 'bad' took more than reward.runtime.memory_mb allows")
