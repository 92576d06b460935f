"""What a checkpoint costs a step, what TRL's costs, and what a resume takes.

    python tests/bench/save_cost.py [--sizes small large] [--saves 3] [--only save|resume]

`save`: an `rlkit train` run that saves every third step. A step is timed from one row of metrics.jsonl to the next; the
steps in which a checkpoint is begun or being written are compared with the others (medians). Beside it TRL's
GRPOTrainer writes a checkpoint of the same model, optimizer included, with nothing else going on.
`small`: 1.7 M parameters, steps of 256 samples; `large`: 300 M, 48 samples of 48 tokens, one engine (with two,
24 GiB do not hold the copy that is written).
`resume`: that run of `small` killed and started again, from the command to its first new step, by parts.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

EVERY = 3
LIMIT_S = 3000.0


class Size(NamedTuple):
    """A model and the step it is trained by."""

    model: dict[str, int]
    """Keys of model.init."""
    prompts: int
    samples: int
    max_tokens: int
    engines: int


SIZES = {
    "small": Size(
        {"vocab_size": 512, "hidden_size": 192, "num_layers": 5, "num_heads": 6, "num_kv_heads": 2}, 32, 8, 96, 2
    ),
    "large": Size(
        {"vocab_size": 4096, "hidden_size": 1536, "num_layers": 34, "num_heads": 24, "num_kv_heads": 6}, 6, 8, 48, 1
    ),
}


class Cost(NamedTuple):
    """Seconds."""

    plain: float
    """A step."""
    saving: float
    """A step in which a checkpoint is begun or being written."""
    whole: float
    """From the end of a step to its whole checkpoint."""
    trl_step: float
    """TRL's checkpoint, in which nothing else happens."""
    parameters: int
    megabytes: float
    """Of the checkpoint."""


def write_recipe(folder: Path, size: Size, steps: int) -> Path:
    """A run from a random model with a reward in which samples differ."""
    (folder / "spread.py").write_text(
        "from rlkit import Score\n\nclass Spread:\n    def score(self, group):\n"
        "        return [Score((s.num_tokens + i) % 7 / 6) for i, s in enumerate(group.samples)]\n"
    )
    prompt = {"template": "{prompt}", "code_template": "{prompt}"}
    stage = {
        "kind": "grpo",
        "steps": steps,
        "prompts_per_step": size.prompts,
        "samples_per_prompt": size.samples,
        "learning_rate": 1e-6,
    }
    recipe = {
        "run": {"name": "bench", "seed": 0},
        "model": {"init": {**size.model, "max_position_embeddings": 512}},
        "data": {"path": "builtin:quickstart?rows=512", "prompt": prompt},
        "evaluation": {"sources": []},
        "stages": [stage],
        "reward": {"spread": {"plugin": "./spread.py:Spread", "weight": 1}},
        "rollout": {"max_tokens": size.max_tokens, "num_workers": size.engines},
        "checkpoint": {"every": EVERY, "keep_last": 1},
        "cluster": {"object_store_mb": 4000},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


class Watched:
    """A run in a process of its own, and the moments at which its rows and lines came."""

    def __init__(self, recipe: Path, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.began = time.time()
        self._out = (run_dir.parent / "out.txt").open("w+")
        command = [sys.executable, "-m", "rlkit", "train", str(recipe), "--run-dir", str(run_dir)]
        self.child = subprocess.Popen(command, stdout=self._out, stderr=subprocess.STDOUT)
        self.rows: dict[int, float] = {}
        self.whole: dict[int, float] = {}
        self._num_rows = 0
        self.lines: list[tuple[float, str]] = []

    def follow(self, last_step: int) -> None:
        """Until the row of a step, or the end."""
        seen = 0
        while last_step not in self.rows and time.time() - self.began < LIMIT_S:
            path = self.run_dir / "metrics.jsonl"
            rows = path.read_text().splitlines(keepends=True) if path.exists() else []
            if len(rows) < self._num_rows:  # a resume drops the rows of steps that it does again
                self.rows.clear()
            self._num_rows = len(rows)
            for row in rows:
                if row.endswith("\n"):
                    self.rows.setdefault(json.loads(row)["step"], time.time())
            for checkpoint in self.run_dir.glob("stage-*/checkpoints/step-*"):
                self.whole.setdefault(int(checkpoint.name.removeprefix("step-")), time.time())
            lines = Path(self._out.name).read_text().splitlines()
            self.lines += [(time.time(), line) for line in lines[seen:]]
            seen = len(lines)
            if self.child.poll() is not None and last_step not in self.rows:
                raise SystemExit(f"the run ended early: {lines[-1:]}")
            time.sleep(0.01)

    def kill(self) -> None:
        """The whole tree, at once."""
        for process in [*psutil.Process(self.child.pid).children(recursive=True), psutil.Process(self.child.pid)]:
            process.send_signal(signal.SIGKILL)
        self.child.wait()


def events(run_dir: Path) -> list[dict[str, Any]]:
    """What happened in a run."""
    return [json.loads(line) for line in (run_dir / "events.jsonl").read_text().splitlines()]


def measure_save(size: Size, saves: int, scratch: Path) -> Cost:
    """One run, and TRL's save of the same model."""
    last = EVERY * (saves + 1) + 1
    run_dir = scratch / "run"
    run = Watched(write_recipe(scratch, size, last), run_dir)
    run.follow(last)
    run.child.wait(LIMIT_S)
    plain, saving, until_whole = [], [], []
    for before, after in pairwise(sorted(run.rows)):
        if before <= EVERY:  # the first save comes with the warm-up
            continue
        taken = run.rows[after] - run.rows[before]
        begun = before - before % EVERY
        busy = before == begun or run.whole.get(begun, 0.0) > run.rows[before]
        (saving if busy else plain).append(taken)
        if before == begun and begun in run.whole:
            until_whole.append(run.whole[begun] - run.rows[before])
    newest = max(run_dir.glob("stage-0-grpo/checkpoints/step-*"))
    megabytes = sum(p.stat().st_size for p in newest.rglob("*") if p.is_file()) / 2**20
    command = [sys.executable, __file__, "--trl", str(run_dir / "model")]
    peer = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])
    middle = statistics.median
    return Cost(middle(plain), middle(saving), middle(until_whole), peer["seconds"], peer["parameters"], megabytes)


def trl_child(folder: Path) -> None:
    """Prints the median seconds of GRPOTrainer's own checkpoint of a model, after a step."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(dir=folder.parent),
        model_init_kwargs={"dtype": "float32"},
        use_cpu=True,
        bf16=False,
        per_device_train_batch_size=2,
        num_generations=2,
        max_completion_length=4,
        max_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    rows = Dataset.from_dict({"prompt": ["1 + 1", "2 + 2"]})
    trainer = GRPOTrainer(
        model=str(folder),
        reward_funcs=[lambda completion_ids, **_: [float(i) for i, _ in enumerate(completion_ids)]],
        args=config,
        train_dataset=rows,
    )
    trainer.train()
    taken = []
    for step in range(1, 4):
        trainer.state.global_step = step
        began = time.perf_counter()
        trainer._save_checkpoint(trainer.model, trial=None)
        os.sync()  # ours are on the disk when they count
        taken.append(time.perf_counter() - began)
    parameters = sum(p.numel() for p in trainer.model.parameters())
    print(json.dumps({"seconds": statistics.median(taken), "parameters": parameters}))


def measure_resume(size: Size, scratch: Path) -> dict[str, float]:
    """Seconds of each part from the command to the first new step, and their sum."""
    recipe, run_dir = write_recipe(scratch, size, 2 * EVERY + 2), scratch / "run"
    first = Watched(recipe, run_dir)
    first.follow(EVERY + 2)
    first.kill()
    again = Watched(recipe, run_dir)
    again.follow(2 * EVERY)
    resumed = [e["time"] for e in events(run_dir) if e["event"] == "resume"][-1]
    step = next(json.loads(r) for r in (run_dir / "metrics.jsonl").read_text().splitlines()[EVERY:])
    again.kill()

    def at(text: str) -> float:
        return next(moment for moment, line in again.lines if text in line)

    row = again.rows[EVERY + 1]
    took = step["time/step"]
    return {
        "command to reading the data": at("reading the data") - again.began,
        "data and Ray": at("starting the scorers") - at("reading the data"),
        "engines, scorers, learner": resumed - at("starting the scorers"),
        "first sync and parity": row - resumed - took,
        "the step itself": took,
        "whole": row - again.began,
    }


def main() -> None:
    """The whole comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--saves", type=int, default=3)
    parser.add_argument("--only", choices=("save", "resume"))
    parser.add_argument("--trl", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.trl:
        trl_child(args.trl)
        return
    if args.only != "save":
        with tempfile.TemporaryDirectory() as scratch:
            for part, seconds in measure_resume(SIZES["small"], Path(scratch)).items():
                print(f"resume: {part}: {seconds:.2f} s", flush=True)
    if args.only == "resume":
        return
    found = {}
    for name in args.sizes:
        with tempfile.TemporaryDirectory() as scratch:
            cost = found[name] = measure_save(SIZES[name], args.saves, Path(scratch))
        print(
            f"{name}: {cost.parameters / 1e6:.1f} M parameters, {cost.megabytes:.0f} MiB: a step {cost.plain:.2f} s, "
            f"one that saves {cost.saving:.2f} s ({cost.saving / cost.plain - 1:+.1%}), whole in {cost.whole:.2f} s; "
            f"TRL's checkpoint stops its step for {cost.trl_step:.2f} s",
            flush=True,
        )
    worst = max(found, key=lambda name: found[name].saving / found[name].plain)
    ours, theirs = max(found[worst].saving - found[worst].plain, 1e-3), found[worst].trl_step
    line = {
        "benchmark": "save_cost",
        "ratio": round(theirs / ours, 3),
        "peer": "trl.GRPOTrainer._save_checkpoint",
        "ours": round(ours, 4),
        "theirs": round(theirs, 4),
        "unit": "s a step stands still",
        "runs": args.saves,
        "slowdown": {name: round(cost.saving / cost.plain - 1, 4) for name, cost in found.items()},
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
