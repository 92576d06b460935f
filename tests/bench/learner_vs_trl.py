"""Useful tokens a second of one update: rlkit's learner beside TRL's GRPOTrainer, on the same model and samples.

    python tests/bench/learner_vs_trl.py [--pairs 3] [--threads 1] [--sequences 32]

Both learn from the same prompts, completions (lengths log-normal, 16 to 512 tokens) and rewards, with the same loss
(the clipped surrogate, mean over all tokens, group-normalised advantages), clipping and AdamW. TRL runs its own
`train()`: only its generation is replaced, by one that hands out the samples padded as its own code pads them. Its
micro-batch is the fastest of those tried. The two take turns in one process; the figures are medians. Useful tokens are
prompts and completions without padding. Gradient norms of the first update are printed: both did the same sum. Under
"defaults" each keeps its own precision, micro-batch and checkpointing. A CPU without bfloat16 products measures float32
alone, unless `--kinds` names others.

"products" is what this machine reaches in the same run in matrix products of the shapes of the model's layers, and in a
large square one; the share is 6 x parameters x useful tokens / time over the layers' rate.

Memory is the peak resident size of a child process each, at a vocabulary of 32,768, with and without what a process
holds before it loads the model.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rlkit.algorithm.step_arrays import StepSamples
from rlkit.learner.spec import LearnerSpec
from rlkit.learner.torch_learner import Learner
from rlkit.models.init import init_model
from rlkit.plan.machine import Machine
from rlkit.plan.make_plan import default_precision
from rlkit.recipe.schema import GrpoKeys, LearnerKeys, ModelInitKeys
from rlkit.records import Sample, ScoredGroup, Task
from tests.bench.products import QWEN_05B, Shape, gemm_rates, worth_measuring
from tests.bench.trl_update import TrlUpdate

GROUP = 4
"""Samples of a prompt."""
LONGEST = 512
TASK = Task("t", "math", "p", "1")
LEARNING_RATE = 1e-6
KINDS = {
    "float32": ({"precision": "float32", "tokens_per_microbatch": 1024}, {"bf16": False}),
    "bfloat16": ({"precision": "bfloat16", "tokens_per_microbatch": 1024}, {"bf16": True}),
    "defaults": ({}, None),
}
"""Keys of the learner, and arguments of TRL's config (None: its own defaults throughout)."""


def model_folder(out: Path, vocab_size: int, num_layers: int, shape: Shape = QWEN_05B) -> Path:
    """A Qwen2 with random weights."""
    texts = [f"What is {a} + {b}? {a + b}" for a in range(100) for b in range(20)]
    sizes = {"vocab_size": vocab_size, "num_layers": num_layers, "max_position_embeddings": 8192}
    init_model(ModelInitKeys(**sizes, **asdict(shape)), iter(texts), seed=0, out=out)
    return out


def draw_groups(num_sequences: int, vocab_size: int, *, median: int = 110, longest: int = LONGEST) -> list[ScoredGroup]:
    """Random samples: completions of log-normal length, prompts of 8 to 32 tokens, rewards in [0, 1).

    Rewards of few values would often be a group's mean, and a sample without an advantage costs our learner no pass.
    """
    g = torch.Generator().manual_seed(0)

    def draw(low: int, high: int, count: int) -> tuple[int, ...]:
        return tuple(torch.randint(low, high, (count,), generator=g).tolist())

    def length() -> int:
        while True:
            drawn = round(math.exp(math.log(median) + 0.8 * float(torch.randn((), generator=g))))
            if 16 <= drawn <= longest:
                return drawn

    groups = []
    for _ in range(num_sequences // GROUP):
        prompt = draw(10, vocab_size, *draw(8, 33, 1))
        replies = [draw(10, vocab_size, length()) for _ in range(GROUP)]
        # Every log-prob is about that of a uniform draw; it is not used: the ratio is against the learner's own.
        samples = tuple(
            Sample("s", "", len(r), "stop", r, (-math.log(vocab_size),) * len(r), 0, 0, prompt) for r in replies
        )
        groups.append(ScoredGroup(TASK, samples, {}, {}, tuple(torch.rand(GROUP, generator=g).tolist())))
    return groups


def useful_tokens(groups: list[ScoredGroup]) -> int:
    """Tokens of the samples, prompts included."""
    return sum(len(s.prompt_ids) + len(s.token_ids) for group in groups for s in group.samples)


def our_update(folder: Path, threads: int, keys: dict[str, Any]) -> Learner:
    """rlkit's learner, with TRL's loss and optimizer settings."""
    stage = GrpoKeys(kind="grpo", steps=1000, learning_rate=LEARNING_RATE, betas=(0.9, 0.999), old_logprobs="learner")
    precision = default_precision(deterministic=False, on_gpu=False, machine=Machine.detect())
    learner_keys = LearnerKeys(**{"precision": precision, **keys})
    return Learner(LearnerSpec(str(folder), stage, learner_keys, 1.0, LONGEST, threads, False, 0))


def measure(folder: Path, groups: list[ScoredGroup], kind: str, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of an update, ours and TRL's in turns."""
    ours_keys, theirs_keys = KINDS[kind]
    learner = our_update(folder, args.threads, ours_keys)
    theirs = TrlUpdate(folder, groups, LEARNING_RATE)
    per_device = 8 if theirs_keys is None else theirs.fastest_batch(args.trl_batches, theirs_keys)
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    norms: dict[str, float] = {}

    def ours() -> None:
        began = time.perf_counter()
        report = learner.train_step(StepSamples.of(groups))
        seconds["ours"].append(time.perf_counter() - began)
        norms.setdefault("ours", report.metrics["learner/grad_norm"])
        assert report.metrics["learner/tokens_used"] == useful_tokens(groups)

    def after_step(taken: float, grad_norm: float) -> None:
        seconds["theirs"].append(taken)
        norms.setdefault("theirs", grad_norm)
        ours()

    theirs.train(per_device, theirs_keys, steps=args.pairs + 1, after_step=after_step)
    # The first of each warms up.
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    pairs = [t / o for o, t in zip(seconds["ours"][1:], seconds["theirs"][1:], strict=True)]
    return medians | {"ratio": statistics.median(pairs), "pairs": pairs, "per_device": per_device, "norms": norms}


def memory_child(who: str, folder: Path, kind: str, sequences: int) -> None:
    """Two updates; prints the peak resident size and the size before the model, in MiB."""
    groups = draw_groups(sequences, 32_768)
    ours_keys, theirs_keys = KINDS[kind]
    theirs = TrlUpdate(folder, groups, LEARNING_RATE)  # imports what TRL needs, in both children
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
    if who == "ours":
        learner = our_update(folder, 1, ours_keys)
        for _ in range(2):
            learner.train_step(StepSamples.of(groups))
    else:
        theirs.train(8, theirs_keys, steps=2, after_step=lambda *_: None)
    # Not getrusage: its peak is the parent's where that was larger.
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 2**10
    print(json.dumps([peak, before]))


def peak_memory(who: str, folder: Path, kind: str, sequences: int) -> tuple[float, float]:
    """(peak, peak less what was there before the model) of a child process, in MiB."""
    command = [sys.executable, __file__, "--memory-of", who, str(folder), kind, "--sequences", str(sequences)]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    peak, before = json.loads(result.stdout.strip().splitlines()[-1])
    return peak, peak - before


def main() -> None:
    """The whole comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sequences", type=int, default=32)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--vocab", type=int, default=8192)
    parser.add_argument("--trl-batches", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS))
    parser.add_argument("--only", choices=["speed", "memory"])
    parser.add_argument("--memory-of", nargs=3, metavar=("WHO", "FOLDER", "KIND"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.memory_of:
        who, folder, kind = args.memory_of
        memory_child(who, Path(folder), kind, args.sequences)
        return
    kinds = args.kinds or worth_measuring(list(KINDS), "--kinds")
    with tempfile.TemporaryDirectory() as scratch:
        folder = model_folder(Path(scratch) / "model", args.vocab, args.layers)
        groups = draw_groups(args.sequences, args.vocab)
        tokens, parameters = useful_tokens(groups), count_parameters(folder)
        print(f"{parameters / 1e6:.1f} M parameters, {args.sequences} sequences, {tokens} useful tokens")
        found: dict[str, dict[str, Any]] = {}
        for kind in kinds if args.only != "memory" else []:
            found[kind] = result = measure(folder, groups, kind, args)
            print_speed(kind, result, tokens, parameters)
        memory = {}
        if args.only != "speed":
            wide = model_folder(Path(scratch) / "wide", 32_768, args.layers)
            for kind in (k for k in kinds if k != "defaults"):
                memory[kind] = compare_memory(wide, kind, args.sequences)
    if found:
        print_last_line(found, memory, tokens)


def count_parameters(folder: Path) -> int:
    """Weights of the model, tied ones once."""
    from rlkit.models.pretrained import load_model

    return sum(p.numel() for p in load_model(str(folder)).parameters())


def print_speed(kind: str, result: dict[str, Any], tokens: int, parameters: int) -> None:
    """One kind's lines."""
    ours, theirs = tokens / result["ours"], tokens / result["theirs"]
    print(
        f"{kind}: ours {ours:.0f} tokens/s, TRL {theirs:.0f} tokens/s (micro-batch {result['per_device']}): "
        f"{result['ratio']:.2f}x, pairs {[round(p, 2) for p in result['pairs']]}; first gradient norm "
        f"{result['norms']['ours']:.4f} and {result['norms']['theirs']:.4f}"
    )
    if kind != "defaults":
        rates = gemm_rates(torch.float32 if kind == "float32" else torch.bfloat16)
        reached = 6 * parameters * ours / 1e9
        print(
            f"  products: {rates['layer']:.0f} GFLOP/s at the layers' shapes, {rates['square']:.0f} at 2048 cubed; "
            f"our update {reached:.0f}, {reached / rates['layer']:.0%} of the layers'"
        )
        result["gemm_share"] = reached / rates["layer"]


def compare_memory(folder: Path, kind: str, sequences: int) -> dict[str, float]:
    """Ratios of the peaks, ours over TRL's."""
    ours, theirs = (peak_memory(who, folder, kind, sequences) for who in ("ours", "theirs"))
    print(
        f"memory, {kind}, vocabulary 32768: ours {ours[0]:.0f} MiB, TRL {theirs[0]:.0f} MiB: "
        f"{ours[0] / theirs[0]:.2f}x; without imports {ours[1]:.0f} and {theirs[1]:.0f} MiB: {ours[1] / theirs[1]:.2f}x"
    )
    return {"whole": ours[0] / theirs[0], "without_imports": ours[1] / theirs[1]}


def print_last_line(found: dict[str, dict[str, Any]], memory: dict[str, dict[str, float]], tokens: int) -> None:
    """The line for machines: the ratio is the lower of the two precisions'."""
    same = {kind: result for kind, result in found.items() if kind != "defaults"} or found
    worst = min(same, key=lambda kind: same[kind]["ratio"])
    line = {
        "benchmark": "learner_vs_trl",
        "ratio": round(same[worst]["ratio"], 3),
        "peer": "trl.GRPOTrainer",
        "ours": round(tokens / same[worst]["ours"], 1),
        "theirs": round(tokens / same[worst]["theirs"], 1),
        "unit": "useful tokens/s",
        "runs": len(same[worst]["pairs"]),
        "precision": worst,
        "ratios": {kind: round(result["ratio"], 3) for kind, result in found.items()},
        "gemm_share": {kind: round(result["gemm_share"], 3) for kind, result in same.items() if "gemm_share" in result},
        "memory": {kind: {k: round(v, 3) for k, v in ratios.items()} for kind, ratios in memory.items()},
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
