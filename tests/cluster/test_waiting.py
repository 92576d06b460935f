"""Every wait has a deadline, says what it waits for, and names what was lost."""

import ast
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import ray

from rlkit.cluster import calls
from rlkit.cluster.ray_start import start_ray
from rlkit.errors import ActorDied, ActorLost, ClusterError, DataError
from rlkit.recipe.schema import ClusterKeys


class Worker:
    """Answers, never answers, fails or dies."""

    def answer(self):
        return 7

    def echo(self, value):
        return value

    def priority(self):
        return os.getpriority(os.PRIO_PROCESS, 0)

    def hang(self):
        threading.Event().wait()

    def fail(self, error):
        raise error

    def die(self):
        os._exit(3)


@pytest.fixture
def worker(ray_cluster):
    found = ray.remote(Worker).options(num_cpus=0).remote()
    assert calls.get(found.answer.remote(), timeout_s=60, what="the start") == 7
    yield found
    ray.kill(found)


def test_a_hanging_call_is_told_while_it_hangs_and_ends_at_its_deadline(worker, monkeypatch, caplog):
    monkeypatch.setattr(calls, "HEARTBEAT_S", 0.1)
    with (
        caplog.at_level(logging.INFO, "rlkit.waiting"),
        pytest.raises(ActorLost, match=r"the update took more than 1 s"),
    ):
        calls.get(worker.hang.remote(), timeout_s=1, what="the update")
    assert "still waiting, 0 s of at most 1: the update" in caplog.text


def test_actors_run_at_the_priority_of_the_command(worker):
    found = calls.get(worker.priority.remote(), timeout_s=60, what="the priority")
    assert found == os.getpriority(os.PRIO_PROCESS, 0)


def test_a_list_waits_for_all_of_them(worker):
    assert calls.get([worker.answer.remote(), ray.put(8)], timeout_s=60, what="both") == [7, 8]
    with pytest.raises(ActorLost, match="both took more than"):
        calls.get([ray.put(8), worker.hang.remote()], timeout_s=0.5, what="both")


def test_of_several_actors_each_has_its_own_end(worker):
    others = [ray.remote(Worker).options(num_cpus=0).remote() for _ in range(3)]
    refs = [
        worker.answer.remote(),
        others[0].die.remote(),
        others[1].hang.remote(),
        others[2].fail.remote(KeyError("a")),
    ]
    ray.wait([refs[0], refs[1], refs[3]], num_returns=3, timeout=60)
    value, *errors = calls.get_each(refs, timeout_s=1, what="the canary")
    assert value == 7
    assert [type(e) for e in errors] == [ActorDied, ActorLost, ClusterError]
    assert "its process or node died" in str(errors[0])
    assert str(errors[1]) == "the canary took more than 1 s (a deadline set in the recipe)"
    for other in others:
        ray.kill(other)


LOST_NODE = """
import sys
import ray
from ray.cluster_utils import Cluster
from rlkit.cluster import calls
from rlkit.errors import ActorLost, ValueLost
from tests.cluster.test_waiting import Worker

told = []
nodes = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
other = nodes.add_node(num_cpus=1, resources={"other": 1})
there = ray.remote(Worker).options(num_cpus=0, resources={"other": 1}).remote()
here = ray.remote(Worker).options(num_cpus=0, resources={"node:__internal_head__": 0.1}).remote()
value = there.echo.remote(bytes(2**20))
ray.wait([value], fetch_local=False)
nodes.remove_node(other, allow_graceful=False)
# One after the other: an actor may still answer in the moment after its node's end.
for call, args, expected in ((here.echo, [value], ValueLost), (there.answer, [], ActorLost)):
    try:
        calls.get(call.remote(*args), timeout_s=100, what="it")
    except expected as e:
        told.append(f"{type(e).__name__} {e}")
told.append(calls.get(here.answer.remote(), timeout_s=60, what="the next call"))
ray.shutdown()
nodes.shutdown()
open(sys.argv[1], "w").write(repr(told))
"""


@pytest.mark.slow
def test_what_a_call_was_given_and_is_gone_with_its_node_is_told_apart_from_a_lost_actor(tmp_path):
    root, out = Path(__file__).parents[2], tmp_path / "told"  # Ray prints between a program's own lines
    command = [sys.executable, "-c", LOST_NODE, str(out)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    lost, dead, answer = ast.literal_eval(out.read_text())
    assert lost.startswith("ValueLost it lost its input: the node that held it died")
    assert dead.startswith("ActorDied it was lost: its process or node died")
    assert answer == 7


def test_a_death_an_error_of_ours_and_an_unforeseen_one_are_told_apart(worker):
    with pytest.raises(DataError, match="row 3"):
        calls.get(worker.fail.remote(DataError("row 3")), timeout_s=60, what="it")
    with pytest.raises(ClusterError, match="it failed: KeyError: 'a'"):
        calls.get(worker.fail.remote(KeyError("a")), timeout_s=60, what="it")
    with pytest.raises(ActorLost, match="it was lost: its process or node died"):
        calls.get(worker.die.remote(), timeout_s=60, what="it")


def test_whatever_ray_raises_at_its_start_is_one_sentence_of_ours(monkeypatch):
    """Ray raises bare Exceptions too, such as this one, on a machine that is overloaded."""

    def init(**keys):
        raise Exception("The current node timed out during startup.\nThis could happen because ...")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ClusterError, match=r"^the Ray cluster at head:6379 cannot be used: The current node timed out"):
        start_ray(ClusterKeys(), "head:6379")
