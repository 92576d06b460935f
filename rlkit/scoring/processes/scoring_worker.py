"""What runs in a scoring process: the parts, within limits on memory and output."""

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
"""What the plugins of one process may print; the rest is dropped."""


@dataclass(frozen=True)
class StartReply:
    """What a scoring process answers once its plugins are built."""

    failure: str = ""
    """Why they could not be."""
    needs: Needs = field(default_factory=dict)
    """Its parts."""
    takes_several: bool = False
    """Whether every part can score several groups in one call."""


class ScoringWorker:
    """Builds some of a recipe's plugins once and scores one call after another.

    Args:
        reward: the recipe's section.
        base_dir: folder that `./file.py:Class` plugins are relative to.
        names: the parts.

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
        """The scores of some parts, of each group in turn; the groups bring those that the parts need of others."""
        return score_parts(groups, [self._parts[name] for name in names])


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
