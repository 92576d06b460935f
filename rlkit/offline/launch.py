"""Runs an offline stage in a Ray actor, with its progress and a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import ray

from rlkit.cluster import get
from rlkit.errors import ClusterError
from rlkit.offline.sft import SftSpec

POLL_S = 1.0
"""Seconds between two looks at the stage's progress."""


class OfflineWorker:
    """The actor's side: works in one thread, answers for its progress in another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._steps: list[dict[str, float]] = []

    def run_sft(self, spec: SftSpec) -> dict[str, float]:
        """See rlkit.offline.sft.run_sft."""
        from rlkit.offline.sft import run_sft

        return run_sft(spec, self._add)

    def steps_since(self, seen: int) -> list[dict[str, float]]:
        """Figures of the steps after the first `seen`."""
        with self._lock:
            return self._steps[seen:]

    def _add(self, figures: dict[str, float]) -> None:
        with self._lock:
            self._steps.append(figures)


def launch_sft(spec: SftSpec, *, on_step: Callable[[dict[str, float]], None]) -> dict[str, float]:
    """Runs an SFT stage in an actor of its own; `on_step` is called in this process, once a step.

    Raises:
        ClusterError: the stage outlasts its timeout_s, or its process dies.
    """
    env = {
        "OMP_NUM_THREADS": str(spec.threads),
        "MKL_NUM_THREADS": str(spec.threads),
        "TOKENIZERS_PARALLELISM": "false",
    }
    worker = (
        ray.remote(OfflineWorker)
        .options(num_cpus=0, num_gpus=int(spec.use_gpu), max_concurrency=2, runtime_env={"env_vars": env})
        .remote()
    )
    what = f"the sft stage on {spec.model_path}"
    try:
        work = worker.run_sft.remote(spec)
        return _follow(worker, work, deadline=time.monotonic() + spec.stage.timeout_s, what=what, on_step=on_step)
    finally:
        ray.kill(worker)


def _follow(
    worker: Any, work: Any, *, deadline: float, what: str, on_step: Callable[[dict[str, float]], None]
) -> dict[str, float]:
    seen = 0
    finished: list[Any] = []
    while not finished:
        if time.monotonic() > deadline:
            raise ClusterError(f"{what} took longer than its timeout_s")
        finished, _ = ray.wait([work], timeout=POLL_S)
        # The first answer waits for the actor's own start.
        left = max(POLL_S, deadline - time.monotonic())
        for figures in get(worker.steps_since.remote(seen), timeout_s=left, what=what):
            seen += 1
            on_step(figures)
    result: dict[str, float] = get(work, timeout_s=60.0, what=what)
    return result
