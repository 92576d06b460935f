"""Whole runs by the real command, in processes of their own."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rlkit.watch.runlog import read_rows

RLKIT = [sys.executable, "-m", "rlkit"]

PLUGIN = '''
from dataclasses import dataclass
from rlkit import Group, Score

@dataclass(frozen=True)
class Digits:
    """Pays replies for digits: a random model's samples differ in them."""
    most: int = 10

    def score(self, group: Group) -> list[Score]:
        counts = [sum(c.isdigit() for c in s.response) for s in group.samples]
        return [Score(min(n, self.most) / self.most, reason=f"{n} digits") for n in counts]
'''

RECIPE = """# A test's run: a random model, a reward that any text can earn.
run: {{name: tiny, seed: 5, deterministic: true}}
model: {{path: {model}}}
data: {{path: "builtin:quickstart?rows=60", prompt: {{template: "{{prompt}}", code_template: "{{prompt}}"}}}}
evaluation: {{holdout: 6}}
reward:
  digits: {{plugin: ./digits.py:Digits, weight: 3, most: 20}}
stages:
  - {{kind: sft, data: {{path: "builtin:quickstart-demos?rows=64"}}, steps: 3, batch_size: 8, learning_rate: 1.0e-3}}
  - {{kind: grpo, steps: 5, prompts_per_step: 4, samples_per_prompt: 4, learning_rate: 1.0e-3, updates_per_step: 2}}
rollout: {{max_tokens: 24, kv_cache_gb: 0.25}}
learner: {{tokens_per_microbatch: 256}}
checkpoint: {{every: 2}}
cluster: {{object_store_mb: 100}}
"""


@dataclass
class Done:
    """A finished command."""

    code: int
    out: str
    err: str


def run_rlkit(*words, timeout=240):
    """Runs `rlkit` to its end."""
    done = subprocess.run([*RLKIT, *map(str, words)], capture_output=True, text=True, timeout=timeout)
    return Done(done.returncode, done.stdout, done.stderr)


def stop_after_step(step, run_dir, number, *words, stage="stage-1-", timeout=240):
    """Starts `rlkit train`, sends a signal once the stage's step is in metrics.jsonl, waits for the end."""
    child = subprocess.Popen(
        [*RLKIT, "train", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and child.poll() is None:
            if any(row["stage"].startswith(stage) and row["step"] >= step for row in metrics(run_dir)):
                os.kill(child.pid, number)
                break
            time.sleep(0.05)
        out, err = child.communicate(timeout=max(1.0, deadline - time.monotonic()))
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
    return Done(child.returncode, out, err)


def metrics(run_dir: Path):
    """The rows of metrics.jsonl so far; a line in the middle of being written is left out."""
    return read_rows(run_dir / "metrics.jsonl")


def numbers(run_dir: Path):
    """Everything of a run that is a function of the recipe: metrics without times, and every sample."""
    timed = ("time/", "learner/tokens_per_second")
    rows = [{k: v for k, v in row.items() if not k.startswith(timed)} for row in metrics(run_dir)]
    rollouts = {p.name: pq.read_table(p).to_pylist() for p in sorted(run_dir.glob("stage-1-*/rollouts/*.parquet"))}
    return rows, rollouts


def weights(run_dir: Path):
    """The final model's tensors."""
    from safetensors.torch import load_file

    return load_file(run_dir / "model" / "model.safetensors")


@pytest.fixture(scope="session")
def tiny_recipe(tiny_model, tmp_path_factory) -> Path:
    """The recipe above with its plugin beside it."""
    return write_tiny_recipe(tmp_path_factory.mktemp("recipe"), tiny_model)


def write_tiny_recipe(folder: Path, model: Path) -> Path:
    """The recipe above with its plugin beside it, in any folder."""
    (folder / "digits.py").write_text(PLUGIN)
    (folder / "tiny.yaml").write_text(RECIPE.format(model=model))
    return folder / "tiny.yaml"


@pytest.fixture(scope="session")
def whole_run(tiny_recipe, tmp_path_factory) -> Path:
    """The folder of an undisturbed run with one rollout worker."""
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    done = run_rlkit("train", tiny_recipe, "--run-dir", run_dir)
    assert done.code == 0, done.err + done.out
    run_dir.with_name("stdout.txt").write_text(done.out)
    return run_dir
