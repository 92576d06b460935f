"""A rollout worker whose engine is a script: it hangs or dies where a file of its folder says so, once for each file
(`always-die-start` stays).

    fail-start  die-start  die-load  lose-load  die-draw_all  die-draw  stop-draw    what happens, and in which call

The first worker that comes to the call takes the file away, so that its replacement gets through.
"""

import os
import signal
import time
from pathlib import Path

from ray.exceptions import ObjectLostError

from rlkit.records import Group, Sample
from rlkit.rollout.rollout_pool import RolloutWorker

BUSY, FREE = "busy", "free"
"""Where a folder holds the first and not the second, groups of even index take a while each."""


class ScriptedWorker(RolloutWorker):
    """Everything of a worker but vLLM."""

    def start(self, spec):
        self._folder = Path(spec.model_path)
        self._act("start")
        self.engine = ScriptedEngine(self._folder, self._act)

    def load(self, weights, version):
        self._act("load")
        self.engine.policy_version = version
        self.engine.weights = weights
        return version

    def draw_all(self, requests):
        self._act("draw_all")
        return super().draw_all(requests)

    def _act(self, call):
        if self._take(f"fail-{call}"):
            raise OSError("no room on the device")
        if self._take(f"lose-{call}"):
            # What Ray raises where an argument was on a node that died; tests/cluster/test_waiting.py has a real one.
            raise ObjectLostError("ab" * 28, "", "")
        if self._take(f"die-{call}") or (self._folder / f"always-die-{call}").exists():
            os._exit(3)
        if self._take(f"stop-{call}"):
            os.kill(os.getpid(), signal.SIGSTOP)

    def _take(self, name):
        try:
            (self._folder / name).rename(self._folder / f"{name}-by-{os.getpid()}")
        except FileNotFoundError:
            return False
        return True


class ScriptedEngine:
    """Groups that are a function of seeds and weights."""

    def __init__(self, folder, act):
        self.policy_version = 0
        self.weights = None
        self._folder = folder
        self._act = act

    def draw(self, requests):
        for number, request in enumerate(requests):
            odd = request.index % 2 == 1  # with two workers: the second one's
            if odd and number == 1:  # with one group drawn and others to come
                self._act("draw")
            if not odd and (self._folder / BUSY).exists() and not (self._folder / FREE).exists():
                time.sleep(0.2)
            samples = tuple(
                Sample(f"{request.task.id}#{i}", f"{seed} {self.weights}", 1, policy_version=self.policy_version)
                for i, seed in enumerate(request.seeds)
            )
            yield request.index, Group(request.task, samples)
