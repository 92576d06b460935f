"""What several stages' tests share: a small real model, made once a session."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A change is judged on the same examples each time; at a desk hypothesis looks for new ones.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("desk", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "desk")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """See make_tiny_model."""
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def make_tiny_model(out: Path) -> Path:
    """A real Qwen2 of 0.2 M parameters with a tokenizer trained on sums; tied embeddings."""
    from rlkit.models.init import init_model
    from rlkit.recipe.schema import ModelInitKeys

    texts = (
        f"What is {a} + {b}?\n<think>\n{a}+{b}={a + b}\n</think>\n\\boxed{{{a + b}}}"
        for a in range(40)
        for b in range(20)
    )
    init = ModelInitKeys(
        hidden_size=64, intermediate_size=128, num_layers=2, num_heads=2, num_kv_heads=1, max_position_embeddings=2048
    )
    init_model(init, texts, seed=3, out=out)
    return out


@pytest.fixture
def synced(monkeypatch):
    """The paths that `rlkit.disk` has put on the disk, as they come."""
    from rlkit import disk

    paths, real = set(), disk.sync

    def sync(path):
        real(path)
        paths.add(path)

    monkeypatch.setattr(disk, "sync", sync)
    return paths


@pytest.fixture(scope="session")
def ray_cluster():
    """One small local Ray for the tests that need actors."""
    from rlkit.cluster.ray_start import start_ray, stop_ray
    from rlkit.recipe.schema import ClusterKeys

    start_ray(ClusterKeys(object_store_mb=100), None)
    yield
    stop_ray()
