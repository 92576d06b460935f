"""Runs an offline stage in a Ray actor, polls its progress and enforces its deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rlkit.cluster.calls import get, wait
from rlkit.cluster.node import check_shared_folder
from rlkit.cluster.supervisor import ActorKind, Supervisor
from rlkit.cluster.thread_env import thread_env
from rlkit.disk import replaced_atomically
from rlkit.errors import ActorDied, ActorLost, ClusterError
from rlkit.stages.offline.sft import Listener, SftSpec

POLL_S = 1.0
"""Seconds between two polls of the stage's progress."""


@dataclass
class Progress:
    """A `Listener` that stores what it receives."""

    steps: list[dict[str, float]] = field(default_factory=list)
    events: list[tuple[str, str]] = field(default_factory=list)

    def step(self, figures: dict[str, float]) -> None:
        """See Listener."""
        self.steps.append(figures)

    def event(self, kind: str, text: str) -> None:
        """See Listener."""
        self.events.append((kind, text))


class OfflineWorker:
    """The actor: trains in one thread and answers progress polls in another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._progress = Progress()

    def check_shared_folder(self, file: Path, content: bytes) -> None:
        """See rlkit.cluster.node.check_shared_folder."""
        check_shared_folder(file, content, "the sft stage")

    def run_sft(self, spec: SftSpec) -> dict[str, float]:
        """See rlkit.stages.offline.sft.run_sft. The model folder is written atomically."""
        from rlkit.stages.offline.sft import run_sft

        with replaced_atomically(spec.out) as folder:
            return run_sft(replace(spec, out=folder), self, self._stopping.is_set)

    def stop(self) -> None:
        """Ends `run_sft` after its current step, with a checkpoint."""
        self._stopping.set()

    def step(self, figures: dict[str, float]) -> None:
        """See Listener."""
        with self._lock:
            self._progress.step(figures)

    def event(self, kind: str, text: str) -> None:
        """See Listener."""
        with self._lock:
            self._progress.event(kind, text)

    def progress_after(self, steps: int, events: int) -> Progress:
        """The steps and events after the first `steps` and `events`."""
        with self._lock:
            return Progress(self._progress.steps[steps:], self._progress.events[events:])


def launch_sft(
    spec: SftSpec,
    listener: Listener,
    run_file: Path,
    *,
    start_timeout_s: float,
    answer_s: float,
    on_stop: Callable[[], None],
) -> None:
    """Runs an SFT stage in its own actor and passes its progress to the listener in this process.

    Args:
        spec: The stage.
        listener: Receives its progress.
        run_file: A file in the run's folder; the actor must be able to read it.
        start_timeout_s: Longest wait for the actor, and for a GPU if it needs one.
        answer_s: Longest wait for an answer to a progress poll, and for the last checkpoint when the run is stopped.
        on_stop: Called when the user stops the run, before the wait for the last checkpoint.

    Raises:
        ClusterError: the stage takes longer than its timeout_s, or its process does not start, or dies.
        KeyboardInterrupt: the user stopped the run; the finished steps are in a checkpoint.
    """
    gpus = int(spec.use_gpu)
    options = {"num_cpus": 0, "max_concurrency": 2}
    kind = ActorKind(OfflineWorker, env=thread_env(spec.threads, gpus), gpus=gpus, options=lambda number: options)
    supervisor = Supervisor(kind, 1)
    worker = supervisor.actors[0]
    what = f"the sft stage on {spec.model_path}"
    deadline = time.monotonic() + spec.stage.timeout_s
    try:
        checked = worker.check_shared_folder.remote(run_file, run_file.read_bytes())
        get(checked, timeout_s=start_timeout_s, what=f"starting {what} (cluster.start_timeout_s)")
        work = worker.run_sft.remote(spec)
        poll = _ProgressPoll(worker, listener, f"{what} (learner.timeout_s)", answer_s)
        try:
            _follow(work, poll, deadline=deadline, what=what)
        except KeyboardInterrupt:
            on_stop()
            worker.stop.remote()
            wait([work], num_returns=1, timeout_s=answer_s, what=f"the last checkpoint of {what}")
            with suppress(ClusterError):
                poll()
            raise
    finally:
        supervisor.close()


def _follow(work: Any, poll: Callable[[], None], *, deadline: float, what: str) -> None:
    """Waits for the end of the work and polls its progress meanwhile."""
    finished: list[Any] = []
    while not finished:
        if time.monotonic() > deadline:
            raise ClusterError(f"{what} took longer than its timeout_s")
        finished = wait([work], num_returns=1, timeout_s=POLL_S, what=what)
        poll()
    get(work, timeout_s=60.0, what=what)


@dataclass
class _ProgressPoll:
    """Polls the actor's progress and passes it to the listener. After Ctrl-C during a poll, it can be called again."""

    worker: Any
    listener: Listener
    what: str
    limit_s: float
    steps: int = 0
    """Number of steps passed on."""
    events: int = 0
    """Number of events passed on."""

    def __call__(self) -> None:
        ref = self.worker.progress_after.remote(self.steps, self.events)
        try:
            progress: Progress = get(ref, timeout_s=self.limit_s, what=self.what)
        except ActorDied:
            raise
        except ActorLost as e:
            raise ActorLost(f"{e}: it did not report its progress; raise learner.timeout_s if it is only slow") from e
        for figures in progress.steps:
            self.steps += 1
            self.listener.step(figures)
        for kind, text in progress.events:
            self.events += 1
            self.listener.event(kind, text)
