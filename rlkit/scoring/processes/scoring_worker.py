"""The code of a scoring process: runs reward parts, with limits on memory and output."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlkit.recipe.schema.reward_section import RewardKeys
from rlkit.records import Group
from rlkit.scoring.combine import PartScores, score_parts
from rlkit.scoring.plugins.plugin import load_parts, start_part, takes_several
from rlkit.scoring.processes.isolate import guarded
from rlkit.scoring.processes.scoring_call import Needs

OUTPUT_KB = 256
"""Output limit for the plugins of one process; further output is dropped."""


@dataclass(frozen=True)
class StartReply:
    """The first message of a scoring process, sent when its plugins are built."""

    failure: str = ""
    """Why they could not be built; "" if they were."""
    needs: Needs = field(default_factory=dict)
    """The process's parts, each with the parts that it needs."""
    takes_several: bool = False
    """Whether every part can score several groups in one call."""


class ScoringWorker:
    """Builds some of a recipe's plugins and scores groups with them.

    Args:
        reward: the recipe's section.
        base_dir: folder that `./file.py:Class` plugins are relative to.
        names: the parts to build.

    Raises:
        PluginError: a plugin cannot be built or started.
    """

    def __init__(self, reward: RewardKeys, base_dir: str, names: Sequence[str]) -> None:
        bound_output(OUTPUT_KB)
        parts = load_parts(reward, Path(base_dir), names)
        for part in parts:
            start_part(part)
        several = all(takes_several(part.plugin) for part in parts)
        self.start_reply = StartReply(needs={part.name: part.needs for part in parts}, takes_several=several)
        self._parts = {part.name: part for part in guarded(parts)}
        limit_memory(reward.runtime.memory_mb)

    def score(self, groups: Sequence[Group], names: Sequence[str]) -> list[PartScores]:
        """Runs the parts `names` over each group. `Group.scores` must hold the scores that they need of other parts."""
        return score_parts(groups, [self._parts[name] for name in names])


def limit_memory(memory_mb: int) -> None:
    """Limits this process to `memory_mb` MiB more private memory than it has now; beyond it Python raises MemoryError.

    Uses RLIMIT_DATA, because RLIMIT_AS also counts the address space that Ray and CUDA only reserve. Each child process
    inherits the same limit for itself.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (data_kb,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmData:"))
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    limit = (data_kb << 10) + (memory_mb << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def bound_output(limit_kb: int) -> None:
    """Limits what this process prints: the first `limit_kb` KiB of stdout and stderr go to stderr, the rest nowhere."""
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
        return  # no reader, or a full disk: the plugin must continue anyway
