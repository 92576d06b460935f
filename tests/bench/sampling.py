"""Sampling beside `LLM.generate`, and a weight sync beside a bare `reload_weights`.

    python tests/bench/sampling.py [--model DIR] [--pairs 3] [--threads 1] [--only sampling|sync]

For the quickstart's model (made here from nothing, 256 samples of 96 tokens: 32 prompts, 8 samples each) and, with
--model, for a model of your own (32 samples of 64 tokens: 4 prompts, 8 samples each), in float32 on a CPU.

Sampling: rlkit's engine and vLLM's own `LLM(model, dtype="float32").generate` with its defaults (compiled, no
log-probs, no seeds) draw the same prompts with the same number of threads and key-value memory. Each has a process of
its own; they draw in turns while the other one waits. Ratio: our tokens a second over theirs, median of pairs.

Sync: what a step waits for between its last update and the canary: the learner publishes its weights and an engine
loads them, each in its actor. Beside it, in the same engine and after the same pause, vLLM's `reload_weights` of
tensors that are already in its process. The canary (draw and compare) is timed apart. Ratio: bare seconds over ours,
median of pairs after two syncs that touch fresh memory, so 1 is as fast and 0.67 takes 1.5 times as long.

The last line's ratio is the lowest of all.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

QUESTIONS = (
    "A baker sells 12 rolls in the morning and three times as many in the afternoon. How many does she sell in all?",
    "A train covers 180 miles in 3 hours. At the same speed, how many miles does it cover in 5 hours? Show each step.",
    "Lena has 45 stamps, gives a third of them to her brother and buys 8 new ones. How many stamps has she now?",
    "Four boxes hold 24 pencils each. A class of 30 pupils gets two pencils each. How many pencils are left over?",
)
DEADLINE_S = 600.0


class Size(NamedTuple):
    """One measurement."""

    name: str
    model: str
    num_prompts: int
    samples_per_prompt: int
    max_tokens: int


def prompts_of(size: Size) -> list[list[int]]:
    """The prompts as token ids, by the model's own template."""
    from rlkit.models.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(size.model)
    texts = [f"{QUESTIONS[i % len(QUESTIONS)]} ({i})" for i in range(size.num_prompts)]
    chats = [[{"role": "user", "content": text}] for text in texts]
    return [tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False) for chat in chats]


def our_sampler(size: Size, threads: int) -> Callable[[int], int]:
    """Draws all samples with rlkit's engine; returns their tokens."""
    from rlkit.recipe.schema import RolloutKeys
    from rlkit.records import Task
    from rlkit.rollout.engine import Engine, EngineSpec
    from rlkit.rollout.request import DrawRequest, derive_seed

    keys = RolloutKeys(max_tokens=size.max_tokens, threads=threads, kv_cache_gb=1.0)
    engine = Engine(EngineSpec(size.model, keys, "float32", 0))
    prompts = prompts_of(size)

    def draw(turn: int) -> int:
        engine.llm.reset_prefix_cache()  # as after a weight sync
        requests = [
            DrawRequest(
                i,
                Task(str(i), "math", "", "1"),
                np.array(ids, np.int32),
                "",
                tuple(derive_seed(0, turn, i, n) for n in range(size.samples_per_prompt)),
            )
            for i, ids in enumerate(prompts)
        ]
        return sum(sample.num_tokens for _, group in engine.draw(requests) for sample in group.samples)

    return draw


def their_sampler(size: Size, threads: int) -> Callable[[int], int]:
    """The same with vLLM's LLM."""
    from vllm import LLM, SamplingParams

    llm = LLM(model=size.model, dtype="float32", kv_cache_memory_bytes=2**30)
    prompts = [{"prompt_token_ids": ids} for ids in prompts_of(size) for _ in range(size.samples_per_prompt)]
    params = SamplingParams(max_tokens=size.max_tokens, temperature=1.0)

    def draw(turn: int) -> int:
        llm.reset_prefix_cache()
        return sum(len(o.outputs[0].token_ids) for o in llm.generate(prompts, params, use_tqdm=False))

    return draw


def serve(make: Callable[[Size, int], Callable[[int], int]], size: Size, threads: int, line: Connection) -> None:
    """A process that draws whenever it is asked to and answers with tokens a second."""
    import torch

    torch.set_num_threads(threads)
    draw = make(size, threads)
    line.send("ready")
    while (turn := line.recv()) is not None:
        began = time.perf_counter()
        tokens = draw(turn)
        line.send(tokens / (time.perf_counter() - began))


def ask(line: Connection, what: int | None = None) -> Any:
    """The answer of a serving process."""
    if what is not None:
        line.send(what)
    if not line.poll(DEADLINE_S):
        raise SystemExit(f"a sampler gave no answer for {DEADLINE_S:g} s")
    return line.recv()


def measure_sampling(size: Size, threads: int, pairs: int) -> dict[str, float]:
    """Median tokens a second of both, and of the pairs' ratios."""
    from rlkit.recipe.schema import RolloutKeys
    from rlkit.rollout.engine import engine_env

    spawn = multiprocessing.get_context("spawn")
    lines, processes = [], []
    for make in (our_sampler, their_sampler):
        os.environ |= engine_env(RolloutKeys(threads=threads)) | {"VLLM_LOGGING_LEVEL": "CRITICAL"}
        if make is their_sampler:
            os.environ.pop("TORCHDYNAMO_DISABLE", None)  # it compiles, as it does by default
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=serve, args=(make, size, threads, theirs), daemon=True)
        process.start()
        lines.append(ours)
        processes.append(process)
        ask(ours)
    for line in lines:
        ask(line, 0)  # the first draw warms up
    rates = [tuple(ask(line, turn) for line in lines) for turn in range(1, pairs + 1)]
    for line, process in zip(lines, processes, strict=True):
        line.send(None)
        process.join(30)
    return {
        "ours": statistics.median(a for a, _ in rates),
        "theirs": statistics.median(b for _, b in rates),
        "ratio": statistics.median(a / b for a, b in rates),
    }


def bare_reload(worker: Any) -> float:
    """In an engine's actor: seconds of vLLM's own reload of tensors that are already there."""
    llm = worker.engine.llm
    if not hasattr(worker, "held"):
        worker.held = {name: tensor.clone() for name, tensor in worker.last.tensors().items()}
    began = time.perf_counter()
    llm.collective_rpc(lambda w: w.model_runner.reload_weights(weights_iterator=iter(worker.held.items())))
    return time.perf_counter() - began


def measure_sync(size: Size, threads: int, pairs: int) -> dict[str, float]:
    """Median seconds of a sync, of a bare reload and of the canary, and of the pairs' ratios bare / sync."""
    import ray

    from rlkit.cluster.ray_start import start_ray, stop_ray
    from rlkit.learner.learner_group import LearnerGroup
    from rlkit.learner.spec import LearnerSpec
    from rlkit.recipe.schema import ClusterKeys, GrpoKeys, LearnerKeys, RolloutKeys
    from rlkit.records import Task
    from rlkit.rollout.engine import EngineSpec
    from rlkit.rollout.request import DrawRequest
    from rlkit.rollout.rollout_pool import RolloutPool
    from rlkit.stages.online.parity import CANARY_PROMPTS, CANARY_TOKENS, max_logprob_gap

    start_ray(ClusterKeys(object_store_mb=2048), None)
    keys = RolloutKeys(max_tokens=size.max_tokens, threads=threads, kv_cache_gb=0.25, engine={"max_model_len": 1024})
    pool = RolloutPool(
        EngineSpec(size.model, keys, "float32", 0), start_timeout_s=DEADLINE_S, max_restarts=0, on_event=print
    )
    spec = LearnerSpec(
        model_path=size.model,
        stage=GrpoKeys(kind="grpo", steps=1),
        keys=LearnerKeys(precision="float32"),
        temperature=1.0,
        max_tokens=size.max_tokens,
        threads=threads,
        deterministic=False,
        seed=0,
    )
    learner = LearnerGroup(spec, start_timeout_s=DEADLINE_S)
    prompts = prompts_of(size)[:CANARY_PROMPTS]
    canary = [
        DrawRequest(i, Task(str(i), "math", "", "1"), np.array(ids, np.int32), "", (i,), max_tokens=CANARY_TOKENS)
        for i, ids in enumerate(prompts)
    ]
    (engine,) = pool._workers.actors.values()
    rows = []
    for version in range(pairs + 2):
        began = time.perf_counter()
        weights = learner.publish()
        pool.load(weights, version)
        synced = time.perf_counter()
        (groups,) = pool.draw_on_each(canary)
        samples = [group.samples[0] for group in groups]
        gap = max_logprob_gap(samples, learner.logprobs_of(samples))
        checked = time.perf_counter()
        assert gap < 1e-4, f"the engine does not hold the learner's weights: {gap:g} nats"
        ray.get(engine.__ray_call__.remote(lambda worker, held: setattr(worker, "last", held), weights))
        learner.publish()  # the engine is as long idle before the bare reload as before ours
        bare = ray.get(engine.__ray_call__.remote(bare_reload), timeout=DEADLINE_S)
        rows.append((synced - began, bare, checked - synced))
    pool.close()
    learner.close()
    stop_ray()
    rows = rows[2:]
    return {
        "ours": statistics.median(sync for sync, _, _ in rows),
        "theirs": statistics.median(bare for _, bare, _ in rows),
        "canary": statistics.median(canary for _, _, canary in rows),
        "ratio": statistics.median(bare / sync for sync, bare, _ in rows),
    }


def make_quickstart(out: Path) -> str:
    """The quickstart's model, untrained."""
    from rlkit.data.builtin import read_builtin
    from rlkit.models.init import init_model
    from rlkit.recipe.load import load_recipe

    recipe = load_recipe(Path(__file__).resolve().parents[2] / "recipes" / "quickstart.yaml").recipe
    assert recipe.model.init is not None
    texts = [row.columns["prompt"] for row in read_builtin("builtin:quickstart?rows=512", "train", 0)]
    init_model(recipe.model.init, iter([*texts, *QUESTIONS]), seed=0, out=out)
    return str(out)


def main() -> None:
    """Measures what was asked for and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a folder in Hugging Face format")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=["sampling", "sync"])
    args = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        sizes = [Size("quickstart", make_quickstart(Path(scratch) / "model"), 32, 8, 96)]
        if args.model:
            sizes.append(Size("model", args.model, 4, 8, 64))
        for size in sizes:
            if args.only != "sync":
                row = found[f"{size.name} sampling"] = measure_sampling(size, args.threads, args.pairs)
                print(f"{size.name}: {row['ours']:.0f} tokens/s, LLM.generate {row['theirs']:.0f}: {row['ratio']:.2f}x")
            if args.only != "sampling":
                row = found[f"{size.name} sync"] = measure_sync(size, args.threads, args.pairs)
                print(
                    f"{size.name}: sync {row['ours']:.3f} s, bare reload {row['theirs']:.3f} s: {row['ratio']:.2f}x; "
                    f"canary {row['canary']:.3f} s"
                )
    name, lowest = min(found.items(), key=lambda item: item[1]["ratio"])
    unit = "tokens/s" if name.endswith("sampling") else "s"
    peer = "vllm LLM.generate" if name.endswith("sampling") else "vllm reload_weights"
    print(
        json.dumps(
            {
                "benchmark": f"sampling ({name})",
                "ratio": round(lowest["ratio"], 3),
                "peer": peer,
                "ours": round(lowest["ours"], 3),
                "theirs": round(lowest["theirs"], 3),
                "unit": unit,
                "runs": args.pairs,
            }
        )
    )


if __name__ == "__main__":
    main()
