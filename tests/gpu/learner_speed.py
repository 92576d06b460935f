"""The update on one GPU, beside TRL's: models of Qwen2.5's shapes with random weights, rows of 16k tokens, bfloat16.

    python -m tests.gpu.learner_speed [--models 0.5B 1.5B] [--updates 5] [--checkpointing]

Useful tokens a second, what share of this GPU's measured rate of matrix products they are (6 x parameters x tokens,
over the products of the model's layers), and the most memory that torch held. Both learn from the same samples
(completions of log-normal length, median 512, at most 4,096), with the same loss, in bfloat16 over float32 weights, TRL
in the fastest of the micro-batches tried. Each has a process of its own; the figures are medians, the first update is
not counted. The last line's ratio is the lowest over the models.

`--on-cpu` tries the script itself where there is no GPU: `--on-cpu --layers 1 --vocab 1024 --sequences 8 --longest 64
--trl-batches 4 8 --updates 1`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from rlkit.algorithm.step_arrays import StepSamples
from rlkit.records import ScoredGroup
from tests.bench.learner_vs_trl import (
    LEARNING_RATE,
    count_parameters,
    draw_groups,
    model_folder,
    our_update,
    useful_tokens,
)
from tests.bench.products import QWEN_05B, Shape, gemm_rates, now
from tests.bench.trl_update import TrlUpdate

MODELS = {"0.5B": (QWEN_05B, 24), "1.5B": (Shape(1536, 8960, 12, 2), 28)}
"""Shape, and layers."""
ROW_TOKENS = 16_384


def samples_of(args: argparse.Namespace) -> list[ScoredGroup]:
    """The same for both."""
    return draw_groups(args.sequences, args.vocab, median=min(512, args.longest // 2), longest=args.longest)


def child(args: argparse.Namespace) -> None:
    """Some updates of one side; prints its median seconds, its peak memory in MiB and its first gradient norm."""
    who, folder = args.child[0], Path(args.child[1])
    groups, taken, norms = samples_of(args), [], []
    if who == "ours":
        keys = {"precision": "bfloat16", "tokens_per_microbatch": ROW_TOKENS}
        keys |= {"gpus_per_worker": 0 if args.on_cpu else 1, "activation_checkpointing": args.checkpointing}
        learner = our_update(folder, 1, keys)
        for _ in range(args.updates + 1):
            began = now()
            metrics = learner.train_step(StepSamples.of(groups)).metrics
            taken.append(now() - began)
            norms.append(metrics["learner/grad_norm"])
            assert metrics["learner/tokens_used"] == useful_tokens(groups)
    else:
        trl_keys = {"bf16": True, "gradient_checkpointing": args.checkpointing}
        theirs = TrlUpdate(folder, groups, LEARNING_RATE)
        batch = theirs.fastest_batch(args.trl_batches, trl_keys)
        print(f"TRL's fastest micro-batch is {batch}", flush=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()  # not that of the batches tried

        def after_step(seconds: float, norm: float) -> None:
            taken.append(seconds)
            norms.append(norm)

        theirs.train(batch, trl_keys, steps=args.updates + 1, after_step=after_step)
    peak = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0.0
    print(json.dumps({"seconds": statistics.median(taken[1:]), "peak_mib": peak, "grad_norm": norms[0]}))


def measured(who: str, folder: Path) -> dict[str, float]:
    """What a child found; it gets this command's own options."""
    command = [sys.executable, "-m", "tests.gpu.learner_speed", *sys.argv[1:], "--child", who, str(folder)]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    *notes, last = result.stdout.strip().splitlines()
    for note in (note for note in notes if note.startswith("TRL")):
        print(note, flush=True)
    found: dict[str, float] = json.loads(last)
    return found


def compare(name: str, args: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Measures and prints one model's figures."""
    shape, num_layers = MODELS[name]
    folder = model_folder(scratch / name, args.vocab, args.layers or num_layers, shape)
    parameters, tokens = count_parameters(folder), useful_tokens(samples_of(args))
    device = "cpu" if args.on_cpu else "cuda"
    sizes = {"tokens": 256, "square": 256} if args.on_cpu else {"tokens": ROW_TOKENS, "square": 8192}
    rates = gemm_rates(torch.bfloat16, shape, device=device, **sizes)
    ours, theirs = measured("ours", folder), measured("theirs", folder)
    reached = 6 * parameters * tokens / ours["seconds"] / 1e9
    found = {
        "parameters": parameters,
        "tokens": tokens,
        "ours": tokens / ours["seconds"],
        "theirs": tokens / theirs["seconds"],
        "ratio": theirs["seconds"] / ours["seconds"],
        "gemm_share": reached / rates["layer"],
        "memory_mib": [ours["peak_mib"], theirs["peak_mib"]],
    }
    layer, square, ours_rate = (rate / 1e3 for rate in (rates["layer"], rates["square"], reached))
    print(
        f"{name}, {parameters / 1e6:.0f} M parameters, {tokens} tokens an update: ours {found['ours']:.0f} tokens/s, "
        f"TRL {found['theirs']:.0f}: {found['ratio']:.2f}x; peak memory {ours['peak_mib']:.0f} and "
        f"{theirs['peak_mib']:.0f} MiB; first gradient norm {ours['grad_norm']:.4f} and {theirs['grad_norm']:.4f}\n"
        f"  products: {layer:.3g} TFLOP/s at the layers' shapes, {square:.3g} square; our update {ours_rate:.3g}, "
        f"{found['gemm_share']:.0%} of the layers'",
        flush=True,
    )
    return found


def main() -> None:
    """The whole comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--updates", type=int, default=5)
    parser.add_argument("--sequences", type=int, default=128)
    parser.add_argument("--longest", type=int, default=4096)
    parser.add_argument("--vocab", type=int, default=151_936)
    parser.add_argument("--layers", type=int, help="instead of the model's own number")
    parser.add_argument("--trl-batches", type=int, nargs="+", default=[4, 8, 16, 32])
    parser.add_argument("--checkpointing", action="store_true", help="recompute activations, both")
    parser.add_argument("--on-cpu", action="store_true", help="only try the script")
    parser.add_argument("--child", nargs=2, metavar=("WHO", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not (args.on_cpu or torch.cuda.is_available()):
        parser.error("no CUDA device: the update on a GPU is what this measures (--on-cpu only tries the script)")
    if args.child:
        child(args)
        return
    with tempfile.TemporaryDirectory() as scratch:
        found = {name: compare(name, args, Path(scratch)) for name in args.models}
    lowest = min(found.values(), key=lambda each: each["ratio"])
    line = {"benchmark": "gpu_learner", "ratio": lowest["ratio"], "peer": "trl.GRPOTrainer", "ours": lowest["ours"]}
    line |= {"theirs": lowest["theirs"], "unit": "useful tokens/s", "runs": args.updates, "models": found}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
