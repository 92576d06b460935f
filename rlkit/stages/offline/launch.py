"""Runs an offline stage in a Ray actor, with its progress and a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray

from rlkit.cluster.ray_cluster import check_sees, get
from rlkit.disk import replaced_atomically
from rlkit.errors import ClusterError
from rlkit.stages.offline.sft import Listener, SftSpec

POLL_S = 1.0
"""Seconds between two looks at the stage's progress."""


@dataclass
class News:
    """What happened; a `Listener`."""

    steps: list[dict[str, float]] = field(default_factory=list)
    events: list[tuple[str, str]] = field(default_factory=list)

    def step(self, figures: dict[str, float]) -> None:
        """See Listener."""
        self.steps.append(figures)

    def event(self, kind: str, text: str) -> None:
        """See Listener."""
        self.events.append((kind, text))


class OfflineWorker:
    """The actor's side: works in one thread, answers for its progress in another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._news = News()

    def check_sees(self, file: Path, content: bytes) -> None:
        """See rlkit.cluster.ray_cluster.check_sees."""
        check_sees(file, content, "the sft stage")

    def run_sft(self, spec: SftSpec) -> dict[str, float]:
        """See rlkit.stages.offline.sft.run_sft; the model is on the disk before its checkpoints go."""
        from rlkit.stages.offline.sft import run_sft

        with replaced_atomically(spec.out) as folder:
            return run_sft(replace(spec, out=folder), self, self._stopping.is_set)

    def stop(self) -> None:
        """Ends `run_sft` after the step that it is at, with a checkpoint."""
        self._stopping.set()

    def step(self, figures: dict[str, float]) -> None:
        """See Listener."""
        with self._lock:
            self._news.step(figures)

    def event(self, kind: str, text: str) -> None:
        """See Listener."""
        with self._lock:
            self._news.event(kind, text)

    def news(self, steps: int, events: int) -> News:
        """What came after so many steps and events."""
        with self._lock:
            return News(self._news.steps[steps:], self._news.events[events:])


def launch_sft(
    spec: SftSpec,
    listener: Listener,
    witness: Path,
    *,
    start_timeout_s: float,
    answer_s: float,
    on_stop: Callable[[], None],
) -> None:
    """Runs an SFT stage in an actor of its own; the listener is told in this process.

    Args:
        spec: The stage.
        listener: Told of its progress.
        witness: A file of the run's folder, which the actor has to see too.
        start_timeout_s: Longest wait for the actor, and for a GPU where it needs one.
        answer_s: Longest wait for a sign of life of it, and for its last checkpoint when the stage is stopped.
        on_stop: Called when a stop is asked for, before that wait.

    Raises:
        ClusterError: the stage outlasts its timeout_s, or its process does not start, or dies.
        KeyboardInterrupt: as it came; the steps that were done are in a checkpoint.
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
    deadline = time.monotonic() + spec.stage.timeout_s
    try:
        sees = worker.check_sees.remote(witness, witness.read_bytes())
        get(sees, timeout_s=start_timeout_s, what=f"starting {what} (cluster.start_timeout_s)")
        work = worker.run_sft.remote(spec)
        ask = _Ear(worker, listener, f"{what} (learner.timeout_s)", answer_s)
        try:
            _follow(work, ask, deadline=deadline, what=what)
        except KeyboardInterrupt:
            on_stop()
            worker.stop.remote()
            ray.wait([work], timeout=answer_s)
            with suppress(ClusterError):
                ask()
            raise
    finally:
        ray.kill(worker)


def _follow(work: Any, ask: Callable[[], None], *, deadline: float, what: str) -> None:
    """Waits for the end of the work, asking for news meanwhile."""
    finished: list[Any] = []
    while not finished:
        if time.monotonic() > deadline:
            raise ClusterError(f"{what} took longer than its timeout_s")
        finished, _ = ray.wait([work], timeout=POLL_S)
        ask()
    get(work, timeout_s=60.0, what=what)


@dataclass
class _Ear:
    """Asks the actor what is new and passes it on; an answer that Ctrl-C cuts off is asked for once more."""

    worker: Any
    listener: Listener
    what: str
    limit_s: float
    steps: int = 0
    events: int = 0

    def __call__(self) -> None:
        news: News = get(self.worker.news.remote(self.steps, self.events), timeout_s=self.limit_s, what=self.what)
        for figures in news.steps:
            self.steps += 1
            self.listener.step(figures)
        for kind, text in news.events:
            self.events += 1
            self.listener.event(kind, text)
