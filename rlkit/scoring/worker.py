"""What runs in a scoring process: the parts, within limits on memory and output."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlkit.recipe.schema.reward import Reward
from rlkit.records import Group, Score
from rlkit.scoring.combine import score_parts
from rlkit.scoring.isolate import Needs, Scores, walled
from rlkit.scoring.plugin import Plugin, load_parts

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Environment of a scoring process: the pools make the parallelism."""
OUTPUT_KB = 256
"""What the plugins of one process may print; the rest is dropped."""


@dataclass(frozen=True)
class Reply:
    """What a scoring process answers to one call."""

    parts: dict[str, Scores]
    spent: bool = False
    """A part ran out of memory and may hold on to it: the process has to be replaced."""


class Scorer:
    """Builds every plugin once and scores one group after another.

    Raises:
        PluginError: a plugin cannot be built.
    """

    def __init__(self, reward: Reward, base_dir: str) -> None:
        bound_output(OUTPUT_KB)
        self._parts = walled(load_parts(reward, Path(base_dir)))
        self.needs: Needs = {part.name: part.needs for part in self._parts}
        limit_memory(reward.runtime.memory_mb)

    def score(self, group: Group) -> Reply:
        """Every part's scores."""
        return _reply(score_parts(group, self._parts))

    def score_part(self, name: str, group: Group) -> Reply:
        """One part's scores; the group brings those that it needs."""
        (part,) = (part for part in self._parts if part.name == name)
        alone = replace(part, needs=(), plugin=_Given(part.plugin, group.scores))
        return _reply(score_parts(group, [alone]))


@dataclass(frozen=True)
class _Given:
    """A plugin with the scores it needs, computed before."""

    inner: Plugin
    scores: Mapping[str, Scores]

    def score(self, group: Group) -> list[Score]:
        return self.inner.score(replace(group, scores=self.scores))


def _reply(parts: Mapping[str, Scores]) -> Reply:
    spent = any(score.value is None and score.verdict == "memory" for scores in parts.values() for score in scores)
    return Reply(dict(parts), spent)


def limit_memory(memory_mb: int) -> None:
    """Lets this process take so much more private memory than it has now; then Python raises MemoryError.

    RLIMIT_DATA counts what is written to, unlike RLIMIT_AS, which also counts what Ray and CUDA only reserve. Child
    processes start with the same limit, each for itself.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (data_kb,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmData:"))
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    limit = (data_kb << 10) + (memory_mb << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def bound_output(limit_kb: int) -> None:
    """What this process prints from here on goes where it went before, up to a limit, and then nowhere."""
    reading, writing = os.pipe()
    out = os.dup(2)
    os.dup2(writing, 1)
    os.dup2(writing, 2)
    os.close(writing)
    threading.Thread(target=_forward, args=(reading, out, limit_kb << 10), daemon=True).start()


def _forward(reading: int, out: int, left: int) -> None:
    while True:
        data = os.read(reading, 1 << 16)
        if not data:
            return
        _write(out, data[:left])
        if 0 < left <= len(data):
            _write(out, b"\nrlkit: this scoring process prints too much; the rest is dropped\n")
        left -= min(left, len(data))


def _write(out: int, data: bytes) -> Any:
    try:
        while data:
            data = data[os.write(out, data) :]
    except OSError:
        return  # nobody reads it, or the disk is full: the plugin goes on all the same
