"""Resources of this machine, read from the operating system without torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

GIB = 2**30
OPTIONAL = ("bitsandbytes",)
"""Optional packages that some recipes need."""
_CGROUP = Path("/sys/fs/cgroup")
_CGROUP_V1 = {
    "cpu.max": "cpu/cpu.cfs_quota_us",
    "memory.max": "memory/memory.limit_in_bytes",
    "memory.current": "memory/memory.usage_in_bytes",
}


@dataclass(frozen=True)
class Machine:
    """Resources that a local run can use."""

    cpus: int
    """Cores that this process may use: its affinity, limited by a container's quota."""
    memory_gib: float
    """Free memory, limited by a container's limit, in GiB."""
    shm_gib: float
    """Free space of /dev/shm, which holds Ray's object store, in GiB."""
    disk_gib: float
    """Free disk space at the run's folder, in GiB."""
    gpus_gib: tuple[float, ...] = ()
    """Memory of each visible GPU, in GiB; 0 if unknown."""
    bfloat16: bool = False
    """Whether the CPU has instructions for bfloat16 matrix products."""
    compiler: bool = False
    """Whether a C++ compiler is installed."""
    libraries: tuple[str, ...] = ()
    """Which of OPTIONAL are installed."""

    @classmethod
    def detect(cls, run_dir: Path = Path(".")) -> Machine:
        """The resources of this machine, with the disk of `run_dir`."""
        return cls(
            cpus=_cpus(),
            memory_gib=_memory() / GIB,
            shm_gib=_free(Path("/dev/shm")) / GIB,
            disk_gib=_free(run_dir) / GIB,
            gpus_gib=_gpus(),
            bfloat16=_bfloat16(),
            compiler=any(shutil.which(name) for name in ("c++", "g++", "clang++")),
            libraries=tuple(name for name in OPTIONAL if find_spec(name) is not None),
        )


def _cpus() -> int:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _read("cpu.max").split()
    if len(quota) == 2 and quota[0].isdecimal():
        cpus = min(cpus, -(-int(quota[0]) // int(quota[1])))
    elif len(quota) == 1 and quota[0].isdecimal():  # cgroup v1: microseconds per period of 100,000 microseconds
        cpus = min(cpus, -(-int(quota[0]) // 100_000))
    return max(1, cpus)


def _bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _memory() -> int:
    free = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    try:
        meminfo = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free.append(int(meminfo["MemAvailable"].split()[0]) * 1024)
    except (OSError, KeyError, ValueError):
        pass  # not Linux: use the physical memory
    limit, used = _read("memory.max"), _read("memory.current")
    if limit.isdecimal() and used.isdecimal():
        free.append(max(0, int(limit) - int(used)))
    return min(free)


def _read(name: str) -> str:
    for path in (_CGROUP / name, _CGROUP / _CGROUP_V1[name]):
        try:
            return path.read_text().strip()
        except OSError:
            continue
    return ""


def _free(path: Path) -> int:
    while not path.exists() and path != path.parent:
        path = path.parent
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return 0


def _gpus() -> tuple[float, ...]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return ()
    memories = _nvidia_smi()
    if not memories:
        memories = tuple(0.0 for p in Path("/dev").glob("nvidia*") if p.name[6:].isdecimal())
    return memories if visible is None else memories[: len(visible.split(","))]


def _nvidia_smi() -> tuple[float, ...]:
    if shutil.which("nvidia-smi") is None:
        return ()
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        out = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
        return tuple(int(line) / 1024 for line in out.split())
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()
