"""Trivial jobs a second in every tier of the sandbox, beside a fresh Python a job without and with bubblewrap.

    python tests/bench/code_judge.py [--runs 5] [--jobs 200] [--workers 2] [--soak 10000]

One job: run `def f(x): return x + 1`, call it once, get its value back. Ours go through a warm sandbox in each worker
process; the peers start `python -I -S -c ...` anew for each job, as graders do, un-isolated or in a bubblewrap with
namespaces of every kind (a process namespace a job among them). The contenders take turns, run by run; the figures are
medians. With --soak that many jobs go through one sandbox of each kernel tier, and what they hold is read before and
after: memory, descriptors, processes. Tiers that do not hold here, and bubblewrap where it is not installed, are left
out and said so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from rlkit.verify.sandbox.choose import SAFE_TIERS, examine, open_sandbox
from rlkit.verify.sandbox.job import Job, Sandbox, Tier

PROGRAM = "def f(x): return x + 1"
REQUEST = {"mode": "function", "program": PROGRAM, "entry_point": "f", "args": [41], "kwargs": {}}
FRESH_PYTHON = [sys.executable, "-I", "-S", "-c", f"{PROGRAM}\nprint(f(41))"]
WARM_UP_JOBS = 20
PLAIN, BUBBLEWRAP = "python -I -S", "bubblewrap"


class Run(NamedTuple):
    """One contender's turn."""

    jobs_per_second: float
    """Of all workers together."""
    seconds: list[float]
    """Of each job."""


def bubblewrap() -> list[str]:
    """The command that starts a fresh Python in bubblewrap with what it needs to read."""
    folders = {"/usr", "/lib", "/lib64", "/bin", sys.base_prefix, sys.prefix}
    binds = [word for path in sorted(folders) if Path(path).exists() for word in ("--ro-bind", path, path)]
    walls = ["--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv"]
    return ["bwrap", *walls, *binds, "--dev", "/dev", "--tmpfs", "/tmp", "--chdir", "/tmp", *FRESH_PYTHON]


def run_fresh(command: list[str]) -> None:
    """One job of a peer's."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=True)
    assert done.stdout == b"42\n", done


def run_in(sandbox: Sandbox) -> None:
    """One job of ours."""
    running = sandbox.start(Job(REQUEST))
    frame = running.receive()
    running.finish()
    assert frame is not None
    assert json.loads(frame) == {"status": "value", "value": 42}, frame


@contextlib.contextmanager
def contender(name: str) -> Iterator[Callable[[], None]]:
    """What runs one job of a contender."""
    if name in (PLAIN, BUBBLEWRAP):
        command = FRESH_PYTHON if name == PLAIN else bubblewrap()
        yield lambda: run_fresh(command)
        return
    sandbox = open_sandbox(name)
    try:
        yield lambda: run_in(sandbox)
    finally:
        sandbox.close()


def work(name: str, num_jobs: int, ready: multiprocessing.Barrier, times: multiprocessing.Queue) -> None:
    """One worker: warms up, waits for the others, runs its jobs."""
    with contender(name) as job:
        for _ in range(WARM_UP_JOBS):
            job()
        ready.wait()
        start, seconds = time.monotonic(), []
        for _ in range(num_jobs):
            before = time.monotonic()
            job()
            seconds.append(time.monotonic() - before)
        times.put((start, time.monotonic(), seconds))


def measure(name: str, num_jobs: int, num_workers: int) -> Run:
    """One turn: `num_jobs` in each of the workers."""
    context = multiprocessing.get_context("spawn")
    ready, times = context.Barrier(num_workers), context.Queue()
    workers = [context.Process(target=work, args=(name, num_jobs, ready, times)) for _ in range(num_workers)]
    for worker in workers:
        worker.start()
    parts = [times.get(timeout=600) for _ in workers]
    for worker in workers:
        worker.join()
    span = max(end for _, end, _ in parts) - min(start for start, _, _ in parts)
    return Run(num_jobs * num_workers / span, [s for _, _, seconds in parts for s in seconds])


def held(pids: list[int]) -> dict[str, int]:
    """What processes hold now: memory of their own in KiB (not that of files), descriptors, processes."""
    memory = 0
    for pid in pids:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        memory += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Anonymous:"))
    descriptors = sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)
    return {"memory_kib": memory, "descriptors": descriptors, "processes": len(pids)}


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    children = [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [pid, *(p for child in children for p in family(child))]


def soak(tier: Tier, num_jobs: int) -> None:
    """Prints what one sandbox holds after a first tenth of the jobs and after all of them."""
    sandbox = open_sandbox(tier)
    for done in range(num_jobs):
        if done == num_jobs // 10:
            before = held(family(os.getpid()))
        run_in(sandbox)
    after = held(family(os.getpid()))
    sandbox.close()
    grown = {name: after[name] - before[name] for name in after}
    print(f"  {tier}: {num_jobs} jobs, held {after}, grown since job {num_jobs // 10} by {grown}")


def main() -> None:
    """Prints the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=200, help="a worker and run")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--soak", type=int, default=0, help="jobs")
    args = parser.parse_args()
    tiers = [tier for tier in SAFE_TIERS if examine(tier).holds]
    left_out = {tier: examine(tier).reason for tier in SAFE_TIERS if tier not in tiers}
    peers = [PLAIN, *([BUBBLEWRAP] if shutil.which("bwrap") else [])]
    if BUBBLEWRAP not in peers:
        left_out[BUBBLEWRAP] = "bwrap is not installed"
    names = [*tiers, *peers]
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for _ in range(args.runs):
        for name in names:
            runs[name].append(measure(name, args.jobs, args.workers))
    rate = {name: statistics.median(run.jobs_per_second for run in runs[name]) for name in names}
    print(f"{args.workers} workers, {args.runs} runs of {args.jobs} jobs in each; medians")
    for name in names:
        times = sorted(1000 * s for run in runs[name] for s in run.seconds)
        percentiles = f"p50 {times[len(times) // 2]:.1f} ms  p99 {times[len(times) * 99 // 100]:.1f} ms"
        ratios = "  ".join(f"{rate[name] / rate[peer]:.2f}x {peer}" for peer in peers)
        print(f"  {name:<14} {rate[name]:7.1f} jobs/s  {percentiles}  {ratios}")
    for name, reason in left_out.items():
        print(f"  {name}: left out: {reason}")
    for tier in tiers:
        if args.soak and tier != "wasm":
            soak(tier, args.soak)
    best = tiers[0]
    print(
        json.dumps(
            {
                "benchmark": "code_judge",
                "ratio": round(rate[best] / rate[PLAIN], 3),
                "peer": PLAIN,
                "ours": round(rate[best], 1),
                "theirs": round(rate[PLAIN], 1),
                "unit": f"jobs/s, tier {best}, {args.workers} workers",
                "runs": args.runs,
                "all": {name: round(value, 1) for name, value in rate.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
