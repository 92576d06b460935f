"""Scoring actors: groups go out as they come, scored groups come back as they finish, and nothing waits for ever.

A group that takes longer than `reward.runtime.timeout_s` costs its actor (killed and replaced) and itself ("timeout").
A group whose actor dies is tried once more on a fresh one, then given up ("crash"). Groups queued behind it go out
again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from rlkit.errors import ClusterError, PluginError
from rlkit.recipe.schema.reward import Reward
from rlkit.records import Group, Score, ScoredGroup
from rlkit.scoring.combine import make_scored_group, score_group, unscored_group

_DEPTH = 4
"""Groups queued on one actor, so that it works on while the driver waits for samples."""
_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_GET_TIMEOUT_S = 60.0
_TICK_S = 1.0

_Scored = tuple[int, ScoredGroup]


class _Scorer:
    """Builds every plugin once and scores one group after another."""

    def __init__(self, reward: Reward, base_dir: str) -> None:
        from rlkit.scoring.plugin import load_parts

        self._failure: str | None = None
        self._wrong_caps = dict(reward.combine.wrong_caps)
        self._weights = reward.weights
        try:
            self._parts = load_parts(reward, Path(base_dir))
        except PluginError as e:
            # An exception here would reach the driver as a page of Ray's traceback.
            self._failure = str(e)

    def ready(self) -> str | None:
        """None, or why the plugins could not be built."""
        return self._failure

    def score(self, group: Group) -> dict[str, tuple[Score, ...]]:
        """Every part's scores."""
        return dict(score_group(group, self._parts, self._weights, self._wrong_caps).parts)


@dataclass
class _Job:
    index: int
    group: Group
    tries: int = 0
    ref: Any = None


@dataclass
class _Actor:
    handle: Any
    jobs: deque[_Job] = field(default_factory=deque)
    """In the order in which the actor works; the first is the one at work."""
    head_since: float = 0.0


class ScoringPool:
    """Scores groups on `reward.runtime.num_workers` Ray actors.

    Args:
        reward: the recipe's section.
        base_dir: folder that `./file.py:Class` plugins are relative to.
        num_cpus: CPUs that Ray reserves for an actor.
        start_timeout_s: longest wait for one actor to start, in seconds.

    Raises:
        PluginError: a plugin cannot be built.
        ClusterError: an actor does not start in time.
    """

    def __init__(self, reward: Reward, base_dir: Path, *, num_cpus: float = 0, start_timeout_s: float = 300) -> None:
        self._reward = reward
        self._base_dir = str(Path(base_dir).resolve())
        self._num_cpus = num_cpus
        self._start_timeout_s = start_timeout_s
        self._actors: list[_Actor] = []
        handles = [self._spawn() for _ in range(reward.runtime.num_workers)]
        try:
            self._actors = [_Actor(self._await_ready(handle)) for handle in handles]
        except BaseException:
            for handle in handles:
                ray.kill(handle)
            raise

    def score(self, groups: Iterable[tuple[int, Group]]) -> Iterator[_Scored]:
        """(index, scored group) in the order in which they finish; each group is dispatched as soon as it comes.

        At most 4 groups an actor are out at a time; then the next one is only taken when one is back.

        Raises:
            ClusterError: an actor died and no new one starts.
        """
        try:
            for index, group in groups:
                while self._num_out >= _DEPTH * len(self._actors):
                    yield from self._collect(_TICK_S)
                self._dispatch(_Job(index, group))
                yield from self._collect(0)
            while self._num_out:
                yield from self._collect(_TICK_S)
        finally:
            # Left early: what is still out belongs to nobody.
            for actor in self._actors:
                if actor.jobs:
                    actor.jobs.clear()
                    self._replace(actor)

    def close(self) -> None:
        """Ends the actors."""
        for actor in self._actors:
            ray.kill(actor.handle)
        self._actors = []

    @property
    def _num_out(self) -> int:
        return sum(len(actor.jobs) for actor in self._actors)

    def _spawn(self) -> Any:
        options = {
            "max_restarts": 0,
            "max_concurrency": 1,
            "num_cpus": self._num_cpus,
            "runtime_env": {"env_vars": _THREADS},
        }
        return ray.remote(_Scorer).options(**options).remote(self._reward, self._base_dir)

    def _await_ready(self, handle: Any) -> Any:
        try:
            failure = ray.get(handle.ready.remote(), timeout=self._start_timeout_s)
        except GetTimeoutError as e:
            ray.kill(handle)
            raise ClusterError(f"a scoring actor did not start within {self._start_timeout_s:g} s") from e
        except RayError as e:
            last = str(e).strip().splitlines()[-1]
            raise ClusterError(f"a scoring actor ended while its plugins were built: {last}") from e
        if failure is not None:
            ray.kill(handle)
            raise PluginError(failure)
        return handle

    def _replace(self, actor: _Actor) -> None:
        """A fresh process for the actor; jobs that were queued behind the lost one go out again."""
        ray.kill(actor.handle)
        actor.handle = self._await_ready(self._spawn())
        queued = list(actor.jobs)
        actor.jobs.clear()
        for job in queued:
            self._dispatch(job)

    def _dispatch(self, job: _Job) -> None:
        actor = min(self._actors, key=lambda a: len(a.jobs))
        if not actor.jobs:
            actor.head_since = time.monotonic()
        job.ref = actor.handle.score.remote(job.group)
        actor.jobs.append(job)

    def _collect(self, wait_s: float) -> list[_Scored]:
        """What has finished, failed or run out of time; waits at most `wait_s` for the first of it."""
        refs = [job.ref for actor in self._actors for job in actor.jobs]
        if not refs:
            return []
        now = time.monotonic()
        deadlines = [a.head_since + self._reward.runtime.timeout_s - now for a in self._actors if a.jobs]
        ray.wait(refs, num_returns=1, timeout=max(0.0, min(wait_s, *deadlines)))
        ready = set(ray.wait(refs, num_returns=len(refs), timeout=0)[0])
        done: list[_Scored] = []
        for actor in self._actors:
            done.extend(self._collect_from(actor, ready))
        return done

    def _collect_from(self, actor: _Actor, ready: set[Any]) -> list[_Scored]:
        done: list[_Scored] = []
        while actor.jobs and actor.jobs[0].ref in ready:
            job = actor.jobs.popleft()
            actor.head_since = time.monotonic()
            try:
                done.append(self._finish(job, ray.get(job.ref, timeout=_GET_TIMEOUT_S)))
            except RayActorError:
                done.extend(self._lost(actor, job))
                return done
            except RayError as e:
                last = str(e).strip().splitlines()[-1]
                done.append(self._unscored(job, "plugin_error", f"scoring failed: {last}"))
        limit = self._reward.runtime.timeout_s
        if actor.jobs and time.monotonic() - actor.head_since > limit:
            job = actor.jobs.popleft()
            done.append(self._unscored(job, "timeout", f"scoring took longer than {limit:g} s"))
            self._replace(actor)
        return done

    def _lost(self, actor: _Actor, job: _Job) -> list[_Scored]:
        """The actor died at work on `job`: once may be bad luck, twice is the job."""
        job.tries += 1
        if job.tries == 1:
            actor.jobs.appendleft(job)
        self._replace(actor)
        return [self._unscored(job, "crash", "the scoring process died twice")] if job.tries > 1 else []

    def _finish(self, job: _Job, parts: dict[str, tuple[Score, ...]]) -> _Scored:
        reward = self._reward
        return job.index, make_scored_group(job.group, parts, reward.weights, reward.combine.wrong_caps)

    def _unscored(self, job: _Job, verdict: str, reason: str) -> _Scored:
        caps = self._reward.combine.wrong_caps
        return job.index, unscored_group(job.group, self._reward.weights, caps, verdict, reason)
