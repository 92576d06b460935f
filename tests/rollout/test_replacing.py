"""What the pool does where workers hang, die or do not start, at any call: real actors, an engine that is a script."""

import os
import signal
import time
from types import SimpleNamespace

import psutil
import pytest
import ray

from rlkit.cluster import restarts as restarts_module
from rlkit.errors import ClusterError, LearnerLost
from rlkit.recipe.schema import RolloutKeys
from rlkit.records import Task
from rlkit.rollout import rollout_pool as pool_module
from rlkit.rollout.engine import EngineSpec
from rlkit.rollout.request import DrawRequest, derive_seed
from rlkit.rollout.rollout_pool import RolloutPool
from tests.rollout.scripted import BUSY, FREE, ScriptedWorker

pytestmark = pytest.mark.usefixtures("ray_cluster")


class Case:
    """A pool of two scripted workers, its folder and what it told."""

    def __init__(self, folder, monkeypatch, *acts, timeout_s=5.0, max_restarts=4):
        self.folder = folder
        self.plan(*acts)
        self.told = []
        self.num_drawn_when_told = []
        self.drawn = {}
        monkeypatch.setattr(pool_module, "RolloutWorker", ScriptedWorker)
        keys = RolloutKeys(num_workers=2, timeout_s=timeout_s)
        spec = EngineSpec(str(folder), keys, "float32", 0)
        self.pool = RolloutPool(spec, start_timeout_s=60, max_restarts=max_restarts, on_event=self._hear)

    def _hear(self, kind, text):
        assert kind == "rollout_worker_replaced"
        self.told.append(text)
        self.num_drawn_when_told.append(len([i for i in self.drawn if i % 2 == 0]))
        (self.folder / FREE).touch()

    def plan(self, *acts):
        self.folder.mkdir(exist_ok=True)
        for act in acts:
            (self.folder / act).touch()

    def draw(self, count=6):
        self.drawn = {}
        for index, group in self.pool.draw(requests(count)):
            assert index not in self.drawn
            self.drawn[index] = [(s.response, s.policy_version) for s in group.samples]
        return self.drawn


def requests(count):
    seeds = [tuple(derive_seed(0, "t", i, n) for n in range(2)) for i in range(count)]
    return [DrawRequest(i, Task(f"t{i}", "math", "p", "1"), (1,), "", seeds[i]) for i in range(count)]


def expected(count, weights="w1", version=1):
    return {r.index: [(f"{seed} {weights}", version) for seed in r.seeds] for r in requests(count)}


def noted_pauses(monkeypatch):
    """The pauses before replacements, which are then none."""
    pauses = []
    monkeypatch.setattr(restarts_module, "time", SimpleNamespace(sleep=pauses.append, monotonic=time.monotonic))
    return pauses


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def case(tmp_path, monkeypatch):
    found = Case(tmp_path, monkeypatch)
    found.pool.load(ray.put("w1"), 1)
    found.pool.draw_on_each(requests(1))
    yield found
    found.pool.close()


def test_a_stopped_worker_beside_a_busy_one_is_found_replaced_and_really_ended(case):
    case.plan(BUSY, "stop-draw")
    assert case.draw(200) == expected(200)
    (text,) = case.told
    assert "returned no group for 5 s" in text
    assert 0 < case.num_drawn_when_told[0] < 100  # the other one was still at work
    (taken,) = case.folder.glob("stop-draw-by-*")
    stopped = int(taken.name.rpartition("-")[2])
    deadline = time.monotonic() + 30
    while alive(stopped):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_workers_that_die_together_are_replaced_together_and_draw_the_same(case):
    pids = [
        ray.get(w.__ray_call__.remote(lambda self: os.getpid()), timeout=60) for w in case.pool._workers.actors.values()
    ]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert case.draw() == expected(6)
    assert len(case.told) == 2


@pytest.mark.parametrize("act", ["die-load", "fail-start", "die-start"])
def test_a_replacement_that_is_lost_before_it_works_is_one_more_restart(case, act, monkeypatch):
    pauses = noted_pauses(monkeypatch)
    case.plan("die-draw", act)
    assert case.draw() == expected(6)
    assert len(case.told) == 2
    assert pauses == [1.0]  # the first at once, the next after a second
    case.plan("die-draw")
    case.draw()
    assert pauses == [1.0]  # it had worked: at once again


def test_a_worker_that_dies_while_it_takes_weights_or_draws_the_canary_is_replaced(case):
    case.plan("die-load")
    case.pool.load(ray.put("w2"), 2)
    case.plan("die-draw_all")
    groups = case.pool.draw_on_each(requests(2))
    assert [[s.response for s in g.samples] for g in groups[0]] == [[s.response for s in g.samples] for g in groups[1]]
    assert case.draw() == expected(6, "w2", 2)
    assert len(case.told) == 2


def test_a_worker_that_dies_at_its_first_start_is_replaced(tmp_path, monkeypatch):
    whole = Case(tmp_path / "whole", monkeypatch)
    case = Case(tmp_path / "hurt", monkeypatch, "die-start")
    (text,) = case.told
    assert "its process or node died" in text
    assert case.draw() == whole.draw()
    whole.pool.close()
    case.pool.close()


def test_workers_that_die_at_every_start_end_the_run_at_the_second(tmp_path, monkeypatch):
    with pytest.raises(ClusterError, match=r"starting 2 rollout worker\(s\) on .* was lost: its process or node died"):
        Case(tmp_path, monkeypatch, "always-die-start")


def test_an_engine_that_cannot_be_built_is_not_tried_twice(tmp_path, monkeypatch):
    with pytest.raises(ClusterError, match="no room on the device"):
        Case(tmp_path, monkeypatch, "fail-start")


def test_restarts_that_lead_nowhere_end_the_run_with_a_sentence(tmp_path, monkeypatch):
    noted_pauses(monkeypatch)
    case = Case(tmp_path, monkeypatch, max_restarts=2)
    case.plan("die-draw", "die-start")
    case.draw()
    case.plan("die-draw")
    with pytest.raises(ClusterError, match=r"^rollout-\d died, and cluster\.max_restarts replacements are used up$"):
        case.draw()
    case.pool.close()


def test_pauses_double_up_to_a_minute(monkeypatch):
    pauses = noted_pauses(monkeypatch)
    restarts = restarts_module.Restarts(10, "k")
    for _ in range(9):
        restarts.consume(["x died"])
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    with pytest.raises(ClusterError, match=r"x died; y died, and k replacements are used up"):
        restarts.consume(["x died", "y died"])


def test_weights_that_are_gone_are_the_learners_loss(case):
    case.plan("lose-load")
    with pytest.raises(LearnerLost, match="loading policy version 2 into the engines lost its input"):
        case.pool.load(ray.put("w2"), 2)
    case.plan("die-draw", "lose-load")  # the replacement is to get them
    with pytest.raises(LearnerLost, match="lost its input"):
        case.draw()
    case.pool.load(ray.put("w3"), 3)
    assert case.draw() == expected(6, "w3", 3)
