"""A long run whose rollout workers and scorers are killed again and again: what of it grows?

    python tests/bench/soak.py [--steps 300] [--every 20] [--tail 200] [--seed 0]

Every `--every` seconds one of them, chosen by the seed, gets SIGKILL. Beside it memory (PSS: what processes share is
counted once), descriptors, processes, threads and /dev/shm of the whole tree of processes are read, Ray's own included.
Over the last `--tail` steps a line is fitted through the medians of ten blocks of steps: printed are its slope with its
standard error, what that makes over the tail, and a verdict: "grows" where the slope is above twice its error and the
growth above 1% of the level, else "no growth". The peer of the JSON line is the same run at the tail's start.

"ray logs" are files on the disk, some for each process that ever was; they and the parts of "ray" are printed and not
judged.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rlkit.recipe.schema import ModelInitKeys
from tests.chaos.tree import Tree
from tests.cluster.conftest import PLUGIN, RECIPE, RLKIT, metrics

BLOCKS = 10
KEYS = (
    *("stages.1.prompts_per_step=8", "stages.1.samples_per_prompt=8", "rollout.max_tokens=64", "checkpoint.every=20"),
    *("reward.runtime.num_workers=2", "cluster.max_restarts=1000", "checkpoint.keep_last=1"),
)
"""Of the run: a step takes about a second here."""
VICTIMS = ("RolloutWorker", "_Actor")
SAMPLE_S = 1.0
START_LIMIT_S = 300.0
STEP_LIMIT_S = 300.0
"""Longest time without a step."""
COUNTS = ("descriptors", "processes", "threads")
JUDGED = ("memory", "driver", "learner", "ray", "descriptors", "processes", "threads", "/dev/shm")
TOLD = ("its gcs", "its raylet", "its agents", "ray logs")


@dataclass(frozen=True)
class Line:
    """What was fitted of one quantity."""

    level: float
    """Median over the tail."""
    slope: float
    """Growth a step."""
    error: float
    """Standard error of that."""
    growth: float
    """Over the tail."""

    @property
    def grows(self) -> bool:
        """Whether it is more than chance and than a hundredth."""
        return self.slope > 2 * self.error and self.growth > 0.01 * self.level


def fit(points: Sequence[tuple[float, float]]) -> Line:
    """A line through the medians of blocks of (step, value).

    Medians, because a process that has just been killed is missing for a while.
    """
    size = max(1, len(points) // BLOCKS)
    blocks = [points[i : i + size] for i in range(0, size * (len(points) // size), size)]
    xs = [statistics.median(step for step, _ in block) for block in blocks]
    ys = [statistics.median(value for _, value in block) for block in blocks]
    x0, y0 = statistics.mean(xs), statistics.mean(ys)
    spread = sum((x - x0) ** 2 for x in xs)
    slope = sum((x - x0) * (y - y0) for x, y in zip(xs, ys, strict=True)) / spread
    residuals = sum((y - y0 - slope * (x - x0)) ** 2 for x, y in zip(xs, ys, strict=True))
    error = (residuals / max(1, len(xs) - 2) / spread) ** 0.5
    return Line(statistics.median(ys), slope, error, slope * (points[-1][0] - points[0][0]))


def read_all(tree: Tree, logs: Path | None) -> dict[str, float]:
    """Every quantity of the tree as it is now."""
    pss: dict[int, float] = {}
    descriptors = threads = 0
    shared: dict[int, int] = {}
    for pid in tree.pids():
        with contextlib.suppress(OSError):
            pss[pid] = pss_mb(pid)
            threads += len(os.listdir(f"/proc/{pid}/task"))
            names = os.listdir(f"/proc/{pid}/fd")
            descriptors += len(names)
            shared |= dict(shared_files(Path(f"/proc/{pid}/fd/{name}") for name in names))
    titles = {pid: title_of(pid) or "gone" for pid in pss}
    return {
        "memory": sum(pss.values()),
        "driver": pss.get(tree.root.pid, 0.0),
        "learner": sum(size for pid, size in pss.items() if "LearnerWorker" in titles[pid]),
        "ray": sum(size for pid, size in pss.items() if "/ray/" in titles[pid] or "Agent" in titles[pid]),
        "its gcs": sum(size for pid, size in pss.items() if "gcs_server" in titles[pid].split()[0]),
        "its raylet": sum(size for pid, size in pss.items() if titles[pid].split()[0].endswith("/raylet")),
        "its agents": sum(size for pid, size in pss.items() if "Agent" in titles[pid]),
        "descriptors": descriptors,
        "processes": len(pss),
        "threads": threads,
        "/dev/shm": sum(shared.values()) / 2**20,
        "ray logs": sum(size_of(path) for path in logs.rglob("*")) / 2**20 if logs is not None else 0.0,
    }


def pss_mb(pid: int) -> float:
    """Main memory of a process; what several share is divided among them."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024


def shared_files(paths: Iterable[Path]) -> Iterable[tuple[int, int]]:
    """(inode, bytes in use) of open files in /dev/shm; Ray's store is one without a name there."""
    for path in paths:
        with contextlib.suppress(OSError):
            if os.readlink(path).startswith("/dev/shm/"):
                found = path.stat()
                yield found.st_ino, found.st_blocks * 512


def size_of(path: Path) -> int:
    """Bytes on the disk; 0 for what is gone."""
    with contextlib.suppress(OSError):
        return path.lstat().st_size if path.is_file() else 0
    return 0


def title_of(pid: int) -> str:
    """The command line's first word, as Ray sets it."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def find_logs(tree: Tree) -> Path | None:
    """The folder in which Ray of this tree writes its logs."""
    for pid in tree.pids():
        for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(OSError):
                target = Path(os.readlink(descriptor))
                if target.parent.name == "logs" and target.parent.parent.name.startswith("session_"):
                    return target.parent
    return None


def write_recipe(folder: Path) -> Path:
    """The tests' small run: a random model of 0.2 M parameters, and a reward that any text can earn."""
    from rlkit.models.init import init_model

    texts = [
        f"What is {a} + {b}?\n<think>\n{a}+{b}={a + b}\n</think>\n\\boxed{{{a + b}}}"
        for a in range(40)
        for b in range(20)
    ]
    init = ModelInitKeys(
        hidden_size=64, intermediate_size=128, num_layers=2, num_heads=2, num_kv_heads=1, max_position_embeddings=2048
    )
    init_model(init, iter(texts), seed=3, out=folder / "model")
    (folder / "digits.py").write_text(PLUGIN)
    (folder / "soak.yaml").write_text(RECIPE.format(model=folder / "model"))
    return folder / "soak.yaml"


def step_of(run_dir: Path) -> int:
    """The last step that is whole."""
    return max((row["step"] for row in metrics(run_dir) if row["stage"].startswith("stage-1-")), default=0)


def kill_one(tree: Tree, choice: random.Random) -> str | None:
    """Ends one of those that are up; returns which."""
    name = choice.choice(VICTIMS)
    found = sorted(pid for pid in tree.pids() if title_of(pid).startswith(f"ray::{name}"))
    if not found:
        return None
    with contextlib.suppress(ProcessLookupError):
        os.kill(choice.choice(found), signal.SIGKILL)
    return name


def soak(steps: int, every_s: float, seed: int, folder: Path) -> tuple[list[dict[str, float]], dict[str, int]]:
    """Runs it; returns the readings, each with its step, and how many of each kind were killed."""
    run_dir, choice = folder / "run", random.Random(seed)
    words = [f"stages.1.steps={steps}", *KEYS]
    recipe = str(write_recipe(folder))
    tree = Tree([*RLKIT, "train", recipe, *words, "--run-dir", str(run_dir)], folder / "output.txt")
    readings: list[dict[str, float]] = []
    killed = dict.fromkeys(VICTIMS, 0)
    logs, last, moved, next_kill = None, 0, time.monotonic() + START_LIMIT_S, float("inf")
    try:
        while tree.ended() is None:
            step = step_of(run_dir)
            if step > last:
                next_kill = min(next_kill, time.monotonic() + every_s)
                last, moved = step, time.monotonic() + STEP_LIMIT_S
                logs = logs or find_logs(tree)
            assert time.monotonic() < moved, f"no step after {last}\n{tree.log.read_text()}"
            if last:
                readings.append({"step": float(last), **read_all(tree, logs)})
            if time.monotonic() >= next_kill and (name := kill_one(tree, choice)):
                killed[name] += 1
                next_kill = time.monotonic() + every_s
            time.sleep(SAMPLE_S)
    finally:
        if tree.ended() is None:
            tree.kill(tree.pids())
    assert tree.ended() == 0, tree.log.read_text()
    assert step_of(run_dir) == steps
    events = [json.loads(line)["event"] for line in (run_dir / "events.jsonl").read_text().splitlines()]
    print(f"events: { {name: events.count(name) for name in sorted(set(events))} }")
    return readings, killed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--every", type=float, default=20.0, help="seconds between two kills")
    parser.add_argument("--tail", type=int, default=200, help="steps at the end that are judged")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        readings, killed = soak(args.steps, args.every, args.seed, Path(folder))
    # Not those of the last step: the run is being wound up.
    tail = [reading for reading in readings if args.steps - args.tail <= reading["step"] < args.steps]
    lines = {name: fit([(r["step"], r[name]) for r in tail]) for name in (*JUDGED, *TOLD)}
    told = ", ".join(f"{count} x {name}" for name, count in killed.items())
    print(f"{args.steps} steps in {time.monotonic() - began:.0f} s, killed {told}; {len(tail)} readings of the tail")
    print(f"{'':12} {'level':>9}      {'growth a step':>24} {'over the tail':>14}")
    for name, line in lines.items():
        verdict = ("grows" if line.grows else "no growth") if name in JUDGED else ""
        unit, slope = "" if name in COUNTS else "MiB", f"{line.slope:+.5f} +- {line.error:.5f}"
        print(f"{name:12} {line.level:9.1f} {unit:4} {slope:>24} {line.growth:+14.2f}  {verdict}")
    memory = lines["memory"]
    first = memory.level - memory.growth / 2
    print(
        json.dumps(
            {
                "benchmark": "soak",
                "ratio": round((first + memory.growth) / first, 4),
                "peer": f"the same run {args.tail} steps earlier",
                "ours": round(first + memory.growth, 1),
                "theirs": round(first, 1),
                "unit": "MiB (PSS of the whole tree)",
                "runs": 1,
                "steps": args.steps,
                "killed": killed,
                "grows": [name for name in JUDGED if lines[name].grows],
            }
        )
    )


if __name__ == "__main__":
    main()
