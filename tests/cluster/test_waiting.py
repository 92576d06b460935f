"""Every wait has a deadline, says what it waits for, and names what was lost."""

import logging
import os
import threading

import pytest
import ray

from rlkit import cluster
from rlkit.errors import ActorLost, ClusterError, DataError


class Worker:
    """Answers, never answers, fails or dies."""

    def answer(self):
        return 7

    def hang(self):
        threading.Event().wait()

    def fail(self, error):
        raise error

    def die(self):
        os._exit(3)


@pytest.fixture
def worker(ray_cluster):
    found = ray.remote(Worker).options(num_cpus=0).remote()
    assert cluster.get(found.answer.remote(), timeout_s=60, what="the start") == 7
    yield found
    ray.kill(found)


def test_a_hanging_call_is_told_while_it_hangs_and_ends_at_its_deadline(worker, monkeypatch, caplog):
    monkeypatch.setattr(cluster, "HEARTBEAT_S", 0.1)
    with (
        caplog.at_level(logging.INFO, "rlkit.waiting"),
        pytest.raises(ActorLost, match=r"the update took more than 1 s"),
    ):
        cluster.get(worker.hang.remote(), timeout_s=1, what="the update")
    assert "waiting for the update: 0 s of at most 1" in caplog.text


def test_a_list_waits_for_all_of_them(worker):
    assert cluster.get([worker.answer.remote(), ray.put(8)], timeout_s=60, what="both") == [7, 8]
    with pytest.raises(ActorLost, match="both took more than"):
        cluster.get([ray.put(8), worker.hang.remote()], timeout_s=0.5, what="both")


def test_a_death_an_error_of_ours_and_an_unforeseen_one_are_told_apart(worker):
    with pytest.raises(DataError, match="row 3"):
        cluster.get(worker.fail.remote(DataError("row 3")), timeout_s=60, what="it")
    with pytest.raises(ClusterError, match="it failed: KeyError: 'a'"):
        cluster.get(worker.fail.remote(KeyError("a")), timeout_s=60, what="it")
    with pytest.raises(ActorLost, match="it was lost: its process or node died"):
        cluster.get(worker.die.remote(), timeout_s=60, what="it")
