"""What each algorithm gains on the quickstart, from the same start model a seed.

    python tests/bench/presets.py --seeds 0 1 2 [--algorithms grpo ppo ...] [--work FOLDER]

A seed's cold start (stage 0 of recipes/quickstart.yaml) is trained once; every algorithm then runs the quickstart's RL
stage from it for the same number of steps of the same number of samples: the recipe's keys with `preset` added (so its
`normalize: none` stays); PPO's keys are those of recipes/quickstart_ppo.yaml. DAPO has its overlong shaping. Held-out
accuracy is of sampled replies to 256 tasks; an interval is the 95% interval of the mean over seeds (Student's t) or, of
one seed, of a difference of two shares. A cold start or run that is already in FOLDER is not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from rlkit.recipe.schema.presets import GRPO_PRESETS

ROOT = Path(__file__).parents[2]
T95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}
"""Student's t for 95% and n - 1 degrees of freedom, by n."""
ASKED_POINTS = 15.0


def run(recipe: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Runs a recipe to its end, or finds that it was; its summary."""
    summary = read_summary(folder)
    if summary.get("status") == "done":
        return summary
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(recipe))
    subprocess.run(
        [sys.executable, "-m", "rlkit", "train", path, "--run-dir", folder],
        check=True,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    return read_summary(folder)


def read_summary(folder: Path) -> dict[str, Any]:
    """A run's summary.json; {} before there is one."""
    path = folder / "summary.json"
    summary: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return summary


def cold_start(seed: int, work: Path) -> Path:
    """The quickstart's stage 0 at a seed; the folder of its model."""
    recipe = yaml.safe_load((ROOT / "recipes/quickstart.yaml").read_text())
    recipe["run"] = {"name": "start", "seed": seed}
    recipe["stages"] = recipe["stages"][:1]
    recipe["evaluation"] = {"holdout": 0}
    folder = work / f"seed-{seed}" / "start"
    run(recipe, folder)
    return folder / "model"


def stage_recipe(algorithm: str, seed: int, model: Path, steps: int | None) -> dict[str, Any]:
    """The quickstart's RL stage by one algorithm."""
    name = "quickstart_ppo" if algorithm == "ppo" else "quickstart"
    recipe: dict[str, Any] = yaml.safe_load((ROOT / f"recipes/{name}.yaml").read_text())
    recipe["run"] = {"name": algorithm.replace("+", "p"), "seed": seed}
    recipe["model"] = {"path": str(model)}
    stage = recipe["stages"][1]
    if algorithm in GRPO_PRESETS:
        stage["preset"] = algorithm
        if GRPO_PRESETS[algorithm].get("baseline") == "batch":
            del stage["normalize"]
    if algorithm == "dapo":
        longest = recipe["rollout"]["max_tokens"]
        overlong = {"plugin": "soft_overlong", "weight": 0.5, "max_tokens": longest, "margin": longest // 4}
        recipe["reward"] = {"overlong": overlong, "combine": {"penalties": ["overlong"]}}
    recipe["stages"] = [stage | ({"steps": steps} if steps else {})]
    return recipe


def gain(summary: dict[str, Any]) -> tuple[float, float]:
    """Points of held-out accuracy gained, and half its 95% interval as a difference of two shares."""
    before, after = summary["before"], summary["after"]
    variance = sum(side["accuracy"] * (1 - side["accuracy"]) / side["n"] for side in (before, after))
    return 100 * (after["accuracy"] - before["accuracy"]), 196 * math.sqrt(variance)


def main() -> None:
    """Runs, prints a table and the line for machines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--algorithms", nargs="+", default=["quickstart", *GRPO_PRESETS, "ppo"])
    parser.add_argument("--steps", type=int, help="by default the recipes' own")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-presets"))
    given = parser.parse_args()
    starts = {seed: cold_start(seed, given.work.resolve()) for seed in given.seeds}
    means = {}
    print("algorithm                points gained, by seed          mean +- 95%   minutes a seed", flush=True)
    for algorithm in given.algorithms:
        summaries = []
        for seed, model in starts.items():
            folder = given.work.resolve() / f"seed-{seed}" / algorithm
            summaries.append(run(stage_recipe(algorithm, seed, model, given.steps), folder))
        gains = [gain(summary)[0] for summary in summaries]
        half = gain(summaries[0])[1]
        if len(gains) > 1:
            half = T95.get(len(gains), 2.0) * statistics.stdev(gains) / math.sqrt(len(gains))
        means[algorithm] = statistics.mean(gains)
        minutes = statistics.median(summary["seconds"]["total"] for summary in summaries) / 60
        each = "  ".join(f"{g:+5.1f}" for g in gains)
        print(f"{algorithm:<24} {each:<30} {means[algorithm]:+6.1f} +- {half:4.1f}   {minutes:.1f}", flush=True)
    least = min(means, key=lambda name: means[name])
    line = {
        "benchmark": "presets",
        "ratio": means[least] / ASKED_POINTS,
        "peer": f"{ASKED_POINTS:g} points, asked of every algorithm; the least is {least}",
        "ours": means[least],
        "theirs": ASKED_POINTS,
        "unit": "points of held-out accuracy",
        "runs": len(given.seeds) * len(given.algorithms),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
