"""Samples a second of the default reward on real replies: the pools on two cores, beside the parts called in a loop.

    python tests/bench/reward_pool.py [--runs 5]

Replies: 800 of Qwen2.5-Math to 100 problems, 8 a group, their working taken as the thought. Each measurement is a fresh
process (the math judge keeps what it has judged); start-up is not counted, a few other groups are scored before the
clock starts. "loop" calls the same parts in one process without any pool; "ray" is a run's pool, "local" the one of
`rlkit reward score`; the number is how many workers. Data: RLKIT_DATA_DIR, default ../shared/data.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from rlkit import Group, Sample, Task
from rlkit.recipe.schema import ClusterKeys
from rlkit.recipe.schema.reward_section import RewardKeys

DATA = Path(os.environ.get("RLKIT_DATA_DIR", "../shared/data"))
WARM_UP_GROUPS = 8
PARTS = ("loop", "local 1", "local 2", "ray 1", "ray 2")


def real_groups() -> list[Group]:
    """The problems with their eight replies."""
    groups = []
    with (DATA / "qwen_math_cot_100x8_scored.jsonl").open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            task = Task(str(row["idx"]), "math", row["question"], row["answer"])
            samples = (
                Sample(f"{row['idx']}#{i}", f"<think>\n{text}\n</think>\n{text.splitlines()[-1]}", len(text) // 4)
                for i, text in enumerate(row["code"])
            )
            groups.append(Group(task, tuple(samples)))
    return groups


def warm_up_groups() -> list[Group]:
    """Groups of other problems, so that nothing measured is known from before."""
    texts = [f"<think>\n{n} + {n} = {2 * n}\n</think>\n\\boxed{{{2 * n}}}" for n in range(1000, 1000 + WARM_UP_GROUPS)]
    return [
        Group(
            Task(f"warm-{i}", "math", f"What is {1000 + i} + {1000 + i}?", str(2000 + 2 * i)), (Sample("w", text, 9),)
        )
        for i, text in enumerate(texts)
    ]


def measure_loop(groups: list[Group]) -> float:
    """Seconds of the parts called one after another in this process."""
    from rlkit.scoring.combine import score_group
    from rlkit.scoring.plugins.plugin import load_parts

    reward = RewardKeys.model_validate({})
    parts = load_parts(reward, Path.cwd())

    def score(group: Group) -> None:
        score_group(group, parts, reward.weights, reward.combine)

    for group in warm_up_groups():
        score(group)
    began = time.perf_counter()
    for group in groups:
        score(group)
    return time.perf_counter() - began


def measure_pool(kind: str, workers: int, groups: list[Group]) -> float:
    """Seconds of a pool over all groups."""
    from rlkit.cluster.ray_start import start_ray, stop_ray
    from rlkit.scoring.processes.child_processes import LocalPool
    from rlkit.scoring.processes.scoring_pool import ScoringPool

    reward = RewardKeys.model_validate({"runtime": {"num_workers": workers}})
    if kind == "ray":
        start_ray(ClusterKeys(object_store_mb=100), None)
    pool = ScoringPool(reward, Path.cwd()) if kind == "ray" else LocalPool(reward, Path.cwd())
    try:
        list(pool.score(enumerate(warm_up_groups() * workers)))
        began = time.perf_counter()
        scored = list(pool.score(enumerate(groups)))
        seconds = time.perf_counter() - began
    finally:
        pool.close()
        stop_ray()
    assert len(scored) == len(groups)
    return seconds


def in_fresh_process(part: str) -> float:
    """Samples a second of one part of the comparison."""
    command = [sys.executable, __file__, "--part", part]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    """Runs the comparison, or one part of it in a process of its own."""
    parser = argparse.ArgumentParser(description="the default reward's pools beside its parts in a loop")
    parser.add_argument("--runs", type=int, default=5, help="fresh processes for each")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    groups = real_groups()
    num_samples = sum(len(group.samples) for group in groups)
    if options.part:
        kind, _, workers = options.part.partition(" ")
        seconds = measure_pool(kind, int(workers), groups) if workers else measure_loop(groups)
        print(num_samples / seconds)
        return
    rates = {part: [] for part in PARTS}
    for _ in range(options.runs):  # in turns, so that a busy moment of the machine hits all of them
        for part in PARTS:
            rates[part].append(in_fresh_process(part))
    medians = {part: statistics.median(found) for part, found in rates.items()}
    for part, median in medians.items():
        overhead = 1e3 / median * (int(part[-1]) if part != "loop" else 1) - 1e3 / medians["loop"]
        print(
            f"{part:8} {median:8.0f} samples/s  {median / medians['loop']:5.2f} x loop  {overhead:+6.3f} ms a sample "
            f"and worker  (runs {min(rates[part]):.0f} to {max(rates[part]):.0f})"
        )
    summary = {"benchmark": "reward_pool", "ratio": round(medians["ray 2"] / medians["loop"], 2)}
    summary |= {"peer": "the same parts called in a loop", "ours": round(medians["ray 2"], 1)}
    summary |= {"theirs": round(medians["loop"], 1), "unit": "samples/s", "runs": options.runs}
    print(json.dumps(summary | {"medians": {part: round(median, 1) for part, median in medians.items()}}))


if __name__ == "__main__":
    main()
