"""Rollout actors on a real Ray: order, workers that die, and weights for their replacements."""

import os
import signal

import numpy as np
import pytest
import ray

from rlkit.errors import ClusterError
from rlkit.models.pretrained import load_model
from rlkit.models.tokenizer import load_tokenizer
from rlkit.models.weight_block import WeightBlock
from rlkit.recipe.schema import RolloutKeys
from rlkit.records import Task
from rlkit.rollout.engine import EngineSpec
from rlkit.rollout.request import DrawRequest, derive_seed
from rlkit.rollout.rollout_pool import RolloutPool


def pid(worker):
    return ray.get(worker.__ray_call__.remote(lambda self: os.getpid()), timeout=60)


def requests(model, count=6, samples=3):
    tokenizer = load_tokenizer(str(model))
    found = []
    for i in range(count):
        ids = np.array(tokenizer(f"What is {i} + 2?")["input_ids"], np.int32)
        seeds = tuple(derive_seed(0, "t", i, n) for n in range(samples))
        found.append(DrawRequest(i, Task(f"t{i}", "math", "p", "1"), ids, "", seeds))
    return found


def tokens(pool, wanted):
    drawn = dict(pool.draw(wanted))
    assert sorted(drawn) == [r.index for r in wanted]
    return {
        i: [(s.token_ids.tolist(), s.logprobs.tolist(), s.policy_version) for s in g.samples] for i, g in drawn.items()
    }


def make_pool(model, num_workers, events, max_restarts=2):
    keys = RolloutKeys(num_workers=num_workers, max_tokens=20, kv_cache_gb=0.1, timeout_s=120)
    spec = EngineSpec(str(model), keys, "float32", 0)
    return RolloutPool(
        spec, start_timeout_s=120, max_restarts=max_restarts, on_event=lambda kind, text: events.append((kind, text))
    )


def new_weights(model):
    weights = {name: p.detach() * 1.01 for name, p in load_model(str(model)).named_parameters()}
    return ray.put(WeightBlock().fill(weights))


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_one_worker_and_two_draw_the_same(tiny_model):
    found = []
    for count in (1, 2):
        pool = make_pool(tiny_model, count, [])
        pool.load(new_weights(tiny_model), 4)
        found.append(tokens(pool, requests(tiny_model)))
        pool.close()
    assert found[0] == found[1]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_killed_worker_changes_nothing(tiny_model):
    events = []
    wanted = requests(tiny_model)
    two = make_pool(tiny_model, 2, events)
    two.load(new_weights(tiny_model), 4)
    expected = tokens(two, wanted)
    assert {version for rows in expected.values() for _, _, version in rows} == {4}
    os.kill(pid(two._workers.actors[1]), signal.SIGKILL)
    # The replacement gets the current weights, and the same seeds give the same samples.
    assert tokens(two, wanted) == expected
    assert [kind for kind, _ in events] == ["rollout_worker_replaced"]
    two.close()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_when_the_replacements_are_used_up_the_run_stops_with_a_sentence(tiny_model):
    pool = make_pool(tiny_model, 1, [], max_restarts=0)
    os.kill(pid(pool._workers.actors[0]), signal.SIGKILL)
    with pytest.raises(ClusterError, match=r"rollout-0 died, and cluster\.max_restarts"):
        tokens(pool, requests(tiny_model, count=2))
    pool.close()
