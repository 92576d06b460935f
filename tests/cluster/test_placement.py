"""Engines and learner ranks land where the recipe says, and a cluster without room for them is named."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st
from ray.cluster_utils import Cluster as RayCluster
from ray.util.placement_group import placement_group_table

from rlkit.cluster import placement as placement_module
from rlkit.cluster.layout import bundles, describe_lack
from rlkit.cluster.placement import Placement, bundle_options, release, reserve
from rlkit.errors import ClusterError
from rlkit.learner.learner_group import LearnerWorker
from rlkit.plan.defaults import fill_in_defaults
from rlkit.plan.machine import Machine
from rlkit.plan.make_plan import make_plan
from rlkit.recipe.load import load_recipe
from rlkit.recipe.schema import Recipe
from rlkit.rollout.engine import EngineSpec, engine_arguments
from rlkit.stages.offline.launch import OfflineWorker
from tests.cluster.conftest import numbers, weights

QUICKSTART = Path(__file__).parents[2] / "recipes/quickstart.yaml"
GPUS = Machine(cpus=16, memory_gib=500, shm_gib=500, disk_gib=5000, gpus_gib=(80.0, 80.0))


def recipe_with(*words: str) -> Recipe:
    return load_recipe(QUICKSTART, list(words)).recipe


@given(engines=st.integers(1, 5), ranks=st.integers(1, 5), cpus=st.sampled_from([0.0, 0.5, 2.0]))
def test_every_actor_is_in_one_bundle_whichever_way_they_are_placed(engines, ranks, cpus):
    words = (f"rollout.num_workers={engines}", f"learner.num_workers={ranks}", f"cluster.cpus_per_actor={cpus}")
    for placement, count in (("apart", engines + ranks), ("together", max(engines, ranks))):
        recipe = recipe_with(*words, f"cluster.placement={placement}", *half_a_gpu())
        found = bundles(recipe)
        assert len(found) == count
        assert sorted(n for b in found for n in b.engines) == list(range(engines))
        assert sorted(n for b in found for n in b.ranks) == list(range(ranks))
        assert sum(b.cpus for b in found) == pytest.approx(cpus * (engines + ranks))
        assert sum(b.gpus for b in found) == pytest.approx(0.5 * (engines + ranks))
        assert all(b.resources["CPU"] > 0 for b in found)
        alone = bundles(recipe, with_learner=False)
        assert [b.engines for b in alone] == [(n,) for n in range(engines)]
        assert not any(b.ranks for b in alone)


def half_a_gpu() -> tuple[str, str]:
    return "rollout.gpus_per_worker=0.5", "learner.gpus_per_worker=0.5"


def test_what_lacks_is_told():
    nodes = [{"CPU": 4.0, "GPU": 1.0}, {"CPU": 4.0}]
    two = [{"CPU": 1.0, "GPU": 1.0}] * 2
    assert describe_lack(two, "PACK", nodes, {"CPU": 3.0}) == (
        "asked for CPU 2, GPU 2 in 2 bundles (PACK); 2 nodes have CPU 8 of which 3 free, GPU 1 of which 0 free"
    )
    assert "no node has as much as one bundle needs (CPU 6)" in describe_lack([{"CPU": 6.0}], "PACK", nodes, {})
    assert "needs a node for each of the 3" in describe_lack([{"CPU": 1.0}] * 3, "STRICT_SPREAD", nodes, {})
    assert "one node that has all of it" in describe_lack([{"CPU": 3.0}] * 2, "STRICT_PACK", nodes, {})


def test_plan_shows_the_bundles_and_refuses_what_cannot_be_placed():
    plan = make_plan(recipe_with("cluster.placement=together"), machine=GPUS)
    assert plan.refusals == ()
    assert [(b.actors, b.gpus) for b in plan.bundles] == [("rollout-0 + learner-0", 1.0)]
    apart = make_plan(recipe_with("rollout.num_workers=2"), machine=GPUS)
    assert [b.actors for b in apart.bundles] == ["rollout-0", "rollout-1", "learner-0"]

    def refused(*words: str, machine: Machine = GPUS) -> str:
        (sentence,) = make_plan(recipe_with(*words), machine=machine).refusals
        return sentence

    no_gpus = Machine(cpus=16, memory_gib=500, shm_gib=500, disk_gib=5000)
    assert "an engine on a CPU cannot sleep" in refused("cluster.placement=together", machine=no_gpus)
    wide = ("rollout.gpus_per_worker=1", "learner.gpus_per_worker=1")
    assert "at most 1" in refused("cluster.placement=together", *wide)
    assert "a run without cluster.address has one" in refused("cluster.strategy=STRICT_SPREAD")
    assert "cluster.cpus_per_actor" in refused("cluster.cpus_per_actor=9")
    ranks = ("cluster.placement=together", "learner.num_workers=2", "rollout.num_workers=2")
    assert [b.gpus for b in make_plan(recipe_with(*ranks), machine=GPUS).bundles] == [1.0, 1.0]


def test_engines_sleep_where_they_share_a_gpu_and_only_there():
    recipe = fill_in_defaults(recipe_with("cluster.placement=together"), GPUS)
    spec = EngineSpec("m", recipe.rollout, "bfloat16", 0, sleeps=True)
    assert engine_arguments(spec)["enable_sleep_mode"] is True
    assert "enable_sleep_mode" not in engine_arguments(EngineSpec("m", recipe.rollout, "bfloat16", 0))


@pytest.mark.parametrize("kind", [LearnerWorker, OfflineWorker])
def test_who_does_not_see_the_runs_folder_says_so(tmp_path, kind):
    file = tmp_path / "progress.json"
    file.write_text("of this run")
    worker = kind()
    worker.check_shared_folder(file, b"of this run")
    with pytest.raises(ClusterError, match=r"run\.dir must be a folder that all of them share"):
        worker.check_shared_folder(file, b"of another node's run")
    with pytest.raises(ClusterError, match="cannot read the run folder"):
        worker.check_shared_folder(tmp_path / "missing", b"")


class Where:
    """An actor that says on which node it is."""

    def node(self) -> str:
        return ray.get_runtime_context().get_node_id()


def nodes_of(actors) -> list[str]:
    return ray.get([actor.node.remote() for actor in actors], timeout=60)


@pytest.fixture(scope="module")
def three_nodes():
    """A cluster of three raylets with two CPUs each, on this machine."""
    made = RayCluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": 80 * 2**20})
    for _ in range(2):
        made.add_node(num_cpus=2, object_store_memory=80 * 2**20)
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.mark.slow
def test_actors_are_spread_and_packed_as_asked_and_give_their_room_back(three_nodes):
    for strategy, num_nodes in (("STRICT_SPREAD", 3), ("SPREAD", 3), ("STRICT_PACK", 1), ("PACK", 1)):
        recipe = recipe_with(f"cluster.strategy={strategy}", "rollout.num_workers=2", "cluster.cpus_per_actor=0.5")
        with Placement(recipe) as place:
            options = [place.engine(0), place.engine(1), place.rank(0)]
            actors = [ray.remote(Where).options(**own).remote() for own in options]
            assert len(set(nodes_of(actors))) == num_nodes, strategy
            again = ray.remote(Where).options(**place.engine(1))
            before = nodes_of([actors[1]])
            ray.kill(actors[1])
            assert nodes_of([again.remote()]) == before, "a replaced worker goes back into its bundle"
        wait_for(lambda: ray.available_resources().get("CPU") == 6.0)


def wait_for(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_an_impossible_demand_ends_at_the_deadline_and_is_named(three_nodes, monkeypatch, caplog):
    monkeypatch.setattr(placement_module, "HEARTBEAT_S", 0.0)
    with caplog.at_level("INFO", "rlkit.waiting"), pytest.raises(ClusterError) as e:
        Placement(recipe_with("cluster.cpus_per_actor=3", "cluster.start_timeout_s=3"))
    assert "asked for CPU 6 in 2 bundles (PACK); 3 nodes have CPU 6" in str(e.value)
    assert "no node has as much as one bundle needs (CPU 3)" in str(e.value)
    assert "waiting for room in the cluster" in caplog.text
    assert all(row["state"] == "REMOVED" for row in placement_group_table().values())


@pytest.mark.slow
def test_a_bundle_whose_node_died_moves_to_another(three_nodes):
    extra = three_nodes.add_node(num_cpus=4, object_store_memory=80 * 2**20)
    group = reserve([{"CPU": 3.0}, {"CPU": 1.0}], "PACK", timeout_s=60)
    try:
        worker = ray.remote(Where).options(num_cpus=3, **bundle_options(group, 0)).remote()
        assert nodes_of([worker]) == [extra.node_id]
        other = three_nodes.add_node(num_cpus=4, object_store_memory=80 * 2**20)
        three_nodes.remove_node(extra, allow_graceful=False)
        wait_for(lambda: not any(node["Alive"] and node["NodeID"] == extra.node_id for node in ray.nodes()))
        again = ray.remote(Where).options(num_cpus=3, **bundle_options(group, 0)).remote()
        assert nodes_of([again]) == [other.node_id]
        three_nodes.remove_node(other, allow_graceful=False)
    finally:
        release(group)


@pytest.mark.slow
def test_a_run_spread_over_three_nodes_gives_the_same_numbers(three_nodes, tiny_recipe, whole_run, tmp_path):
    words = ["rollout.num_workers=2", "cluster.strategy=STRICT_SPREAD", "cluster.cpus_per_actor=0.5"]
    command = [sys.executable, "-m", "rlkit", "train", str(tiny_recipe), *words, "--address", three_nodes.address]
    run_dir, before = tmp_path / "spread", len(placements_of(3))
    done = subprocess.run(
        [*command, "--run-dir", str(run_dir)], capture_output=True, text=True, timeout=400, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert numbers(run_dir) == numbers(whole_run)
    ours, theirs = weights(run_dir), weights(whole_run)
    assert all((ours[name] == theirs[name]).all() for name in theirs)
    assert len(placements_of(3)) == before + 1
    assert all(row["state"] == "REMOVED" for row in placement_group_table().values())


def placements_of(num_bundles: int) -> list[dict]:
    return [row for row in placement_group_table().values() if len(row["bundles"]) == num_bundles]
