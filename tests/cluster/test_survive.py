"""Processes of a running job are killed, stopped or lost with their node: it goes on by itself, to the same end."""

import json
import os
import signal
import time

import pytest
import torch
from ray.cluster_utils import Cluster

from tests.chaos.tree import Tree, title
from tests.cluster.conftest import RLKIT, metrics, numbers, run_rlkit, weights
from tests.cluster.test_orphans import await_end, end, living

LEARNER, ROLLOUT, SCORER = "LearnerWorker", "RolloutWorker", "_Actor"
EVENTS = {LEARNER: "learner_restarted", ROLLOUT: "rollout_worker_replaced", SCORER: "scorer_replaced"}
# A stopped process is only found by its deadline; each is far above what the work takes here.
DEADLINES = ["rollout.timeout_s=30", "learner.timeout_s=40", "reward.runtime.timeout_s=30"]
TWO_RANKS = "learner.num_workers=2"


def find(tree, name):
    """The processes of an actor class, newest last; Ray writes the call that it is at into its title."""
    return sorted(pid for pid in tree.pids() if title(pid).startswith(f"ray::{name}"))


def await_step(tree, run_dir, step, limit_s=240):
    deadline = time.monotonic() + limit_s
    while not any(row["stage"] == "stage-1-grpo" and row["step"] >= step for row in metrics(run_dir)):
        assert tree.ended() is None, tree.log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def disturbed(run_dir, *words, step=3, victims=(), number=signal.SIGKILL, limit_s=280):
    """Runs `rlkit train`; once a step is in metrics.jsonl one actor of each named class gets the signal.

    At the end no process of the run is alive, stopped ones included.
    """
    tree = Tree([*RLKIT, "train", *map(str, words), "--run-dir", str(run_dir)], run_dir.with_suffix(".log"))
    try:
        await_step(tree, run_dir, step)
        for pid in [find(tree, name)[-1] for name in victims]:
            os.kill(pid, number)
        processes = living(tree.pids())
        tree.root.wait(timeout=limit_s)
        await_end(processes, tree)
    finally:
        end(tree)
    assert tree.ended() == 0, tree.log.read_text()
    return events_of(run_dir)


def events_of(run_dir):
    path = run_dir / "events.jsonl"
    return [json.loads(line)["event"] for line in path.read_text().splitlines()] if path.exists() else []


def same(run_dir, whole):
    assert numbers(run_dir) == numbers(whole)
    ours, theirs = weights(run_dir), weights(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.fixture(scope="session")
def two_ranks_run(tiny_recipe, tmp_path_factory):
    """The folder of an undisturbed run with two learner ranks."""
    run_dir = tmp_path_factory.mktemp("runs") / "whole-2"
    done = run_rlkit("train", tiny_recipe, TWO_RANKS, "--run-dir", run_dir)
    assert done.code == 0, done.err
    return run_dir


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize(
    "victims",
    [(LEARNER,), (ROLLOUT,), (SCORER,), (ROLLOUT, SCORER, LEARNER)],
    ids=["learner", "rollout worker", "scorer", "one of each"],
)
def test_a_lost_actor_changes_no_number_of_the_run(whole_run, tiny_recipe, tmp_path, victims, number):
    events = disturbed(tmp_path / "run", tiny_recipe, *DEADLINES, victims=victims, number=number)
    assert {EVENTS[name] for name in victims} <= set(events)
    same(tmp_path / "run", whole_run)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("victims", [(LEARNER,), (ROLLOUT, SCORER, LEARNER)], ids=["one rank", "one of each"])
def test_a_lost_rank_of_two_changes_no_number_of_the_run(two_ranks_run, tiny_recipe, tmp_path, victims, number):
    events = disturbed(tmp_path / "run", tiny_recipe, TWO_RANKS, *DEADLINES, victims=victims, number=number)
    assert {EVENTS[name] for name in victims} <= set(events)
    same(tmp_path / "run", two_ranks_run)


@pytest.fixture
def nodes():
    """A Ray cluster of three nodes on this machine, each with processes of its own; the head has no CPU to give."""
    options = {"object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**options, "num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(**options, num_cpus=2)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


def raylet_of(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return int(file.read().rpartition(")")[2].split()[1])


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [ROLLOUT, LEARNER])
def test_a_lost_node_changes_no_number_of_the_run(whole_run, tiny_recipe, tmp_path, nodes, name):
    run_dir = tmp_path / "run"
    spread = ["cluster.strategy=SPREAD", "cluster.cpus_per_actor=1", "--address", nodes.address]
    words = [*RLKIT, "train", str(tiny_recipe), *spread, "--run-dir", str(run_dir)]
    tree = Tree(words, tmp_path / "run.log")
    raylets = [node.all_processes["raylet"][0].process.pid for node in nodes.list_all_nodes() if not node.is_head()]
    try:
        await_step(tree, run_dir, 3)
        (lost,) = [r for r in raylets if any(title(pid).startswith(f"ray::{name}") for pid in children(r))]
        os.kill(lost, signal.SIGKILL)
        tree.root.wait(timeout=400)
    finally:
        end(tree)
    assert tree.ended() == 0, tree.log.read_text()
    assert EVENTS[name] in events_of(run_dir)
    same(run_dir, whole_run)


def children(parent):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if raylet_of(pid) == parent:
                found.append(int(pid))
        except OSError:
            continue
    return found
