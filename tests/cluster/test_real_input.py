"""The recipe for GSM8K, with overrides only, on the real rows and a small model."""

import json
import os
from pathlib import Path

import pytest
import yaml

from tests.cluster.conftest import metrics, run_rlkit

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("RLKIT_DATA_DIR", ROOT.parent / "shared" / "data"))


@pytest.mark.skipif(not (DATA / "gsm8k_train.jsonl").exists(), reason="the GSM8K file is not here")
@pytest.mark.slow
def test_the_gsm8k_recipe_runs_here_without_a_key_about_the_machine(tiny_model, tmp_path):
    done = run_rlkit(
        "train",
        ROOT / "recipes" / "gsm8k_grpo.yaml",
        f"model.path={tiny_model}",
        f"data.path={DATA / 'gsm8k_train.jsonl'}",
        "stages.0.steps=2",
        "stages.0.prompts_per_step=4",
        "stages.0.samples_per_prompt=4",
        "evaluation.holdout=8",
        "rollout.max_tokens=32",
        "--run-dir",
        tmp_path / "gsm8k",
    )
    assert done.code == 0, done.err
    assert "7465 training tasks, 8 held out" in done.out
    summary = json.loads((tmp_path / "gsm8k" / "summary.json").read_text())
    assert summary["steps"] == 2
    assert [row["step"] for row in metrics(tmp_path / "gsm8k")] == [1, 2]
    assert (tmp_path / "gsm8k" / "model" / "model.safetensors").exists()
    recipe = yaml.safe_load((tmp_path / "gsm8k" / "recipe.yaml").read_text())
    worked_out = [recipe["rollout"][key] for key in ("num_workers", "threads", "kv_cache_gb", "timeout_s")]
    assert None not in [*worked_out, recipe["learner"]["precision"], recipe["cluster"]["object_store_mb"]]
