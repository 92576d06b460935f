"""Whole training steps a second: `rlkit train` beside TRL's GRPOTrainer with its transformers generation.

    python tests/bench/step_vs_trl.py [--pairs 3] [--steps 3] [--sizes quickstart ragged256] [--only float32|defaults]

Sample, score, update and bring the new weights to the sampler, with the quickstart's model (made from nothing), its
tasks, 32 prompts of 8 samples and one update a step. Both in float32 (TRL's without recomputing activations), then each
by its own defaults (bfloat16; left out where the CPU has no products of it, unless `--only defaults`). `quickstart`:
replies of at most 96 tokens; `ragged256`: at most 256; the mean is printed. An untrained model hardly ever ends a
reply: the end token's weights are moved so that it does by chance, anywhere, in the folder that both start from. Ours
runs the quickstart's judges and its sandbox; TRL's reward function costs nothing. TRL generates a step's samples in one
call, and updates in the fastest micro-batch of those tried. Each run is a process of its own, ours and TRL's in turns;
start-up and the first step do not count; the figures are medians. The last line's ratio is the lowest.

"at most" is the ratio of a step in which everything were free but the matrix products of our update (6 x parameters x
tokens, prompts included) at the rate of large ones on this machine, measured in the same run: no tuning goes beyond it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

PROMPTS, SAMPLES = 32, 8


class Size(NamedTuple):
    """How long replies are."""

    max_tokens: int
    """They are cut there."""
    end_one_in: int
    """The end token's mean probability over random text is one in so many; in its own text it comes oftener."""


SIZES = {"quickstart": Size(96, 100), "ragged256": Size(256, 250)}
TRL_BATCHES = (8, 32, 64, 128)
"""Micro-batches tried; 8 is TRL's default."""


def tasks() -> list[str]:
    """The prompts that both draw from."""
    from rlkit.data.builtin import read_builtin

    return [row.columns["prompt"] for row in read_builtin("builtin:quickstart?rows=512", "train", 0)]


def make_model(out: Path, size: Size) -> None:
    """The quickstart's model with an end token as likely as the mean length asks for."""
    import torch

    from rlkit.models.init import init_model
    from rlkit.models.pretrained import load_model
    from rlkit.models.save import save_model
    from rlkit.models.tokenizer import load_tokenizer
    from rlkit.recipe.load import load_recipe

    quickstart = Path(__file__).resolve().parents[2] / "recipes" / "quickstart.yaml"
    init = load_recipe(quickstart).recipe.model.init
    assert init is not None
    init_model(init, iter(tasks()), seed=0, out=out)
    model, tokenizer = load_model(str(out)), load_tokenizer(str(out))
    embedding = model.get_input_embeddings().weight
    g = torch.Generator().manual_seed(0)
    ids = torch.randint(0, len(embedding), (8, 64), generator=g)
    with torch.no_grad():
        # A direction that every token shares stays in every hidden state; along it the end token alone can be moved.
        common = torch.nn.functional.normalize(torch.randn(embedding.shape[1], generator=g), dim=0)
        embedding += 2 * common * embedding.norm(dim=1).mean()
        hidden = model.base_model(input_ids=ids).last_hidden_state.flatten(0, 1)
        logits = hidden @ embedding.t()
        end = tokenizer.eos_token_id
        others = torch.logsumexp(torch.cat([logits[:, :end], logits[:, end + 1 :]], 1), 1)
        along, low, high = hidden @ common, -10.0, 10.0
        for _ in range(40):  # bisection: the mean probability of an end rises with the shift
            shift = (low + high) / 2
            often = torch.sigmoid(logits[:, end] + shift * along - others).mean() > 1 / size.end_one_in
            low, high = (low, shift) if often else (shift, high)
        embedding[end] += shift * common
    save_model(model, tokenizer, out, dict(model.named_parameters()))


SPREAD = """
from rlkit import Score

class Spread:
    def score(self, group):
        return [Score((s.num_tokens % 7) / 6) for s in group.samples]
"""
"""As TRL's reward function below. Without it most groups of a random model have equal rewards, and a group that tells
nothing costs our learner no pass."""


MODES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "float32": ({"precision": "float32"}, {"bf16": False, "gradient_checkpointing": False}),
    "defaults": ({}, {}),
}
"""Keys of our learner, and of TRL's GRPOConfig."""


def ours(folder: Path, size: Size, mode: str, steps: int, scratch: Path) -> dict[str, float]:
    """Seconds a step and mean tokens of a reply in an `rlkit train` run."""
    recipe = {
        "run": {"name": "bench", "seed": 0},
        "model": {"path": str(folder)},
        "data": {
            "path": "builtin:quickstart?rows=512",
            "prompt": {"template": "{prompt}", "code_template": "{prompt}"},
        },
        "stages": [
            {
                "kind": "grpo",
                "steps": steps + 1,
                "prompts_per_step": PROMPTS,
                "samples_per_prompt": SAMPLES,
                "learning_rate": 1e-6,
            }
        ],
        "reward": {"spread": {"plugin": "./spread.py:Spread", "weight": 1}},
        "rollout": {"max_tokens": size.max_tokens},
        "learner": {"tokens_per_microbatch": 2048, **MODES[mode][0]},
    }
    path, run_dir = scratch / "recipe.yaml", Path(tempfile.mkdtemp(dir=scratch))
    path.write_text(yaml.safe_dump(recipe))
    (scratch / "spread.py").write_text(SPREAD)
    command = [sys.executable, "-m", "rlkit", "train", str(path), "--run-dir", str(run_dir), "--resume", "never"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if "time/update" in row][1:]
    phases = {key: statistics.median(row[key] for row in rows) for key in rows[0] if key.startswith("time/")}
    used = min(row["learner/samples_used"] for row in rows) / (PROMPTS * SAMPLES)
    assert used > 0.9, f"only {used:.0%} of the samples cost a pass"
    tokens = statistics.fmean(row["samples/tokens_mean"] for row in rows)
    learned = statistics.median(row["learner/tokens_used"] for row in rows)
    return {"seconds": phases["time/step"], "mean_tokens": tokens, "learned_tokens": learned, **phases}


def theirs(folder: Path, size: Size, mode: str, steps: int, per_device: int) -> dict[str, float]:
    """Seconds a step and mean tokens of a reply of GRPOTrainer, in a process of its own."""
    words = map(str, (folder, size.max_tokens, mode, steps, per_device))
    command = [sys.executable, __file__, "--trl", *words]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(result.stdout.strip().splitlines()[-1])
    return found


def trl_child(folder: Path, max_tokens: int, mode: str, steps: int, per_device: int) -> None:
    """Runs GRPOTrainer; prints its median seconds a step."""
    from datasets import Dataset
    from transformers import PrinterCallback, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    class Watch(TrainerCallback):
        """The time at which every step begins and the last one ends."""

        def __init__(self) -> None:
            self.times: list[float] = []

        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            self.times.append(time.perf_counter())

        def on_train_end(self, *args: Any, **kwargs: Any) -> None:
            self.times.append(time.perf_counter())

    lengths: list[int] = []

    def reward(completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
        lengths.extend(len(ids) for ids in completion_ids)
        return [float(len(ids) % 7) for ids in completion_ids]

    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        model_init_kwargs={"dtype": "float32"},
        use_cpu=True,
        per_device_train_batch_size=per_device,
        gradient_accumulation_steps=PROMPTS * SAMPLES // per_device,
        num_generations=SAMPLES,
        max_completion_length=max_tokens,
        max_steps=steps + 1,
        learning_rate=1e-6,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        **MODES[mode][1],
    )
    trainer = GRPOTrainer(
        model=str(folder), reward_funcs=[reward], args=config, train_dataset=Dataset.from_dict({"prompt": tasks()})
    )
    watch = Watch()
    trainer.add_callback(watch)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    taken = [b - a for a, b in pairwise(watch.times)]
    print(json.dumps({"seconds": statistics.median(taken[1:]), "mean_tokens": statistics.fmean(lengths)}))


class Found(NamedTuple):
    """One size's figures in one mode: medians of seconds a step and of the pairs' ratios."""

    ours: float
    theirs: float
    ratio: float
    at_most: float
    """The ratio that no tuning goes beyond."""


def compare(name: str, mode: str, pairs: int, steps: int, scratch: Path) -> Found:
    """Measures and prints one size's figures in one mode."""
    size, folder = SIZES[name], scratch / name
    if not folder.exists():
        make_model(folder, size)
    tried = {batch: theirs(folder, size, mode, 1, batch)["seconds"] for batch in TRL_BATCHES}
    best = min(tried, key=tried.__getitem__)
    print(
        f"{name}, {mode}: TRL's seconds a step by its micro-batch: { {b: round(t, 2) for b, t in tried.items()} }",
        flush=True,
    )
    ratios, all_ours, all_theirs = [], [], []
    for _ in range(pairs):
        mine, peer = ours(folder, size, mode, steps, scratch), theirs(folder, size, mode, steps, best)
        all_ours.append(mine["seconds"])
        all_theirs.append(peer["seconds"])
        ratios.append(peer["seconds"] / mine["seconds"])
        phases = ", ".join(f"{key.removeprefix('time/')} {mine[key]:.2f}" for key in mine if key.startswith("time/"))
        print(
            f"{name}, {mode}: ours {mine['seconds']:.2f} s a step ({phases}), TRL {peer['seconds']:.2f} s (micro-batch "
            f"{best}); {mine['mean_tokens']:.0f} and {peer['mean_tokens']:.0f} tokens a reply: {ratios[-1]:.2f}x",
            flush=True,
        )
    floor = floor_seconds(folder, mode, mine["learned_tokens"])
    found = Found(*map(statistics.median, (all_ours, all_theirs, ratios)), statistics.median(all_theirs) / floor)
    print(f"{name}, {mode}: the update's matrix products alone take {floor:.2f} s: at most {found.at_most:.2f}x")
    return found


def floor_seconds(folder: Path, mode: str, tokens: float) -> float:
    """What the matrix products of an update over so many tokens take on all cores at the rate of large ones."""
    import torch

    from rlkit.plan.machine import Machine
    from rlkit.plan.make_plan import default_precision
    from tests.bench.learner_vs_trl import count_parameters
    from tests.bench.products import gemm_rates

    default = default_precision(deterministic=False, on_gpu=False, machine=Machine.detect())
    precision = MODES[mode][0].get("precision", default)
    rate = gemm_rates(torch.float32 if precision == "float32" else torch.bfloat16)["square"]
    return 6 * count_parameters(folder) * tokens / rate / 1e9


def main() -> None:
    """The whole comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--only", choices=list(MODES))
    parser.add_argument("--trl", nargs=5, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.trl:
        folder, max_tokens, mode, steps, batch = args.trl
        trl_child(Path(folder), int(max_tokens), mode, int(steps), int(batch))
        return
    from tests.bench.products import worth_measuring

    modes = [args.only] if args.only else worth_measuring(list(MODES), "--only")
    with tempfile.TemporaryDirectory() as scratch:
        found = {
            f"{name}/{mode}": compare(name, mode, args.pairs, args.steps, Path(scratch))
            for name in args.sizes
            for mode in modes
        }
    lowest = min(found.values(), key=lambda each: each.ratio)
    line = {
        "benchmark": "step_vs_trl",
        "ratio": round(lowest.ratio, 3),
        "peer": "trl.GRPOTrainer",
        "ours": round(1 / lowest.ours, 4),
        "theirs": round(1 / lowest.theirs, 4),
        "unit": "steps/s",
        "runs": args.pairs,
        "ratios": {name: round(each.ratio, 3) for name, each in found.items()},
        "at_most": {name: round(each.at_most, 3) for name, each in found.items()},
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
